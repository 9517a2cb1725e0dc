package preflight

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/drd-project/drd/internal/audit"
	"github.com/drd-project/drd/internal/etcd"
	"github.com/drd-project/drd/internal/replicate"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/seal"
	"github.com/drd-project/drd/internal/seal/sealtest"
	"github.com/drd-project/drd/internal/storage"
	"github.com/drd-project/drd/internal/storage/dir"
	"github.com/drd-project/drd/internal/storage/storagetest"
)

// self is the member of the node under test.
const self = "8e9e05c52164694d"

// logged is a node with an audit log, whose snapshots know it.
type logged struct {
	t       *testing.T
	ctx     context.Context // has the log
	cfg     Config
	self    string
	buckets []*storagetest.Faulty
	now     time.Time // of the next snapshot, in the past of every clock but for the tests that say otherwise
}

func newLogged(t *testing.T) *logged {
	t.Helper()
	t.Setenv("PATH", t.TempDir()) // without the journalctl of this machine, whose journal is somebody else's
	keys := sealtest.New(t)
	l := &logged{t: t, self: self, now: time.Now().UTC().Truncate(time.Second).Add(-1000 * time.Hour)}
	l.cfg = Config{
		Connect: func(context.Context) (*etcd.Client, error) { return nil, errors.New("not asked for") },
		Signer:  keys.Signer, Trust: keys.Trust, AuditFile: filepath.Join(t.TempDir(), audit.FileName),
	}
	for _, name := range []string{"primary", "nas"} {
		d, err := dir.Open(t.TempDir(), dir.Options{})
		if err != nil {
			t.Fatal(err)
		}
		b := storagetest.NewFaulty(d)
		r, err := repo.Open(b, "prod")
		if err != nil {
			t.Fatal(err)
		}
		l.buckets, l.cfg.Targets = append(l.buckets, b), append(l.cfg.Targets, replicate.Target{Name: name, Repo: r})
	}
	l.again()
	return l
}

// again is another process with the same log.
func (l *logged) again() {
	l.ctx = audit.Into(l.t.Context(), audit.New(audit.Config{
		Place: func() (string, string) { return l.cfg.AuditFile, "prod" }, Journal: filepath.Join(l.t.TempDir(), "none"),
		Now: func() time.Time { return l.now },
	}))
}

func (l *logged) note(n int) {
	for range n {
		audit.Note(l.ctx, audit.Event{Name: audit.IdentityLoad})
	}
}

// snapshot is made an hour after the one before, and brought to a target.
func (l *logged) snapshot(target int, change func(*repo.Manifest), by *seal.Signer) string {
	l.t.Helper()
	l.now = l.now.Add(time.Hour)
	n, err := audit.NewestOf(l.ctx)
	if err != nil || n == nil {
		l.t.Fatalf("%+v, %v", n, err)
	}
	m := &repo.Manifest{
		Format: repo.ManifestFormat, Cluster: "prod", EtcdClusterID: "c", Timeline: "00000000000000a1", Member: repo.Member{ID: self},
		CaptureStart: l.now, CaptureEnd: l.now.Add(time.Second), Revision: 5, CompactRevision: -1, Keys: 1, Revisions: 1, DBSize: 1,
		HashKV: repo.HashKV{Hash: 1, Revision: 5, CompactRevision: -1}, Plain: repo.Plain{SHA256: strings.Repeat("ab", 32), Size: 33},
		Object: repo.Object{Name: "snapshot.db.zst.age", SHA256: repo.Digest([]byte("x")), Size: 1, Envelope: "age-v1", Recipients: []string{"r"}},
		Drd:    repo.Build{Version: "test"}, Audit: &repo.Audit{Host: n.Host, Sequence: n.Sequence, SHA256: n.Hash},
	}
	if change != nil {
		change(m)
	}
	m.ID = fmt.Sprintf("%s-r5-%s", m.CaptureStart.Format("20060102T150405Z"), m.Member.ID)
	signed, err := repo.Sign(m, by)
	if err != nil {
		l.t.Fatal(err)
	}
	id, err := repo.ParseID(m.ID)
	if err != nil {
		l.t.Fatal(err)
	}
	r := l.cfg.Targets[target].Repo
	source := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader([]byte("x"))), nil }
	if _, err := r.PutPayload(l.t.Context(), id, m.Object.Name, source, 1, m.Object.SHA256); err != nil {
		l.t.Fatal(err)
	}
	if err := r.Commit(l.t.Context(), signed); err != nil {
		l.t.Fatal(err)
	}
	return m.ID
}

