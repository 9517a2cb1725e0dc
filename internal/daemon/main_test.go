package daemon

import (
	"os"
	"testing"

	"github.com/drd-project/drd/internal/snapshot/snapshottest"
)

// TestMain forgets what the environment says of the machine: the service that the tests may be a part of, and proxies, which would answer
// in the place of servers that are not there.
func TestMain(m *testing.M) {
	for _, name := range []string{"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"} {
		_ = os.Unsetenv(name) // it refuses names that are none
	}
	os.Exit(snapshottest.Main(m))
}
