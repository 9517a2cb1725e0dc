//go:build soak

package integration

import "testing"

// TestSoakNoFalseAlarm makes 200 drills of clusters that are changed all the time.
func TestSoakNoFalseAlarm(t *testing.T) {
	for i, c := range []struct {
		version string
		drills  int
	}{{"3.5", 66}, {"3.6", 67}, {"3.7", 67}} {
		t.Run(c.version, func(t *testing.T) { drillUnderLoad(t, c.version, c.drills, uint64(i)) })
	}
}