// own is a snapshot as this node makes it.
func (l *logged) own() string { return l.snapshot(0, nil, l.cfg.Signer) }

// cut leaves the first n lines of the log.
func (l *logged) cut(n int) {
	l.t.Helper()
	text, err := os.ReadFile(l.cfg.AuditFile)
	if err == nil {
		err = os.WriteFile(l.cfg.AuditFile, bytes.Join(bytes.SplitAfter(text, []byte("\n"))[:n], nil), 0o600)
	}
	if err != nil {
		l.t.Fatal(err)
	}
}

func (l *logged) remove() {
	l.t.Helper()
	if err := os.Remove(l.cfg.AuditFile); err != nil {
		l.t.Fatal(err)
	}
}

func (l *logged) check() Check { return checkAudit(l.t.Context(), l.cfg, l.self) }

// wants also wants that the detail is one line.
func (l *logged) wants(status Status, details ...string) Check {
	l.t.Helper()
	got := l.check()
	for _, detail := range details {
		wants(l.t, got, status, detail)
	}
	if strings.Contains(got.Detail, "\n") || got.Name != "audit log" {
		l.t.Errorf("%+v", got)
	}
	return got
}

func host(t *testing.T) string {
	t.Helper()
	name, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	return name
}

// TestAuditOfThisHost goes through a log's life: what is not there yet, what grows, what is cut off, what goes on after that.
func TestAuditOfThisHost(t *testing.T) {
	l := newLogged(t)
	l.wants(OK, "no records yet; no snapshot of this host knows it yet")
	l.note(3)
	l.wants(OK, "records 1 to 3", "no snapshot of this host knows it yet")
	l.own()
	l.note(3)
	second := l.own()
	l.wants(OK, "records 1 to 6", "agrees with this host's signed snapshots (2)")
	taken := l.now.Format(time.RFC3339)
	l.note(1)
	l.wants(OK, "signed snapshots (2)")
	l.cut(5)
	got := l.wants(Fail, "it ends with record 5", "snapshot "+second+" (captured "+taken+" on "+host(t)+", in primary) has record 6: its end was cut off")
	if !strings.Contains(got.Hints[0], "journalctl -t drd-audit") {
		t.Errorf("%q", got.Hints)
	}
	l.again()
	l.note(4)
	l.wants(Fail, "audit.jsonl:6, record 6, is another one than snapshot "+second+" (captured "+taken)
	l.own() // knows the log as it is now; the one before is no less right for that
	l.wants(Fail, "record 6, is another one than snapshot "+second)
	for range anchorsCompared - 1 {
		l.own()
	}
	l.wants(OK, "agrees with this host's signed snapshots (20)")
}

// TestAuditSetUpAnew: another log is told apart from one that was changed.
func TestAuditSetUpAnew(t *testing.T) {
	l := newLogged(t)
	l.note(3)
	last := l.own()
	l.remove()
	l.wants(Fail, "there is none, and snapshot "+last)
	l.again()
	l.now = l.now.Add(time.Hour)
	l.note(2)
	begun := l.now.Format(time.RFC3339)
	got := l.wants(Fail, "it begins with record 1, of "+begun+", and before that there was record 3, which snapshot "+last, "the state directory is a new one, the log was removed, or the clock was wrong")
	if len(got.Hints) != 2 || !strings.Contains(got.Hints[1], "set up anew this passes when its newest 20 snapshots") {
		t.Errorf("%q", got.Hints)
	}
	for range anchorsCompared {
		l.own()
	}
	l.wants(OK, "signed snapshots (20)")
}

// TestAuditRotated: files that were taken away on purpose are no failure while something can be compared, and a doubt when nothing can.
func TestAuditRotated(t *testing.T) {
	l := newLogged(t)
	l.note(3)
	last := l.own()
	old := strings.TrimSuffix(l.cfg.AuditFile, ".jsonl") + "-000000000003.jsonl"
	if err := os.Rename(l.cfg.AuditFile, old); err != nil { // as the log does when it is full
		t.Fatal(err)
	}
	l.note(2)
	l.wants(OK, "records 1 to 5", "agrees with this host's signed snapshots (1)")
	if err := os.Remove(old); err != nil {
		t.Fatal(err)
	}
	l.wants(Warn, "it begins with record 4, of ", "the newest that snapshot "+last, "is 3: they cannot be compared")
	l.own() // one is not enough: whoever writes a log of his own, which begins with a high number, can have one made
	l.wants(Warn, "records 4 to 5", "agrees with this host's signed snapshots (1)", "they cannot be compared")
	for range anchorsCompared - 1 {
		l.own()
	}
	l.wants(OK, "records 4 to 5", "agrees with this host's signed snapshots (20)")
}

