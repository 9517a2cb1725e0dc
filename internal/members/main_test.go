package members_test

import (
	"context"
	"os"
	"testing"

	"github.com/drd-project/drd/internal/snapshot"
)

// asChild makes the test binary play the process that inspects a copy.
const asChild = "DRD_TEST_INSPECT"

func TestMain(m *testing.M) {
	if os.Getenv(asChild) != "" {
		os.Exit(snapshot.InspectMain(context.Background(), os.Args[1:], os.Stdout))
	}
	os.Exit(m.Run())
}

func inspector(t *testing.T) snapshot.Inspector {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return snapshot.Inspector{Command: []string{"/usr/bin/env", asChild + "=1", self}}
}
