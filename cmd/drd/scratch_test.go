package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/drd-project/drd/internal/scratch"
)

// TestScratchEtcd: drd is its own scratch etcd, on what it has restored.
func TestScratchEtcd(t *testing.T) {
	given := prepare(t)
	dir := t.TempDir()
	data := restoredData(t, given, filepath.Join(dir, "data"))
	sockets := filepath.Join(dir, "sockets")
	if err := os.Mkdir(sockets, 0o700); err != nil {
		t.Fatal(err)
	}
	e, err := selfScratch().Start(t.Context(), sockets, data)
	if err != nil {
		t.Fatal(err)
	}
	if !e.Embedded() || e.Version() == "" {
		t.Errorf("embedded %t, version %q", e.Embedded(), e.Version())
	}
	if err := e.Stop(); err != nil {
		t.Error(err)
	}
	if code := run([]string{scratchCommand, "no settings"}, nil, t.Output(), t.Output()); code != exitFailed {
		t.Errorf("settings that are none: exit code %d", code)
	}
	if code := run([]string{scratchCommand}, nil, t.Output(), t.Output()); code != exitUsage {
		t.Errorf("no settings: exit code %d", code)
	}
}

// restoredData restores the newest snapshot with drd itself.
func restoredData(t *testing.T, g *given, dir string) scratch.Data {
	t.Helper()
	const name, url = "cp-1", "http://127.0.0.1:2380" // nobody listens there
	d := scratch.Data{Dir: dir, Name: name, PeerURL: url, InitialCluster: name + "=" + url}
	keys := filepath.Join(g.dir, "keys")
	g.drd(t, "restore", "--yes", "--repo", "file://"+filepath.Join(g.dir, "repo"), "--cluster", "prod",
		"--trust", filepath.Join(keys, "allowed_signers"), "--identity", filepath.Join(keys, "identity.txt"),
		"--data-dir", d.Dir, "--name", name, "--initial-cluster", d.InitialCluster, "--initial-advertise-peer-urls", url)
	return d
}
