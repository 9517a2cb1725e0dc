package demo

import (
	"context"
	"os"
	"testing"

	"github.com/drd-project/drd/internal/snapshot"
)

// inspectChild is the argument with which the test binary plays the child process that inspects snapshots.
const inspectChild = "inspect-file"

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == inspectChild {
		os.Exit(snapshot.InspectMain(context.Background(), os.Args[2:], os.Stdout))
	}
	os.Exit(m.Run())
}