// TestAuditOfOthers: what is not of this host, or not signed by anybody trusted, is no alarm.
func TestAuditOfOthers(t *testing.T) {
	other := func(m *repo.Manifest) { m.Audit.Sequence, m.Audit.SHA256 = 9, strings.Repeat("ee", 32) }
	of := func(host, member string) func(*repo.Manifest) {
		return func(m *repo.Manifest) {
			other(m)
			m.Audit.Host, m.Member.ID = host, member
		}
	}
	second := sealtest.New(t)
	for name, c := range map[string]struct {
		change func(*repo.Manifest)
		signer *seal.Signer // nil: this node's
		status Status
	}{
		"its own":                        {other, nil, Fail},
		"its own, before the key's last": {other, second.Signer, Fail},
		"its own, of a member before":    {of(host(t), "b1"), nil, Fail},
		"another host":                   {of("cp-2", "b1"), second.Signer, OK},
		"another host, with its key":     {of("cp-2", "b1"), nil, OK},
		"another host of its name":       {of(host(t), "b1"), second.Signer, OK},
		"a stranger's":                   {other, sealtest.New(t).Signer, OK},
		"without a log":                  {func(m *repo.Manifest) { m.Audit = nil }, nil, OK},
		"its key's, on another host":     {of("cp-2", self), nil, Warn},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLogged(t)
			l.trustAlso(second)
			l.note(3)
			l.own()
			by := c.signer
			if by == nil {
				by = l.cfg.Signer
			}
			l.snapshot(1, c.change, by)
			if got := l.check(); got.Status != c.status || c.status != Fail && !strings.Contains(got.Detail, "agrees with this host's signed snapshots (1)") {
				t.Errorf("%+v", got)
			}
		})
	}
}

func (l *logged) trustAlso(k *sealtest.Keys) {
	l.t.Helper()
	var lines string
	for _, s := range []*seal.Signer{l.cfg.Signer, k.Signer} {
		lines += "node " + authorized(s)
	}
	trust, err := seal.ParseTrust([]byte(lines), "allowed_signers")
	if err != nil {
		l.t.Fatal(err)
	}
	l.cfg.Trust = trust
}

// TestAuditRenamed: a host that has another name now is known by its key and its member. What does not agree may be another host, with a
// copy of the configuration: that is no failure.
func TestAuditRenamed(t *testing.T) {
	l := newLogged(t)
	l.note(3)
	before := func(m *repo.Manifest) { m.Audit.Host = "cp-0" }
	l.snapshot(0, before, l.cfg.Signer)
	l.wants(OK, "agrees with those it made under another name (1)")
	l.own()
	l.wants(OK, "agrees with this host's signed snapshots (1), those it made under another name (1)")
	l.self = ""
	l.wants(OK, "agrees with this host's signed snapshots (1)")
	l.self = self
	other := l.snapshot(0, func(m *repo.Manifest) { before(m); m.Audit.SHA256 = strings.Repeat("ee", 32) }, l.cfg.Signer)
	l.wants(Warn, "agrees with this host's signed snapshots (1)", "on a host of another name, do not know this log", "record 3, is another one than snapshot "+other, " on cp-0, in primary")
	for range anchorsCompared {
		l.own()
	}
	l.wants(OK, "agrees with this host's signed snapshots (20)")
}

// TestAuditPlanted: what others put in front of the true snapshots hides none of them.
func TestAuditPlanted(t *testing.T) {
	l := newLogged(t)
	l.note(3)
	last := l.own()
	stranger := sealtest.New(t).Signer
	for range anchorsAmong + 5 {
		l.snapshot(0, func(m *repo.Manifest) { m.Audit.Sequence = 1 }, stranger)
	}
	ahead := time.Now().UTC().Truncate(time.Second).Add(48 * time.Hour)
	l.snapshot(0, func(m *repo.Manifest) { m.CaptureStart, m.CaptureEnd = ahead, ahead }, stranger)
	l.wants(OK, "agrees with this host's signed snapshots (1)")
	l.cut(2)
	l.wants(Fail, "snapshot "+last)
}

