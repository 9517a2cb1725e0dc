package scratch

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/etcdutl/v3/snapshot"
	"go.uber.org/zap"

	"github.com/drd-project/drd/test/servers"
)

// The test binary plays the child process, and a process that starts one and is killed.
const (
	etcdChild   = "scratch-etcd"
	parentChild = "parent-of-scratch-etcd"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case etcdChild:
			ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
			code := Main(ctx, os.Args[2:])
			stop()
			os.Exit(code)
		case parentChild:
			os.Exit(parentMain(os.Args[2:]))
		}
	}
	os.Exit(m.Run())
}

var versions = []string{"3.4", "3.5", "3.6", "3.7"}

func embedded(tb testing.TB) Launcher {
	tb.Helper()
	self, err := os.Executable()
	if err != nil {
		tb.Fatal(err)
	}
	return Launcher{Program: "/proc/self/exe", Command: []string{self, etcdChild}}
}

func binary(tb testing.TB, version string) Launcher {
	tb.Helper()
	return Launcher{Binary: servers.Tool(tb, "etcd-"+version)}
}

// launchers are the embedded server and one program of each version.
func launchers(tb testing.TB) map[string]Launcher {
	tb.Helper()
	all := map[string]Launcher{"embedded": embedded(tb)}
	for _, v := range versions {
		all[v] = binary(tb, v)
	}
	return all
}

// sourceOf is the version of the store that a launcher is given.
func sourceOf(launcher string) string {
	if launcher == "embedded" {
		return "3.7"
	}
	return launcher
}

const testKey, testValue = "app/key", "value"

// live is a member with something in it.
func live(tb testing.TB, version string) *servers.Etcd {
	tb.Helper()
	member := servers.StartEtcd(tb, servers.EtcdConfig{Version: version})
	if _, err := member.Client(tb).Put(tb.Context(), testKey, testValue); err != nil {
		tb.Fatal(err)
	}
	return member
}

// restored is a data directory made from a snapshot of a member, with the member's own name and addresses.
func restored(tb testing.TB, member *servers.Etcd, client *clientv3.Client) Data {
	tb.Helper()
	d := Data{
		Dir:  filepath.Join(tb.TempDir(), "etcd"),
		Name: member.Name(), PeerURL: member.PeerURL(), InitialCluster: member.Name() + "=" + member.PeerURL(), InitialClusterToken: "etcd-cluster",
	}
	err := snapshot.NewV3(zap.NewNop()).Restore(snapshot.RestoreConfig{
		SnapshotPath: servers.SaveSnapshot(tb, client), Name: d.Name, OutputDataDir: d.Dir, PeerURLs: []string{d.PeerURL},
		InitialCluster: d.InitialCluster, InitialClusterToken: d.InitialClusterToken,
	})
	if err != nil {
		tb.Fatal(err)
	}
	return d
}

// restoredFrom is restored from a member that is gone again.
func restoredFrom(tb testing.TB, version string) Data {
	tb.Helper()
	member := live(tb, version)
	d := restored(tb, member, member.Client(tb))
	member.Stop()
	return d
}

// socketDir is a directory whose name alone is longer than the name of a socket may be.
func socketDir(tb testing.TB) string {
	tb.Helper()
	dir := filepath.Join(tb.TempDir(), "a-directory-with-a-name-that-is-so-long-that-the-path-of-a-socket-in-it-is-longer-than-the-kernel-takes")
	if err := os.Mkdir(dir, 0o700); err != nil {
		tb.Fatal(err)
	}
	return dir
}

// start starts an etcd, and fails the test when it was still running at its end and did not stop.
func start(tb testing.TB, l Launcher, dir string, d Data) *Etcd {
	tb.Helper()
	e, err := l.Start(tb.Context(), dir, d)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = e.Stop() }) // the tests judge it
	return e
}

// parentMain starts an etcd, says which process that is, and waits to be killed.
func parentMain(args []string) int {
	var l Launcher
	var d Data
	if err := json.Unmarshal([]byte(args[0]), &l); err != nil {
		return 1
	}
	if err := json.Unmarshal([]byte(args[1]), &d); err != nil {
		return 1
	}
	e, err := l.Start(context.Background(), args[2], d)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println(e.child.process.Pid)
	time.Sleep(time.Minute) // the test takes a second
	return 1
}
