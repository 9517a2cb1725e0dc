package seal_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/drd-project/drd/internal/seal"
	"github.com/drd-project/drd/test/servers"
)

// run starts a real program with input and returns its output; it must succeed.
func run(t *testing.T, input []byte, program string, args ...string) []byte {
	t.Helper()
	out, errOut, err := try(t, input, program, args...)
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", program, strings.Join(args, " "), err, errOut)
	}
	return out
}

func try(t *testing.T, input []byte, program string, args ...string) (out []byte, errOut string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, servers.Tool(t, program), args...)
	cmd.Stdin = bytes.NewReader(input)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err = cmd.Run()
	return stdout.Bytes(), stderr.String(), err
}

// keyPair is an identity file and its recipient, made by the programs people use.
type keyPair struct {
	name, identityFile, recipient string
}

func realKeyPairs(t *testing.T) []keyPair {
	t.Helper()
	return []keyPair{
		ageKeyPair(t, "x25519"),
		ageKeyPair(t, "hybrid", "-pq"),
		sshKeyPair(t, "ssh-ed25519", "-t", "ed25519"),
		sshKeyPair(t, "ssh-rsa", "-t", "rsa", "-b", "2048"),
	}
}

func ageKeyPair(t *testing.T, name string, args ...string) keyPair {
	t.Helper()
	file := filepath.Join(t.TempDir(), "identity.txt")
	run(t, nil, "age-keygen", append(args, "-o", file)...)
	public := run(t, nil, "age-keygen", "-y", file)
	return keyPair{name, file, strings.TrimSpace(string(public))}
}

func sshKeyPair(t *testing.T, name string, args ...string) keyPair {
	t.Helper()
	file := filepath.Join(t.TempDir(), "id")
	run(t, nil, "ssh-keygen", append([]string{"-q", "-N", "", "-C", "somebody@example", "-f", file}, args...)...)
	public, err := os.ReadFile(file + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	return keyPair{name, file, strings.TrimSpace(string(public))}
}

// TestRealProgramsOpen is the promise that a backup can be restored without drd.
func TestRealProgramsOpen(t *testing.T) {
	for _, plain := range [][]byte{nil, []byte("content"), etcdLike(3 << 20)} {
		for _, pair := range realKeyPairs(t) {
			object := sealed(t, parseRecipients(t, pair.recipient), plain)
			zst := run(t, object, "age", "-d", "-i", pair.identityFile)
			if got := run(t, zst, "zstd", "-d", "-c"); !bytes.Equal(got, plain) {
				t.Errorf("%s: %d bytes came back from %d", pair.name, len(got), len(plain))
			}
		}
	}
}

// TestOpenWhatRealProgramsSealed is the way back, with the settings that people use.
func TestOpenWhatRealProgramsSealed(t *testing.T) {
	plain := etcdLike(1 << 20)
	var frames [][]byte
	for _, level := range [][]string{{"-1"}, {"-19"}, {"-1", "--long=27"}, {"-3", "--no-check"}} {
		frames = append(frames, run(t, plain, "zstd", append(level, "-c")...))
	}
	for _, pair := range realKeyPairs(t) {
		ids, err := seal.LoadIdentities([]string{pair.identityFile}, nil)
		if err != nil {
			t.Fatal(err)
		}
		for i, zst := range frames {
			got, err := open(run(t, zst, "age", "-r", pair.recipient), ids...)
			if err != nil || !bytes.Equal(got, plain) {
				t.Errorf("%s, frame %d: %d bytes of %d, %v", pair.name, i, len(got), len(plain), err)
			}
		}
		if diff := cmp.Diff(parseRecipients(t, pair.recipient).Fingerprints(), []string{seal.Fingerprint(ids[0])}); diff != "" {
			t.Errorf("%s: identity and recipient have different fingerprints: %s", pair.name, diff)
		}
	}
}

// TestEveryRecipientOpens seals for several people at once.
func TestEveryRecipientOpens(t *testing.T) {
	pairs := []keyPair{ageKeyPair(t, "a"), ageKeyPair(t, "b"), sshKeyPair(t, "c", "-t", "ed25519")}
	object := sealed(t, parseRecipients(t, pairs[0].recipient, pairs[1].recipient, pairs[2].recipient), []byte("content"))
	for _, pair := range pairs {
		ids, err := seal.LoadIdentities([]string{pair.identityFile}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := open(object, ids...); err != nil || string(got) != "content" {
			t.Errorf("%s: got %q, %v", pair.name, got, err)
		}
	}
}

// TestGeneratedKeysAreReal hands the keys that drd makes to the programs people use.
func TestGeneratedKeysAreReal(t *testing.T) {
	for _, pq := range []bool{false, true} {
		secret, public, err := seal.GenerateIdentity(pq)
		if err != nil {
			t.Fatal(err)
		}
		got := run(t, nil, "age-keygen", "-y", writeFile(t, "identity.txt", secret+"\n"))
		if strings.TrimSpace(string(got)) != public {
			t.Errorf("post-quantum %v: age-keygen derives another recipient", pq)
		}
	}
	private, public, err := seal.GenerateSigningKey("node-1 of prod")
	if err != nil {
		t.Fatal(err)
	}
	got := run(t, nil, "ssh-keygen", "-y", "-f", writeFile(t, "key", string(private)))
	if string(got) != string(public) {
		t.Errorf("ssh-keygen reads %q from the private key, want %q", got, public)
	}
}

// TestHugeWindow: a frame that asks for more memory than the zstd program grants by default is refused.
func TestHugeWindow(t *testing.T) {
	id, public := storedIdentity(t, "x25519"), publicOf(t, "x25519")
	zst := run(t, etcdLike(1<<20), "zstd", "-1", "--long=28", "-c")
	if _, err := open(ageOnly(t, public, zst), id); err == nil {
		t.Error("opened a frame with a window of 256 MiB")
	}
}
