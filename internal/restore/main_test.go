package restore_test

import (
	"context"
	"fmt"
	"os"
	"testing"

	"github.com/drd-project/drd/internal/snapshot"
)

// The test binary plays the child processes: the inspection that drd starts, and a restore to be killed.
const (
	inspectChild = "inspect-file"
	restoreChild = "restore-child"
)

// sharedDir holds the snapshots that several tests restore.
var sharedDir string

func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case inspectChild:
			os.Exit(snapshot.InspectMain(context.Background(), os.Args[2:], os.Stdout))
		case restoreChild:
			os.Exit(restoreMain(os.Args[2:]))
		}
	}
	// Under the race detector every process sleeps for a second before it exits, and there are hundreds of children here.
	if err := os.Setenv("GORACE", os.Getenv("GORACE")+" atexit_sleep_ms=0"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(withSharedDir(m.Run))
}

func withSharedDir(run func() int) int {
	dir, err := os.MkdirTemp("", "drd-restore-test-*")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	sharedDir = dir
	return run()
}

func inspector(tb testing.TB) snapshot.Inspector {
	tb.Helper()
	self, err := os.Executable()
	if err != nil {
		tb.Fatal(err)
	}
	return snapshot.Inspector{Command: []string{self, inspectChild}}
}
