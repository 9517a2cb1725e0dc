package archive

import (
	"context"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/test/servers"
)

const formatPage = "../../docs/archive.md"

func readPage(t *testing.T) string {
	t.Helper()
	page, err := os.ReadFile(formatPage)
	if err != nil {
		t.Fatal(err)
	}
	return string(page)
}

// TestPageShowsTheStream compares the example of the page with what is written.
func TestPageShowsTheStream(t *testing.T) {
	_, example, ok := strings.Cut(readPage(t), "As an example")
	if !ok {
		t.Fatal("the page has no example")
	}
	var shown []byte
	for _, line := range regexp.MustCompile(`(?m)^((?:[0-9a-f]{2} )+) `).FindAllStringSubmatch(example, -1) {
		b, err := hex.DecodeString(strings.ReplaceAll(line[1], " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		shown = append(shown, b...)
	}
	if want := sampleStream(t); string(shown) != string(want) {
		t.Errorf("the page shows\n%x, the stream is\n%x", shown, want)
	}
}

// TestPageByHand runs the commands of the page as they stand there, by the programs that people have.
func TestPageByHand(t *testing.T) {
	s, entries := history20(t)
	l := newLibrary(t, nil)
	l.put(l.seal(21, 40, entries))
	payload, record := l.paths(21)
	work := t.TempDir()
	for from, name := range map[string]string{payload: "segment.zst.age", record: "segment.signed", l.keys.TrustFile: "allowed_signers", l.keys.IdentityFile: "identity.txt"} {
		content, err := os.ReadFile(from)
		if err == nil {
			err = os.WriteFile(filepath.Join(work, name), content, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	output := runByHand(t, work)
	segment := l.history(s).segments[0].Segment
	for what, want := range map[string]string{
		"the signer":        "node-1\nGood \"drd\" signature for node-1",
		"the payload's sum": segment.Object.SHA256 + "  segment.zst.age",
		"the plain sum":     segment.Plain.SHA256 + "  segment",
	} {
		if !strings.Contains(output, want) {
			t.Errorf("%s is not in the output: no %q in\n%s", what, want, output)
		}
	}
	manifest, err := os.ReadFile(filepath.Join(work, "manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := repo.DecodeSegment(manifest); err != nil {
		t.Error(err)
	}
}

func runByHand(t *testing.T, work string) string {
	t.Helper()
	_, section, ok := strings.Cut(readPage(t), "\n## By hand\n")
	if !ok {
		t.Fatal("the page has no section By hand")
	}
	section, _, _ = strings.Cut(section, "\n## ")
	blocks := regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(section, -1)
	if len(blocks) < 3 {
		t.Fatalf("%d shell blocks", len(blocks))
	}
	var script strings.Builder
	for _, b := range blocks {
		script.WriteString(b[1])
	}
	bin := t.TempDir()
	for _, name := range []string{"age", "zstd", "ssh-keygen"} {
		if err := os.Symlink(servers.Tool(t, name), filepath.Join(bin, name)); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-eux", "-c", script.String())
	cmd.Dir = work
	cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"))
	var stderr strings.Builder
	cmd.Stderr = &stderr
	output, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v:\n%s\n%s", err, output, &stderr)
	}
	return string(output)
}
