// Package snapshottest lets a test program play the process that inspects a snapshot, as drd itself does.
package snapshottest

import (
	"context"
	"os"
	"testing"

	"github.com/drd-project/drd/internal/snapshot"
)

// inspectChild is the first argument of a test program that is to inspect a file.
const inspectChild = "inspect-file"

// Main is what TestMain of a package that uses Inspector exits with: it runs the tests, or else inspects the file that the
// program was started for. Without it, each inspection would run all tests again.
func Main(m *testing.M) int {
	if len(os.Args) > 1 && os.Args[1] == inspectChild {
		return snapshot.InspectMain(context.Background(), os.Args[2:], os.Stdout)
	}
	return m.Run()
}

// Inspector has the running test program inspect.
func Inspector(tb testing.TB) snapshot.Inspector {
	tb.Helper()
	self, err := os.Executable()
	if err != nil {
		tb.Fatal(err)
	}
	return snapshot.Inspector{Command: []string{self, inspectChild}}
}
