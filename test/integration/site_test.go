package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/targets"
	"github.com/drd-project/drd/test/planted"
	"github.com/drd-project/drd/test/servers"
)

// cluster is the name of the cluster in every configuration.
const cluster = "prod-east"

// site is a node with its configuration and its keys, and the person who restores.
type site struct {
	t      *testing.T
	dir    string // the directory drd is run in; restored data goes below it
	config string
	keys   string // directory that `drd keygen` filled
	state  string
	value  string // begins every value in etcd
	stores []store
	more   string // of the configuration

	metrics string // address
	secrets secrets
}

// newSite makes keys and a configuration for a member and its targets, which are named t1, t2, …. etcd is what stands in
// that section of the configuration. At the end of the test it looks for secrets wherever drd wrote.
func newSite(t *testing.T, etcd string, stores ...store) *site {
	t.Helper()
	dir := t.TempDir()
	s := &site{
		t: t, dir: dir, config: filepath.Join(dir, "config.yaml"), keys: filepath.Join(dir, "keys"), state: filepath.Join(dir, "state"),
		value: planted.Secret(), stores: stores, metrics: fmt.Sprintf("127.0.0.1:%d", servers.FreePort(t)),
	}
	s.must("keygen", "--dir", s.keys, "--name", "node-1")
	s.plant()
	s.write(etcd)
	t.Cleanup(s.checkFiles)
	return s
}

// ofEtcd is the section of the configuration for a member.
func ofEtcd(e *servers.Etcd) string {
	section := fmt.Sprintf("endpoints: [%q]", e.Endpoint())
	if e.CAFile != "" {
		section += fmt.Sprintf(", ca_file: %q, cert_file: %q, key_file: %q", e.CAFile, e.CertFile, e.KeyFile)
	}
	return section
}

// in is the same site in a subtest.
func (s *site) in(t *testing.T) *site {
	sub := *s
	sub.t = t
	return &sub
}

// plant notes the secrets of this site.
func (s *site) plant() {
	s.t.Helper()
	identity, err := os.ReadFile(filepath.Join(s.keys, "identity.txt"))
	if err != nil {
		s.t.Fatal(err)
	}
	for line := range strings.Lines(string(identity)) {
		if !strings.HasPrefix(line, "#") {
			s.secrets = append(s.secrets, strings.TrimSpace(line))
		}
	}
	s.secrets = append(s.secrets, privateLines(s.t, filepath.Join(s.keys, "signing.key"))...)
	s.secrets = append(s.secrets, s.value)
	for _, st := range s.stores {
		s.secrets = append(s.secrets, st.secrets()...)
	}
}

func (s *site) write(etcd string) {
	s.t.Helper()
	var text strings.Builder
	fmt.Fprintf(&text, "cluster: %s\netcd: {%s}\nstate_dir: %q\nruntime_dir: %q\n", cluster, etcd, s.state, filepath.Join(s.dir, "run"))
	fmt.Fprintf(&text, "seal: {recipients_file: %q}\nsigning: {key_file: %q}\n", filepath.Join(s.keys, "recipient.txt"), filepath.Join(s.keys, "signing.key"))
	fmt.Fprintf(&text, "metrics: {listen: %q}\ntargets:\n", s.metrics)
	for i, st := range s.stores {
		fmt.Fprintf(&text, "  - {name: t%d, %s}\n", i+1, st.section())
	}
	if !strings.Contains(s.more, "snapshot:") { // no tick comes while a test counts snapshots
		text.WriteString("snapshot: {schedule: \"0 0 1 1 *\"}\n")
	}
	if !strings.Contains(s.more, "spool_keep") { // an empty spool then says that everything was delivered
		text.WriteString("spool_keep: 0\n")
	}
	text.WriteString(s.more)
	if err := os.WriteFile(s.config, []byte(text.String()), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// checkFiles looks for secrets in everything that drd writes on the node and in the targets.
func (s *site) checkFiles() {
	s.t.Helper()
	for _, dir := range []string{s.state, filepath.Join(s.dir, "run")} {
		if _, err := os.Stat(dir); err == nil {
			s.secrets.checkAll(s.t, dir, filesBelow(s.t, dir))
		}
	}
	for i, st := range s.stores {
		s.secrets.checkAll(s.t, fmt.Sprintf("t%d", i+1), st.objects(s.t))
	}
}

// start begins a run of drd with this site's configuration.
func (s *site) start(args ...string) *command {
	s.t.Helper()
	return start(s.t, s.dir, append(args, "--config", s.config)...)
}

// end waits for a run and looks at its output.
func (s *site) end(c *command) result {
	s.t.Helper()
	r := c.wait()
	s.secrets.check(s.t, "the output of drd "+strings.Join(r.args, " "), []byte(r.stdout+r.stderr))
	return r
}

func (s *site) run(args ...string) result {
	s.t.Helper()
	return s.end(s.start(args...))
}

// must fails the test unless drd succeeds.
func (s *site) must(args ...string) result {
	s.t.Helper()
	r := s.run(args...)
	if r.code != 0 {
		s.t.Fatal(r)
	}
	return r
}

// fails fails the test unless drd ends with the exit code, and says why.
func (s *site) fails(code int, args ...string) result {
	s.t.Helper()
	r := s.run(args...)
	if r.code != code || !strings.Contains(r.stderr, "drd: error: ") {
		s.t.Fatalf("want exit code %d and an error\n%v", code, r)
	}
	return r
}

// path is a file or directory of the person who restores.
func (s *site) path(name string) string { return filepath.Join(s.dir, name) }

func (s *site) identity() string { return filepath.Join(s.keys, "identity.txt") }
func (s *site) trust() string    { return filepath.Join(s.keys, "allowed_signers") }

// bringKeys copies what opens and checks a backup to a directory, as somebody brings it from a safe.
func (s *site) bringKeys(dir string) {
	s.t.Helper()
	for _, path := range []string{s.identity(), s.trust()} {
		content, err := os.ReadFile(path)
		if err != nil {
			s.t.Fatal(err)
		}
		writeFile(s.t, filepath.Join(dir, filepath.Base(path)), string(content))
	}
}

// target is the first target, as drd would open it.
func (s *site) target() *repo.Repository {
	s.t.Helper()
	bucket, err := targets.OpenURL(s.t.Context(), s.stores[0].repo())
	if err != nil {
		s.t.Fatal(err)
	}
	r, err := repo.Open(bucket, cluster)
	if err != nil {
		s.t.Fatal(err)
	}
	return r
}

// elsewhere are the flags of somebody who has no configuration, only what was kept off the node.
func (s *site) elsewhere(st store) []string {
	return []string{"--repo", st.repo(), "--cluster", cluster, "--trust", s.trust()}
}

// wantNothing fails the test when something is at path.
func wantNothing(t *testing.T, path string) {
	t.Helper()
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("%s is there (%v)", path, err)
	}
}
