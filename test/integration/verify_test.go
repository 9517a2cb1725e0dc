package integration

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/drd-project/drd/test/program"
	"github.com/drd-project/drd/test/servers"
)

// verifyDocument is what drd verify --json writes.
type verifyDocument struct {
	Outcome string `json:"outcome"`
	Results []struct {
		Target   string `json:"target"`
		Outcome  string `json:"outcome"`
		Recorded bool   `json:"recorded"`
		Record   struct {
			Trigger string `json:"trigger"`
			Drills  []struct {
				Snapshot        string  `json:"snapshot"`
				Level           string  `json:"level"`
				Outcome         string  `json:"outcome"`
				Cause           string  `json:"cause"`
				OpenedWith      string  `json:"opened_with"`
				Etcd            string  `json:"etcd"`
				RecoverySeconds float64 `json:"recovery_seconds"`
			} `json:"drills"`
		} `json:"record"`
	} `json:"results"`
}

// proofOf is what drd list says of the newest snapshot in a target.
func (s *site) proofOf(target int) string {
	s.t.Helper()
	items := s.list(target)
	if len(items) == 0 {
		return "no snapshot"
	}
	return items[len(items)-1].Proof
}

// TestNodeDrillsWithItsOwnKeys: a node without any identity proves what it has uploaded, in the daemon and by hand, until it is
// booted again.
func TestNodeDrillsWithItsOwnKeys(t *testing.T) {
	t.Parallel()
	e := servers.StartEtcd(t, servers.EtcdConfig{})
	s := newSite(t, ofEtcd(e), onMinIO(t), inDirectory(t))
	s.more = "verify: {fresh: drill}\n"
	s.write(ofEtcd(e))
	load(t, e, "app/", s.value)
	live := contentOf(t, e)

	began := time.Now().Add(-time.Second)
	c := s.start("daemon")
	for _, target := range []string{"t1", "t2"} {
		s.metric(2*time.Minute, fmt.Sprintf("drd_verify_last_success_timestamp_seconds{target=%q}", target), func(v float64) bool { return v >= float64(began.Unix()) })
		s.metric(time.Minute, fmt.Sprintf(`drd_verify_last_result{result="passed",target=%q}`, target), is(1))
		s.metric(time.Minute, fmt.Sprintf("drd_verify_uncovered_snapshots{target=%q}", target), is(0))
	}
	s.metric(time.Minute, "drd_restore_estimated_seconds", func(v float64) bool { return v > 0 })
	s.metric(time.Minute, `drd_errors_total{stage="verify"}`, is(0))
	s.terminate(c).wants(t, `msg="drill passed"`)
	for i := range s.stores {
		if got := s.proofOf(i); got != "proved" {
			t.Errorf("t%d: the newest snapshot is %s", i+1, got)
		}
	}
	if after := contentOf(t, e); after.Revision != live.Revision || after.Hash != live.Hash {
		t.Errorf("the live member has %+v, before the drills it had %+v", after, live)
	}

	doc := decode[verifyDocument](t, s.must("verify", "--json"))
	for _, r := range doc.Results {
		if d := r.Record.Drills; r.Outcome != "passed" || !r.Recorded || len(d) != 1 || d[0].OpenedWith != "retained file key" || d[0].RecoverySeconds <= 0 {
			t.Errorf("%+v", r)
		}
	}
	doc = decode[verifyDocument](t, s.must("verify", "--json", "--target", "t2", "--no-record", "--etcd-binary", servers.Tool(t, "etcd-3.7")))
	if r := doc.Results[0]; len(doc.Results) != 1 || r.Recorded || r.Outcome != "passed" || strings.Contains(r.Record.Drills[0].Etcd, "embedded") {
		t.Errorf("with etcd's own program: %+v", doc)
	}
	if err := os.RemoveAll(filepath.Join(s.dir, "run")); err != nil { // as a reboot does
		t.Fatal(err)
	}
	s.fails(2, "verify").wants(t, "no key to open the snapshots with")
	s.wantNoPlaintext()
}

// wantNoPlaintext wants nothing but the lock in the scratch directory.
func (s *site) wantNoPlaintext() {
	s.t.Helper()
	entries, err := os.ReadDir(filepath.Join(s.state, "scratch"))
	if err != nil {
		s.t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() != "lock" {
			s.t.Errorf("%s is left in the scratch directory", e.Name())
		}
	}
}

// verifier is a host that has the keys and reads the stores of s, and no etcd.
func (s *site) verifier() *site {
	s.t.Helper()
	v := *s
	v.dir = s.t.TempDir()
	v.config, v.state = filepath.Join(v.dir, "config.yaml"), filepath.Join(v.dir, "state")
	v.metrics = fmt.Sprintf("127.0.0.1:%d", servers.FreePort(s.t))
	var text strings.Builder
	fmt.Fprintf(&text, "cluster: %s\nstate_dir: %q\nruntime_dir: %q\ntrust: {file: %q}\n", cluster, v.state, filepath.Join(v.dir, "run"), s.trust())
	fmt.Fprintf(&text, "verify: {schedule: \"30 3 * * *\", identity_file: %q}\nmetrics: {listen: %q}\ntargets:\n", s.identity(), v.metrics)
	for i, st := range s.stores {
		fmt.Fprintf(&text, "  - {name: t%d, %s}\n", i+1, st.section())
	}
	text.WriteString(v.more)
	writeFile(s.t, v.config, text.String())
	s.t.Cleanup(v.checkFiles)
	return &v
}

