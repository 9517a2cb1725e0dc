//go:build soak

package integration

import "testing"

// TestSoakKilledDaemon kills the daemon at 200 moments of taking, uploading and pruning.
func TestSoakKilledDaemon(t *testing.T) { killDaemon(t, 200) }
