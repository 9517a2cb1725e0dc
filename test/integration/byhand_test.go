package integration

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/drd-project/drd/test/servers"
)

// TestByHand brings a snapshot back without drd, by the very commands that docs/format.md gives, with nothing but the
// three objects, the identity and the public keys of the nodes.
func TestByHand(t *testing.T) {
	t.Parallel()
	e := servers.StartEtcd(t, servers.EtcdConfig{})
	st := onMinIO(t)
	s := newSite(t, ofEtcd(e), st)
	load(t, e, "app/", s.value)
	lost := contentOf(t, e)
	m := s.snapshot()
	e.Kill()

	dir := handful(t, s, st, m)
	shell := newShell(t, dir)
	answers := []struct{ command, want string }{
		{"ssh-keygen -Y find-principals", "node-1"},
		{"ssh-keygen -Y verify", `Good "drd" signature for node-1`},
		{"sha256sum snapshot.db.zst.age", m.Object.SHA256},
		{"age -d", ""},
		{"head -c -32 snapshot.db | sha256sum", m.Plain.SHA256},
		{"tail -c 32 snapshot.db", m.Plain.SHA256},
		{"etcdutl hashkv", strconv.FormatUint(uint64(m.HashKV.Hash), 10)},
		{"etcdutl snapshot restore", ""},
	}
	for _, block := range documented(t) {
		out := shell(block)
		for _, a := range answers {
			if strings.Contains(block, a.command) && !strings.Contains(out, a.want) {
				t.Errorf("want %q of:\n%s\nit says:\n%s", a.want, block, out)
			}
		}
		answers = slices.DeleteFunc(answers, func(a struct{ command, want string }) bool { return strings.Contains(block, a.command) })
	}
	if len(answers) > 0 {
		t.Errorf("docs/format.md does not say to run: %q", answers)
	}
	wantContent(t, servers.StartEtcd(t, servers.EtcdConfig{DataDir: filepath.Join(dir, "restored"), ExistingDataDir: true}), lost)
}

// handful is a directory with the objects of a snapshot, fetched by an S3 client, and the keys of the person who restores.
func handful(t *testing.T, s *site, st store, m manifest) string {
	t.Helper()
	dir := t.TempDir()
	objects := st.objects(t)
	for _, name := range []string{m.Object.Name, "manifest.json", "manifest.json.sig"} {
		content, found := objects[objectOf(m.ID, name)]
		if !found {
			t.Fatalf("there is no object %s", objectOf(m.ID, name))
		}
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s.bringKeys(dir)
	return dir
}

// documented are the shell commands below "By hand" in docs/format.md, block by block.
func documented(t *testing.T) []string {
	t.Helper()
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "format.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(page), "\n## By hand\n")
	section, _, _ = strings.Cut(section, "\n## ")
	if !found {
		t.Fatal(`docs/format.md has no section "By hand"`)
	}
	var blocks []string
	for _, m := range regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(section, -1) {
		blocks = append(blocks, m[1])
	}
	return blocks
}

// newShell returns a function that runs commands in dir, with the programs of the cache and of the system, and returns all they write. A
// command that fails fails the test. drd is not among the programs.
func newShell(t *testing.T, dir string) func(commands string) string {
	t.Helper()
	bin := t.TempDir()
	for name, tool := range map[string]string{"age": "age", "zstd": "zstd", "ssh-keygen": "ssh-keygen", "etcdutl": "etcdutl-3.7"} {
		if err := os.Symlink(servers.Tool(t, tool), filepath.Join(bin, name)); err != nil {
			t.Fatal(err)
		}
	}
	return func(commands string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", commands)
		cmd.Dir, cmd.Env = dir, []string{"HOME=" + dir, "PATH=" + bin + ":/usr/bin:/bin"}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v:\n%s\n%s", err, commands, out)
		}
		return string(out)
	}
}
