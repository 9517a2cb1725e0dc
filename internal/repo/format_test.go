package repo

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/drd-project/drd/internal/seal"
	"github.com/drd-project/drd/internal/seal/sealtest"
	"github.com/drd-project/drd/internal/storage/dir"
	"github.com/drd-project/drd/test/servers"
)

const formatPage = "../../docs/format.md"

func readPage(t *testing.T) string {
	t.Helper()
	page, err := os.ReadFile(formatPage)
	if err != nil {
		t.Fatal(err)
	}
	return string(page)
}

func TestFormatPageShowsTheManifest(t *testing.T) {
	want, err := os.ReadFile("testdata/manifest.json")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(readPage(t), "```json\n"+string(want)+"```\n") {
		t.Errorf("%s does not show testdata/manifest.json", formatPage)
	}
}

func TestFormatPageNamesEveryFieldAndState(t *testing.T) {
	page := readPage(t)
	for _, field := range fieldsOf(reflect.TypeFor[Manifest](), "") {
		if !strings.Contains(page, field+"`") {
			t.Errorf("%s does not name field %s", formatPage, field)
		}
	}
	for _, s := range []State{
		StateIncomplete, StateUnreadable, StateNewerFormat, StateBadManifest, StateBadSignature, StateUnknownSigner,
		StateExpiredSigner, StateUnsigned, StatePayloadMissing, StatePayloadSize, StateUnverified, StateOK, StateUnread,
	} {
		if !strings.Contains(page, "| `"+string(s)+"` |") {
			t.Errorf("%s does not name state %s", formatPage, s)
		}
	}
}

// fieldsOf lists a struct's JSON fields as the page writes them: "`plain.size", "`compared[].hash" or, in
// a row with others, "`.revision".
func fieldsOf(s reflect.Type, prefix string) []string {
	var all []string
	for i := range s.NumField() {
		f := s.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		path, inner := prefix+name, f.Type
		if inner.Kind() == reflect.Pointer {
			inner = inner.Elem()
		}
		if inner.Kind() == reflect.Slice && inner.Elem().Kind() == reflect.Struct {
			path, inner = path+"[]", inner.Elem()
		}
		if strings.HasPrefix(inner.PkgPath(), "github.com/drd-project/") {
			all = append(all, fieldsOf(inner, path+".")...)
			continue
		}
		if prefix == "compared[]." && strings.HasSuffix(name, "revision") {
			path = "." + name
		}
		all = append(all, "`"+path)
	}
	return all
}

// The commands of the page are run as they stand there, on a real snapshot in a directory
// repository, by the programs that people have.
func TestFormatPageByHand(t *testing.T) {
	snapshot, hash := etcdSnapshot(t)
	keys := sealtest.New(t)
	payload := sealed(t, snapshot, keys.Recipients)
	m := sample(target, payload)
	m.DBSize, m.Plain.Size = int64(len(snapshot)-trailerSize), int64(len(snapshot))
	m.Plain.SHA256 = Digest(snapshot[:len(snapshot)-trailerSize])
	if trailer := hex.EncodeToString(snapshot[len(snapshot)-trailerSize:]); trailer != m.Plain.SHA256 {
		t.Fatalf("etcd's trailer is %s, want %s", trailer, m.Plain.SHA256)
	}
	root := t.TempDir()
	bucket, err := dir.Open(root, dir.Options{})
	if err != nil {
		t.Fatal(err)
	}
	r := open(t, bucket)
	put(t, r, keys.Signer, m, payload)
	put(t, r, keys.Signer, m, payload) // what is there already is success
	checkDirectory(t, r, keys.Trust, m)

	work := filepath.Join(root, testCluster, "snapshots", m.ID)
	for name, file := range map[string]string{"identity.txt": keys.IdentityFile, "allowed_signers": keys.TrustFile} {
		if err := os.Symlink(file, filepath.Join(work, name)); err != nil {
			t.Fatal(err)
		}
	}
	output := runPage(t, work)
	for what, want := range map[string]string{
		"the signer":        "node-1\nGood \"drd\" signature for node-1",
		"the payload's sum": m.Object.SHA256 + "  snapshot.db.zst.age",
		"the plain sum":     m.Plain.SHA256 + "  -",
		"etcd's trailer":    m.Plain.SHA256 + "\n",
		"HashKV":            "\n" + hash + ", 5, -1\n",
	} {
		if !strings.Contains(output, want) {
			t.Errorf("%s is not in the output: no %q in\n%s", what, want, output)
		}
	}
	if _, err := os.Stat(filepath.Join(work, "restored", "member", "snap", "db")); err != nil {
		t.Errorf("nothing was restored: %v", err)
	}
}

