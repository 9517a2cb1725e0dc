//go:build soak

package restore_test

import (
	"fmt"
	"testing"
)

// TestSoakRevisions is TestEveryRevision and TestArchive at length: thousands of points of histories that differ each time.
func TestSoakRevisions(t *testing.T) {
	for seed := range uint64(8) {
		for _, version := range versions {
			t.Run(fmt.Sprint(version, " ", seed), func(t *testing.T) {
				everyRevision(t, version, 1000+seed, 30, 1)
				throughArchive(t, version, 1000+seed, 40, 1)
			})
		}
	}
}
