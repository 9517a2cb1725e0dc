//go:build soak

package follow_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// TestSoakMillionDeletions: a million keys of Kubernetes' length go in one call, on every version.
func TestSoakMillionDeletions(t *testing.T) {
	for _, version := range allVersions {
		t.Run(version, func(t *testing.T) { deleteMany(t, version, 1_000_000, 10*time.Minute) })
	}
}

// TestSoakManyLeases: two hundred thousand leases that live at the same time.
func TestSoakManyLeases(t *testing.T) { manyLeases(t, 200_000, 10*time.Minute) }

// TestSoakExact is TestExact for histories that differ each time.
func TestSoakExact(t *testing.T) {
	for seed := range uint64(20) {
		for _, version := range allVersions {
			t.Run(fmt.Sprint(version, " ", seed), func(t *testing.T) {
				c := newCluster(t, version)
				c.random = rand.New(rand.NewPCG(100+seed, uint64(version[2])))
				exact(t, c, 10)
			})
		}
	}
}
