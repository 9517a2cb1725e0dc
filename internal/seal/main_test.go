package seal_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestMain lets the test program also be the age plugin and the child under FIPS rules that some tests
// start.
func TestMain(m *testing.M) {
	switch {
	case strings.HasPrefix(filepath.Base(os.Args[0]), "age-plugin-"):
		os.Exit(runPlugin())
	case os.Getenv("DRD_TEST_APPROVED_ONLY") != "":
		os.Exit(runApprovedOnly())
	}
	os.Exit(m.Run())
}
