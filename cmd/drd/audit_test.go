package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"filippo.io/age"
	"github.com/google/go-cmp/cmp"

	"github.com/drd-project/drd/internal/audit"
	"github.com/drd-project/drd/internal/daemon"
	"github.com/drd-project/drd/internal/hint"
)

// auditIn returns a context with an audit log in a new directory, and what reads its events: "event outcome".
func auditIn(t *testing.T) (context.Context, func() []string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), audit.FileName)
	l := audit.New(audit.Config{Place: func() (string, string) { return path, "prod" }, Journal: filepath.Join(t.TempDir(), "none")})
	return audit.Into(t.Context(), l), func() []string { return eventsIn(t, path) }
}

func eventsIn(t *testing.T, path string) []string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var events []string
	for line := range bytes.Lines(text) {
		if !bytes.HasSuffix(line, []byte("\n")) {
			break // the service is still writing it
		}
		var r audit.Record
		if err := json.Unmarshal(line, &r); err != nil {
			t.Fatal(err)
		}
		events = append(events, fmt.Sprintf("%s %s", r.Event, r.Outcome))
	}
	return events
}

// TestAuditReloads goes through what daemon.Serve does with configurations: each is tried before it is run, and when no run begins
// the one before is run again.
func TestAuditReloads(t *testing.T) {
	ctx, events := auditIn(t)
	bad := errors.New("bad")
	var loadErr, wireErr error
	r := &reloads{ctx: ctx, file: "config.yaml", load: func() (daemon.Wiring, error) {
		return func(context.Context, *slog.Logger) (daemon.Config, error) { return daemon.Config{}, wireErr }, loadErr
	}}
	load := func() daemon.Wiring {
		t.Helper()
		wire, err := r.next()
		if !errors.Is(err, loadErr) {
			t.Errorf("load: %v", err)
		}
		return wire
	}
	run := func(wire daemon.Wiring) {
		t.Helper()
		if _, err := wire(ctx, nil); !errors.Is(err, wireErr) {
			t.Errorf("wire: %v", err)
		}
	}
	first := load()
	run(first) // the start
	loadErr = bad
	load() // a file that is wrong
	loadErr, wireErr = nil, bad
	run(load()) // a key that is none
	wireErr = nil
	second := load()
	run(second) // tried
	run(second) // in force
	third := load()
	run(third)
	run(third)
	run(second) // the third did not begin
	want := []string{
		"daemon.start done", "config.reload refused", "config.reload refused", "config.reload done", "config.reload done", "config.reload refused",
	}
	if d := cmp.Diff(want, events()); d != "" || r.inForce != 4 {
		t.Errorf("in force: %d: %s", r.inForce, d)
	}
}

