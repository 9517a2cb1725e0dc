package integration

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/drd-project/drd/internal/audit"
	"github.com/drd-project/drd/test/program"
	"github.com/drd-project/drd/test/servers"
)

// audited reads the audit log of the site, whose chain must be sound. That it holds no secret the end of the site's test checks, with
// all other files of the state directory.
func (s *site) audited() []audit.Record {
	s.t.Helper()
	path := filepath.Join(s.state, audit.FileName)
	if _, err := audit.Verify(path); err != nil {
		s.t.Error(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		s.t.Fatal(err)
	}
	var records []audit.Record
	for line := range bytes.Lines(text) {
		if !bytes.HasSuffix(line, []byte("\n")) {
			break // the daemon is still writing it
		}
		var r audit.Record
		if err := json.Unmarshal(line, &r); err != nil {
			s.t.Fatal(err)
		}
		records = append(records, r)
	}
	return records
}

// TestAudit: the daemon and commands beside it write one chain: starts, reloads that are taken and refused, drills, restores that
// succeed and fail, and the end.
func TestAudit(t *testing.T) {
	t.Parallel()
	e := servers.StartEtcd(t, servers.EtcdConfig{})
	s := newSite(t, ofEtcd(e), inDirectory(t))
	s.more = "verify: {schedule: \"0 0 1 1 *\", identity_file: " + s.identity() + "}\n"
	s.write(ofEtcd(e))
	load(t, e, "app/", s.value)
	c := s.start("daemon")
	s.metric(time.Minute, `drd_repo_objects{kind="snapshot",target="t1"}`, is(1))
	until := func(name audit.Name, outcome audit.Outcome) {
		t.Helper()
		program.Eventually(t, time.Minute, func() error {
			if slices.ContainsFunc(s.audited(), func(r audit.Record) bool { return r.Event == name && r.Outcome == outcome }) {
				return nil
			}
			return os.ErrNotExist
		})
	}
	until(audit.DaemonStart, audit.Done)
	good, err := os.ReadFile(s.config)
	if err != nil {
		t.Fatal(err)
	}
	reload := func(text string) {
		t.Helper()
		if err := os.WriteFile(s.config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c.Signal(t, syscall.SIGHUP)
	}
	reload(strings.Replace(string(good), "state_dir", "state_dri", 1))
	until(audit.ConfigReload, audit.Refused)
	reload(string(good) + "# changed\n")
	until(audit.ConfigReload, audit.Done)

	s.must("restore", "--yes", "--identity", s.identity(), "--output", s.path("restored.db"))
	s.must("keygen", "--only", "identity", "--dir", s.path("other"))
	s.fails(1, "restore", "--yes", "--identity", filepath.Join(s.path("other"), "identity.txt"), "--output", s.path("other.db"))
	s.must("verify", "--data-only", "--identity", s.identity())
	s.terminate(c)

	records := s.audited()
	count := make(map[string]int)
	for _, r := range records {
		count[string(r.Event)+" "+string(r.Outcome)]++
		if r.Cluster != cluster && !strings.Contains(r.Actor.Command, "daemon") || r.Time.Location() != time.UTC || r.Actor.PID == 0 || r.Host == "" {
			t.Errorf("not told by whom, where and when: %+v", r)
		}
	}
	for _, want := range []string{
		"daemon.start done", "daemon.stop done", "config.reload refused", "config.reload done", "signing-key.load done", "identity.load done",
		"restore.begin begun", "restore.install done", "restore.end done", "drill.begin begun", "drill.end done", "object.decrypt done", "key.generate done",
	} {
		if count[want] == 0 {
			t.Errorf("there is no %q in %v", want, count)
		}
	}
	if last := records[len(records)-1]; last.Event != audit.DaemonStop {
		t.Errorf("the last record is %+v", last)
	}
}

// TestCertificatesRotate: etcd's authority and certificates, and then those of the object store, are replaced while the daemon runs. It
// goes on with what the files hold.
func TestCertificatesRotate(t *testing.T) {
	t.Parallel()
	first := servers.StartEtcd(t, servers.EtcdConfig{ClientTLS: servers.NewCA(t)})
	dir := t.TempDir()
	own := *first
	own.CAFile, own.CertFile, own.KeyFile = filepath.Join(dir, "ca.crt"), filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	install := func(from, to string) {
		t.Helper()
		text, err := os.ReadFile(from)
		if err == nil {
			err = os.WriteFile(to+".new", text, 0o600)
		}
		if err == nil {
			err = os.Rename(to+".new", to)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	certificates := func(from *servers.Etcd) {
		t.Helper()
		install(from.CAFile, own.CAFile)
		install(from.CertFile, own.CertFile)
		install(from.KeyFile, own.KeyFile)
	}
	certificates(first)
	server := servers.StartVersityGW(t)
	b := newBucket(t, server.S3, "drd-test")
	storeCA := filepath.Join(dir, "store-ca.crt")
	install(servers.NewCA(t).CertFile(), storeCA) // the store shows a certificate that another authority has signed
	trusted := *server.S3
	trusted.CAFile = storeCA
	b.server = &trusted
	s := newSite(t, ofEtcd(&own), b, inDirectory(t))
	s.more = "snapshot: {schedule: \"@every 1m\"}\n"
	s.write(ofEtcd(&own))
	load(t, first, "app/", s.value)
	c := s.start("daemon")
	some := func(v float64) bool { return v >= 1 }
	s.metric(time.Minute, `drd_repo_objects{kind="snapshot",target="t2"}`, some)
	install(server.CAFile, storeCA)
	s.metric(3*time.Minute, `drd_repo_objects{kind="snapshot",target="t1"}`, some)

	first.Stop()
	client, peer := first.Ports()
	second := servers.StartEtcd(t, servers.EtcdConfig{
		DataDir: first.DataDir(), ExistingDataDir: true, ClientTLS: servers.NewCA(t), ClientPort: client, PeerPort: peer,
	})
	certificates(second)
	load(t, second, "later/", s.value)
	want := contentOf(t, second).Revision
	s.metric(3*time.Minute, "drd_snapshot_revision", func(v float64) bool { return v >= float64(want) })
	s.terminate(c)
}
