package snapshot_test

import (
	"os"
	"testing"

	"github.com/drd-project/drd/internal/snapshot/snapshottest"
)

func TestMain(m *testing.M) { os.Exit(snapshottest.Main(m)) }