// TestAuditClock: a clock that was wrong costs nothing, wherever it puts the snapshots.
func TestAuditClock(t *testing.T) {
	l := newLogged(t)
	l.note(1)
	ahead := time.Now().UTC().Truncate(time.Second).Add(48 * time.Hour)
	for i := range anchorsCompared + 1 { // they must not keep the newer ones from being compared
		l.snapshot(0, func(m *repo.Manifest) {
			m.CaptureStart = ahead.Add(time.Duration(i) * time.Second)
			m.CaptureEnd = m.CaptureStart
		}, l.cfg.Signer)
	}
	l.note(1)
	l.own()
	l.now = l.now.AddDate(-1, 0, 0)
	l.again()
	l.note(1)
	last := l.own()
	l.wants(OK, "agrees with this host's signed snapshots (20)")
	l.cut(2)
	l.wants(Fail, "before that there was record 3, which snapshot "+last, "or the clock was wrong")
}

// TestAuditTargets: one target that does not answer hides nothing of the other, and is told.
func TestAuditTargets(t *testing.T) {
	l := newLogged(t)
	l.note(3)
	m := l.snapshot(1, nil, l.cfg.Signer)
	l.buckets[0].SetDown(fmt.Errorf("%w: no route", storage.ErrDenied))
	l.wants(Warn, "agrees with this host's signed snapshots (1); not compared with all snapshots in target primary: ", "no route")
	l.cut(2)
	l.wants(Fail, "snapshot "+m, "in nas) has record 3")
	l.buckets[1].SetDown(errors.New("gone"))
	if got := l.wants(Warn, "in target primary", "in target nas"); len(got.Hints) != 2 || strings.Contains(got.Detail, "knows it yet") {
		t.Errorf("%+v", got)
	}
	l.cfg.Connect = nil // a verifier host, which makes no snapshots
	l.wants(OK, "records 1 to 2")
}

// TestAuditJournal: the journal is asked, too.
func TestAuditJournal(t *testing.T) {
	l := newLogged(t)
	l.note(3)
	l.journalctl()
	l.wants(OK, "agrees with the journal (3); no snapshot of this host knows it yet")
	last := l.own()
	l.wants(OK, "agrees with the journal (3), this host's signed snapshots (1)")
	l.cut(2)
	l.wants(Fail, "and the journal has record 3", "and snapshot "+last)
	l.remove()
	if err := os.WriteFile(l.cfg.AuditFile, []byte(`{"sequence":4,"time":"2026-01-01T00:00:00Z","continues":true,"previous":"x"}`+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	l.wants(Warn, "the newest that the journal has is 3: they cannot be compared", "the newest that snapshot "+last)
}

// journalctl puts a program of that name first in the PATH, which has the records that the log has now.
func (l *logged) journalctl() {
	l.t.Helper()
	text, err := os.ReadFile(l.cfg.AuditFile)
	if err != nil {
		l.t.Fatal(err)
	}
	script := "#!/bin/sh\ncat <<'EOF'\n"
	for line := range strings.Lines(string(text)) {
		message, err := json.Marshal(map[string]string{"MESSAGE": strings.TrimSuffix(line, "\n")})
		if err != nil {
			l.t.Fatal(err)
		}
		script += string(message) + "\n"
	}
	bin := l.t.TempDir()
	if err := os.WriteFile(filepath.Join(bin, "journalctl"), []byte(script+"EOF\n"), 0o755); err != nil {
		l.t.Fatal(err)
	}
	l.t.Setenv("PATH", bin+":/usr/bin:/bin")
}

// TestAuditPayloadGone: a signed manifest is a witness also where its payload was deleted.
func TestAuditPayloadGone(t *testing.T) {
	l := newLogged(t)
	l.note(3)
	id, err := repo.ParseID(l.own())
	if err != nil {
		t.Fatal(err)
	}
	r := l.cfg.Targets[0].Repo
	if err := r.Bucket().Delete(t.Context(), r.PayloadKey(id, "snapshot.db.zst.age")); err != nil {
		t.Fatal(err)
	}
	l.wants(OK, "agrees with this host's signed snapshots (1)")
	l.cut(2)
	l.wants(Fail, "has record 3")
}
