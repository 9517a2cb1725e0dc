package integration

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/drd-project/drd/test/servers"
)

// TestFromTheNodesOwnCopy: the only target is gone, with the network and the configuration, and the commands that
// docs/restore.md gives bring the cluster back from the disk of the node.
func TestFromTheNodesOwnCopy(t *testing.T) {
	t.Parallel()
	e := servers.StartEtcd(t, servers.EtcdConfig{})
	target := directory{t.TempDir()}
	s := newSite(t, ofEtcd(e), target)
	s.more = "spool_keep: 1\n"
	s.write(ofEtcd(e))
	s.snapshot()
	load(t, e, "app/", s.value)
	lost := contentOf(t, e)
	m := s.snapshot()
	s.wantSpooled(1) // the newest, which the target has, too
	e.Kill()
	removeAll(t, filepath.Join(target.path, cluster))

	dir := t.TempDir()
	s.bringKeys(dir)
	said := s.runOwnCopy(dir)
	if !strings.Contains(said, m.ID) {
		t.Errorf("drd list does not show %s:\n%s", m.ID, said)
	}
	for _, name := range []string{"from-the-node.db", "rescued.db"} {
		wantContent(t, startFrom(t, filepath.Join(dir, name)), lost)
	}
}

// runOwnCopy runs the commands below "From the node's own copy" in docs/restore.md in dir, with the paths of this site, and
// returns what they say.
func (s *site) runOwnCopy(dir string) string {
	s.t.Helper()
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "restore.md"))
	if err != nil {
		s.t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(page), "\n## From the node's own copy\n")
	section, _, _ = strings.Cut(section, "\n## ")
	blocks := regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(section, -1)
	if len(blocks) != 2 || strings.Count(section, "/var/lib/drd/spool") < 3 {
		s.t.Fatalf("not the two blocks of commands that are expected:\n%s", section)
	}
	var said strings.Builder
	for _, block := range blocks {
		commands := strings.ReplaceAll(block[1], "/var/lib/drd", s.state)
		cmd := exec.CommandContext(s.t.Context(), "bash", "-euo", "pipefail", "-c", commands)
		cmd.Dir, cmd.Env = dir, []string{"HOME=" + dir, "PATH=" + filepath.Dir(drd) + ":/usr/bin:/bin"}
		out, err := cmd.CombinedOutput()
		if err != nil {
			s.t.Fatalf("%v:\n%s\n%s", err, commands, out)
		}
		s.secrets.check(s.t, "the output of the documented commands", out)
		said.Write(out)
	}
	return said.String()
}

// startFrom starts a new member with the content of a snapshot file, restored by etcd's own tool.
func startFrom(t *testing.T, file string) *servers.Etcd {
	t.Helper()
	data := filepath.Join(t.TempDir(), "data")
	out, err := exec.CommandContext(t.Context(), servers.Tool(t, "etcdutl-3.7"), "snapshot", "restore", file, "--data-dir", data).CombinedOutput()
	if err != nil {
		t.Fatalf("etcdutl snapshot restore: %v\n%s", err, out)
	}
	return servers.StartEtcd(t, servers.EtcdConfig{DataDir: data, ExistingDataDir: true})
}