// TestReloadKeepsState: a service that runs does not take another state directory or cluster, and takes the next good configuration.
func TestReloadKeepsState(t *testing.T) {
	g := prepare(t)
	a := &app{configFile: filepath.Join(g.dir, "config.yaml")}
	text := string(readAll(t, a.configFile))
	load := a.daemonLoader()
	for _, c := range []struct{ old, changed, want string }{
		{"", "", ""},
		{"/state\n", "/state2\n", "state_dir was " + g.dir + "/state when the service started, and is " + g.dir + "/state2 now"},
		{"cluster: prod", "cluster: other", "cluster was prod when the service started, and is other now"},
		{"metrics: {", "# metrics: {", ""},
	} {
		if err := os.WriteFile(a.configFile, []byte(strings.Replace(text, c.old, c.changed, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := load()
		if c.want == "" && err != nil || c.want != "" && (err == nil || err.Error() != c.want || len(hint.Of(err)) == 0) {
			t.Errorf("%q for %q: %v, want %q", c.changed, c.old, err, c.want)
		}
	}
}

// TestAuditIdentities: that an identity is read is recorded once, and again when it cannot be read any more.
func TestAuditIdentities(t *testing.T) {
	ctx, events := auditIn(t)
	var err error
	load := auditedIdentities(noteIn(ctx), "identity.txt", func() ([]age.Identity, error) { return nil, err })
	for _, err = range []error{nil, nil, errors.New("gone"), errors.New("gone"), nil} {
		if _, got := load(); !errors.Is(got, err) {
			t.Error(got)
		}
	}
	if d := cmp.Diff([]string{"identity.load begun", "identity.load done", "identity.load failed", "identity.load done"}, events()); d != "" {
		t.Error(d)
	}
}

// TestAudit: each command that touches keys or backups leaves its records in the configuration's state directory, and they hold no
// secret. drd check verifies them.
func TestAudit(t *testing.T) {
	g := prepare(t)
	dir := g.dir
	path := filepath.Join(dir, "state", audit.FileName)
	config := []string{"--config", filepath.Join(dir, "config.yaml")}
	identity := filepath.Join(dir, "keys", "identity.txt")
	in := func(name string) string { return filepath.Join(dir, name) }
	key := readAll(t, identity)

	steps := []struct {
		args []string
		want []string
	}{
		{[]string{"restore", "--yes", "--identity", identity, "--output", in("restored.db")},
			[]string{"identity.load begun", "identity.load done", "restore.begin begun", "object.download begun", "object.decrypt done", "restore.install begun", "restore.install done", "restore.end done"}},
		{[]string{"restore", "--identity", identity, "--dry-run", "--output", in("dry.db")}, nil},
		{[]string{"verify", "--data-only", "--identity", identity, g.first},
			[]string{"signing-key.load done", "identity.load begun", "identity.load done", "drill.begin begun", "object.download begun", "object.decrypt done", "drill.end done"}},
		{[]string{"restore", "--id", g.first, "--header-out", in("object.header")}, []string{"header.export begun", "header.export done"}},
		{[]string{"unlock", "--identity", identity, in("object.header"), "--output", in("object.key")}, []string{"identity.load begun", "identity.load done", "file-key.recover begun", "file-key.recover done"}},
		{[]string{"restore", "--yes", "--id", g.first, "--file-key", in("object.key"), "--output", in("again.db")},
			[]string{"file-key.load done", "restore.begin begun", "object.download begun", "object.decrypt done", "restore.install begun", "restore.install done", "restore.end done"}},
		{[]string{"log", "--identity", identity, "--key", "key-0"},
			[]string{"identity.load begun", "identity.load done", "past.begin begun", "object.download begun", "object.decrypt done", "past.end done"}},
		{[]string{"extract", "--identity", identity, "--key", "key-0", "--format", "raw", "--output", in("key.json")},
			[]string{"identity.load begun", "identity.load done", "past.begin begun", "object.download begun", "object.decrypt done", "past.end done", "extract.write begun", "extract.write done"}},
		{[]string{"keygen", "--dir", in("more")}, []string{"key.generate begun", "key.generate done", "key.generate begun", "key.generate done"}},
	}
	seen := 2
	if d := cmp.Diff([]string{"signing-key.load done", "signing-key.load done"}, eventsIn(t, path)); d != "" {
		t.Fatalf("two snapshots: %s", d)
	}
	for _, s := range steps {
		g.drd(t, append(s.args, config...)...)
		all := eventsIn(t, path)
		if d := cmp.Diff(s.want, slices.Clip(all[seen:]), emptyIsNil); d != "" {
			t.Errorf("drd %s: %s", strings.Join(s.args, " "), d)
		}
		seen = len(all)
	}
	if c, err := audit.Verify(path); err != nil || c.Records != int64(seen) {
		t.Errorf("%s, %v", c, err)
	}
	text := readAll(t, path)
	secrets := strings.Fields(string(key) + string(readAll(t, in("object.key"))) + string(readAll(t, in("more/identity.txt"))))
	for _, secret := range append(secrets, "value") {
		if len(secret) > 4 && !strings.HasPrefix(secret, "#") && bytes.Contains(text, []byte(secret)) {
			t.Errorf("the audit log holds %q", secret)
		}
	}
	if !bytes.Contains(text, []byte(`"command":"drd restore"`)) || !bytes.Contains(text, []byte(g.first)) || !bytes.Contains(text, []byte(in("restored.db"))) {
		t.Error("it does not say which command did what to what")
	}
	tamper(t, path)
	out, err := exec.CommandContext(t.Context(), "drd", append([]string{"check"}, config...)...).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "audit.jsonl:6 does not follow from the line before") {
		t.Errorf("drd check: %v\n%s", err, out)
	}
}

// emptyIsNil compares an empty list with none.
var emptyIsNil = cmp.Transformer("list", func(s []string) string { return strings.Join(s, "\n") })

func readAll(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// tamper changes a record.
func tamper(t *testing.T, path string) {
	t.Helper()
	lines := bytes.SplitAfter(readAll(t, path), []byte("\n"))
	lines[4] = bytes.Replace(lines[4], []byte("restore.begin"), []byte("restore.other"), 1)
	if err := os.WriteFile(path, bytes.Join(lines, nil), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestAuditNowhere: a restore whose records cannot be written is made all the same, and says so; a prune is not.
func TestAuditNowhere(t *testing.T) {
	g := prepare(t)
	config := []string{"--config", filepath.Join(g.dir, "config.yaml")}
	path := filepath.Join(g.dir, "state", audit.FileName)
	if err := errors.Join(os.Remove(path), os.Mkdir(path, 0o700)); err != nil { // root cannot write to that either
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "drd", append(config, "restore", "--yes", "--identity", filepath.Join(g.dir, "keys", "identity.txt"), "--output", filepath.Join(g.dir, "restored.db"))...)
	out, err := cmd.CombinedOutput()
	if err != nil || strings.Count(string(out), "drd: warning: audit log: ") != 1 {
		t.Errorf("restore: %v\n%s", err, out)
	}
	f, err := os.OpenFile(config[1], os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteString("retention: {last: 1, min_copies: 1}\n")
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	out, err = exec.CommandContext(t.Context(), "drd", append(config, "prune")...).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "nothing is deleted that cannot be recorded") || !strings.Contains(string(out), "docs/audit.md") {
		t.Errorf("prune: %v\n%s", err, out)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	g.drd(t, append(config, "prune")...)
	want := []string{"prune.begin begun", "prune.delete begun", "prune.delete done", "prune.end done"}
	if d := cmp.Diff(want, eventsIn(t, path)); d != "" {
		t.Error(d)
	}
}

// TestAuditClasses: docs/audit.md names the classes of errors.
func TestAuditClasses(t *testing.T) {
	page := string(readAll(t, "../../docs/audit.md"))
	line := page[strings.Index(page, "| `error_class` |"):]
	line, _, _ = strings.Cut(line, "\n")
	classes := auditClasses()
	if len(classes) < 10 {
		t.Fatalf("%d classes", len(classes))
	}
	for _, c := range classes {
		if !strings.Contains(line, "`"+c.Name+"`") {
			t.Errorf("%q (%v) is not in docs/audit.md", c.Name, c.Err)
		}
	}
}