// TestVerifierHost: bucket, identity and trust file are enough. It records nothing without a signing key, and with one every
// node that trusts it believes it.
func TestVerifierHost(t *testing.T) {
	t.Parallel()
	e := servers.StartEtcd(t, servers.EtcdConfig{})
	s := newSite(t, ofEtcd(e), onMinIO(t))
	load(t, e, "app/", s.value)
	s.snapshot()
	load(t, e, "more/", s.value)
	s.snapshot()
	e.Kill()

	v := s.verifier()
	c := v.start("daemon")
	program.Eventually(t, 2*time.Minute, func() error {
		if n := strings.Count(c.Stderr.String(), `msg="drill passed"`); n < 2 {
			return fmt.Errorf("%d drills passed:\n%s", n, c.Stderr.String())
		}
		return nil
	})
	v.metric(time.Minute, `drd_repo_objects{kind="snapshot",target="t1"}`, is(2))
	v.terminate(c).wants(t, "this is a verifier host")
	if got := s.proofOf(0); got != "unproven" {
		t.Errorf("without a signing key the snapshot is %s", got)
	}
	v.fails(2, "snapshot").wants(t, "this is a verifier host", "drd: hint: ")
	if r := v.run("check"); r.code != 0 || !strings.Contains(r.stdout, "ok       target t1 ") || strings.Contains(r.stdout, "ok       etcd") {
		t.Errorf("a verifier host checks what it has\n%v", r)
	}

	s.more = "signing: {key_file: " + filepath.Join(s.keys, "signing.key") + "}\n"
	v = s.verifier()
	c = v.start("daemon")
	v.metric(2*time.Minute, `drd_verify_last_result{result="passed",target="t1"}`, is(1))
	v.metric(time.Minute, `drd_verify_uncovered_snapshots{target="t1"}`, is(0))
	v.terminate(c)
	if got := s.proofOf(0); got != "proved" {
		t.Errorf("the node says that the snapshot is %s", got)
	}
	v.wantNoPlaintext()
	v.run("status").shows(t, "recoverable to", "drill passed")
}

// TestDrillOfDeadStore: a store that is gone is inconclusive, damage in one is failed, and neither is told as the other.
func TestDrillOfDeadStore(t *testing.T) {
	t.Parallel()
	e := servers.StartEtcd(t, servers.EtcdConfig{})
	m := servers.StartMinIO(t)
	s := newSite(t, ofEtcd(e), newBucket(t, m.S3, "drd-test"), inDirectory(t))
	load(t, e, "app/", s.value)
	taken := s.snapshot()
	key := objectOf(taken.ID, taken.Object.Name)
	content := s.stores[1].objects(t)[key]
	content[len(content)/2] ^= 1
	s.stores[1].remove(t, key)
	s.stores[1].put(t, key, content)
	m.Stop()

	r := s.fails(3, "verify", "--json", "--identity", s.identity())
	doc := decode[verifyDocument](t, r)
	if doc.Outcome != "failed" || doc.Results[0].Outcome != "inconclusive" || doc.Results[1].Outcome != "failed" {
		t.Errorf("%v", r)
	}
	if d := doc.Results[1].Record.Drills; len(d) == 0 || !strings.HasPrefix(d[0].Cause, "object: ") {
		t.Errorf("the damage is not in the object: %+v", d)
	}
	m.Start()
	for i, want := range []string{"unproven", "failed"} {
		if got := s.proofOf(i); got != want {
			t.Errorf("t%d: the snapshot is %s, want %s", i+1, got, want)
		}
	}
}

// TestVerifyDocument runs the commands of docs/verify.md, from the drill by hand to the key ceremony.
func TestVerifyDocument(t *testing.T) {
	t.Parallel()
	e := servers.StartEtcd(t, servers.EtcdConfig{})
	s := newSite(t, ofEtcd(e), onMinIO(t))
	load(t, e, "app/", s.value)
	lost := contentOf(t, e)
	taken := s.snapshot()
	e.Kill()

	dir := t.TempDir()
	runDocument(t, s, "verify.md", dir, "PASSED  "+taken.ID, "passed\n", fmt.Sprintf("PASSED  revision %d from t1", taken.Revision), "proved ", "header     of "+taken.ID, "key        of one object", "restored   "+taken.ID)
	runDocument(t, s, "report.md", dir, `"passed"`)
	page, err := os.ReadFile(filepath.Join(dir, "report.html"))
	if err != nil || !strings.Contains(string(page), "1 passed, 0 failed") {
		t.Errorf("%v; the page does not tell of the drill:\n%s", err, page)
	}
	wantContent(t, startFrom(t, filepath.Join(dir, "restored.db")), lost)
}

// runDocument runs the commands of a page of docs in dir, and wants the output of each block to contain a text.
func runDocument(t *testing.T, s *site, name, dir string, wants ...string) {
	t.Helper()
	bin := t.TempDir()
	s.bringKeys(dir)
	wrapper := fmt.Sprintf("#!/bin/sh\nexec %s \"$@\" --config %s\n", drd, s.config) // in place of /etc/drd/config.yaml
	// A program that another test starts meanwhile would hold it open, and nobody could run it.
	syscall.ForkLock.RLock()
	err := os.WriteFile(filepath.Join(bin, "drd"), []byte(wrapper), 0o700)
	syscall.ForkLock.RUnlock()
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", name))
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(string(page), -1)
	if len(blocks) != len(wants) {
		t.Fatalf("docs/%s has %d blocks of commands, want %d", name, len(blocks), len(wants))
	}
	for i, block := range blocks {
		cmd := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", block[1])
		cmd.Dir, cmd.Env = dir, []string{"HOME=" + dir, "PATH=" + bin + ":/usr/bin:/bin"}
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), wants[i]) {
			t.Fatalf("%v, want %q of:\n%s\nit says:\n%s", err, wants[i], block[1], out)
		}
		s.secrets.check(t, "the output of the documented commands", out)
	}
}
