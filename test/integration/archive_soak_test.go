//go:build soak

package integration

import "testing"

// TestSoakKilledArchiver is TestKilledArchiver at length.
func TestSoakKilledArchiver(t *testing.T) { killArchiver(t, 100) }