// checkDirectory reads the repository back as drd does.
func checkDirectory(t *testing.T, r *Repository, trust *seal.Trust, m *Manifest) {
	t.Helper()
	c, err := r.Catalogue(t.Context(), trust)
	if err != nil {
		t.Fatal(err)
	}
	e, err := c.Latest(m.CaptureEnd, false)
	if err != nil || e.State != StateOK || len(c.Entries) != 1 || c.ForeignCount != 0 {
		t.Fatalf("latest is %+v, %v, in %+v", e, err, c)
	}
	got, err := readPayload(t.Context(), r, e.Manifest)
	if err != nil || Digest(got) != m.Object.SHA256 {
		t.Errorf("read %d bytes of payload, %v", len(got), err)
	}
	clusters, complete, err := Clusters(t.Context(), r.Bucket())
	if err != nil || !complete || len(clusters) != 1 || clusters[0] != testCluster {
		t.Errorf("clusters %v, %v, %v", clusters, complete, err)
	}
}

// etcdSnapshot takes a snapshot of a real member; hash is its HashKV as etcdutl prints it.
func etcdSnapshot(t *testing.T) (snapshot []byte, hash string) {
	t.Helper()
	etcd := servers.StartEtcd(t, servers.EtcdConfig{Version: "3.7"})
	client := etcd.Client(t)
	for _, key := range []string{"a", "b", "a"} {
		if _, err := client.Put(t.Context(), key, key); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := client.Delete(t.Context(), "b"); err != nil {
		t.Fatal(err)
	}
	answer, err := client.HashKV(t.Context(), etcd.Endpoint(), 0)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := client.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	snapshot, err = io.ReadAll(stream)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(answer.Hash)
	if err != nil {
		t.Fatal(err)
	}
	return snapshot, string(text)
}

func sealed(t *testing.T, plain []byte, to *seal.Recipients) []byte {
	t.Helper()
	var b bytes.Buffer
	envelope, err := seal.Default().Seal(&b, to)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := envelope.Write(plain); err != nil {
		t.Fatal(err)
	}
	if err := envelope.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// runPage runs the shell blocks of the page's section "By hand" in a directory, in one shell.
func runPage(t *testing.T, work string) string {
	t.Helper()
	_, section, ok := strings.Cut(readPage(t), "\n## By hand\n")
	if !ok {
		t.Fatal("the page has no section By hand")
	}
	section, _, _ = strings.Cut(section, "\n## ")
	blocks := regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(section, -1)
	if len(blocks) < 5 {
		t.Fatalf("%d shell blocks", len(blocks))
	}
	var script strings.Builder
	for _, b := range blocks {
		script.WriteString(b[1])
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-eux", "-c", script.String())
	cmd.Dir = work
	cmd.Env = append(os.Environ(), "PATH="+programs(t)+":"+os.Getenv("PATH"))
	var stderr strings.Builder
	cmd.Stderr = &stderr
	output, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v:\n%s\n%s", err, output, &stderr)
	}
	return string(output)
}

// programs is a directory with the programs under the names that people call them by.
func programs(t *testing.T) string {
	t.Helper()
	bin := t.TempDir()
	for name, tool := range map[string]string{"age": "age", "zstd": "zstd", "ssh-keygen": "ssh-keygen", "etcdutl": "etcdutl-3.7"} {
		if err := os.Symlink(servers.Tool(t, tool), filepath.Join(bin, name)); err != nil {
			t.Fatal(err)
		}
	}
	return bin
}
