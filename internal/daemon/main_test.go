package daemon

import (
	"context"
	"os"
	"testing"

	"github.com/drd-project/drd/internal/snapshot"
)

// asChild makes the test binary play the child process that inspects a snapshot.
const asChild = "DRD_TEST_INSPECT"

func TestMain(m *testing.M) {
	if os.Getenv(asChild) != "" {
		os.Exit(snapshot.InspectMain(context.Background(), os.Args[1:], os.Stdout))
	}
	os.Exit(m.Run())
}
