//go:build soak

package archiver

import (
	"testing"
	"time"
)

// TestSoakBusyWithoutTarget is TestBusyWithoutTarget for an hour, at as many writes as etcd takes. With values that compress as those of
// Kubernetes do, that fits into the spool.
func TestSoakBusyWithoutTarget(t *testing.T) { busyWithoutTarget(t, time.Hour, 200) }
