package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/drd-project/drd/internal/audit"
	"github.com/drd-project/drd/internal/preflight"
	"github.com/drd-project/drd/internal/repo"
)

// TestAuditEveryEvent: the service and the commands that docs/audit.md names record every event of that page, in one sound log. The
// service's snapshots know it.
func TestAuditEveryEvent(t *testing.T) {
	d := newDisaster(t)
	config, identity := filepath.Join(d.dir, "config.yaml"), filepath.Join(d.dir, "keys", "identity.txt")
	path := filepath.Join(d.dir, "state", audit.FileName)
	with := []string{"--config", config, "--identity", identity}
	drd := func(args ...string) { t.Helper(); d.drd(append(args, with...)...) }

	revision := d.serve(config, path)
	checkAudit(t, with[:2], preflight.OK, "agrees with this host's signed snapshots (")
	d.drd("keygen", "--config", config, "--dir", "more")
	drd("verify", "--data-only")
	drd("restore", "--yes", "--revision", fmt.Sprint(revision), "--output", "restored.db")
	drd("log", "--key", "tick")
	drd("extract", "--key", "tick", "--format", "raw", "--output", "tick.json")
	d.drd("restore", "--config", config, "--id", d.newest(), "--header-out", "object.header")
	drd("unlock", "object.header", "--output", "object.key")
	d.drd("restore", "--config", config, "--yes", "--id", d.newest(), "--file-key", "object.key", "--output", "again.db")
	d.pruned(config)

	seen := make(map[string]bool)
	for _, event := range eventsIn(t, path) {
		name, _, _ := strings.Cut(event, " ")
		seen[name] = true
	}
	for _, def := range audit.Definitions() {
		if !seen[string(def.Name)] && def.Name != audit.SpoolDrop { // which needs a spool that is full: internal/replicate has its test
			t.Errorf("%s was not recorded", def.Name)
		}
	}
	if c, err := audit.Verify(path); err != nil || c.Records < int64(len(audit.Definitions())) {
		t.Errorf("%s, %v", c, err)
	}
}

// serve runs the service until it has taken a snapshot and another configuration, and archived what came after that, up to the revision
// that is returned, which no snapshot has.
func (d *disaster) serve(config, log string) (revision int64) {
	d.t.Helper()
	daemon := d.service(config)
	d.archived(1, func() { d.put("tick", "x") })
	d.configure(config, "# changed\n")
	if err := daemon.Process.Signal(syscall.SIGHUP); err != nil {
		d.t.Fatal(err)
	}
	for until := time.Now().Add(time.Minute); !slices.Contains(eventsIn(d.t, log), "config.reload done"); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(until) {
			d.t.Fatal("the configuration is not taken")
		}
	}
	revision = d.put("tick", "y")
	d.archived(revision, func() {})
	d.stop(daemon)
	if d.reached() >= revision { // by the snapshot that an archive asks for at its beginning, and not again
		daemon = d.service(config)
		revision = d.put("tick", "z")
		d.archived(revision, func() {})
		d.stop(daemon)
	}
	return revision
}

func (d *disaster) service(config string) *exec.Cmd {
	d.t.Helper()
	daemon := exec.CommandContext(d.t.Context(), "drd", "daemon", "--config", config)
	daemon.Cancel = func() error { return daemon.Process.Signal(os.Interrupt) }
	daemon.Stdout, daemon.Stderr = d.t.Output(), d.t.Output()
	if err := daemon.Start(); err != nil {
		d.t.Fatal(err)
	}
	return daemon
}

func (d *disaster) stop(daemon *exec.Cmd) {
	d.t.Helper()
	if err := daemon.Process.Signal(os.Interrupt); err != nil {
		d.t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := daemon.Wait(); err != nil && !errors.As(err, &exit) {
		d.t.Fatal(err)
	}
}

// pruned has one of two snapshots deleted in another target: the archive keeps all in the first.
func (d *disaster) pruned(config string) {
	d.t.Helper()
	text := strings.Replace(string(readAll(d.t, config)), d.dir+"/target}", d.dir+"/other}", 1)
	text = strings.Replace(text, "archive:", "retention: {last: 1, min_copies: 1}\narchive:", 1)
	other := filepath.Join(d.dir, "other.yaml")
	if err := errors.Join(os.Mkdir(filepath.Join(d.dir, "other"), 0o700), os.WriteFile(other, []byte(text), 0o600)); err != nil {
		d.t.Fatal(err)
	}
	for _, command := range []string{"snapshot", "snapshot", "prune"} {
		d.drd(command, "--config", other)
	}
}

// configure adds lines to the configuration.
func (d *disaster) configure(config, lines string) {
	d.t.Helper()
	if err := os.WriteFile(config, append(readAll(d.t, config), lines...), 0o600); err != nil {
		d.t.Fatal(err)
	}
}

// reached is the highest revision that a snapshot in the target has.
func (d *disaster) reached() (revision int64) {
	d.t.Helper()
	found, err := filepath.Glob(filepath.Join(d.dir, "target", "prod-east", "snapshots", "*", "manifest.json"))
	if err != nil {
		d.t.Fatal(err)
	}
	for _, path := range found {
		id, err := repo.ParseID(filepath.Base(filepath.Dir(path)))
		if err != nil {
			d.t.Fatal(err)
		}
		revision = max(revision, id.Revision)
	}
	return revision
}

// newest is the ID of the newest snapshot in the target.
func (d *disaster) newest() string {
	d.t.Helper()
	found, err := filepath.Glob(filepath.Join(d.dir, "target", "prod-east", "snapshots", "*", "manifest.json"))
	if err != nil || len(found) == 0 {
		d.t.Fatalf("snapshots: %q, %v", found, err)
	}
	return filepath.Base(filepath.Dir(found[len(found)-1]))
}
