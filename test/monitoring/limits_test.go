package monitoring

import (
	"regexp"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/drd-project/drd/internal/daemon"
	"github.com/drd-project/drd/internal/status"
)

// limit is what an interval is multiplied with in an expression, and the seconds that are added.
var limit = regexp.MustCompile(`([0-9.]+) \* cluster:drd_(\w+)_interval_seconds:max \+ (\d+)`)

// TestLimits: what wakes somebody is late for drd status, the page and the heartbeat too, and the other way round.
func TestLimits(t *testing.T) {
	for name, want := range map[string]struct {
		interval string
		late     func(time.Duration) time.Duration
	}{
		"DrdSnapshotStale":                    {"snapshot", status.SnapshotLate},
		"DrdTargetStale":                      {"snapshot", status.SnapshotLate},
		"DrdProofStale":                       {"verify", status.ProofLate},
		"cluster_target:drd_restorable:state": {"verify", status.ProofLate},
		"DrdRecoveryPointOld":                 {"archive_flush", daemon.ArchiveLate},
	} {
		all := rules(t)
		i := slices.IndexFunc(all, func(r rule) bool { return r.Alert+r.Record == name })
		if i < 0 {
			t.Errorf("there is no %s", name)
			continue
		}
		found := limit.FindAllStringSubmatch(all[i].Expr, -1)
		if len(found) != 1 || found[0][2] != want.interval {
			t.Errorf("%s: limits %q, want one of the interval %s", name, found, want.interval)
			continue
		}
		times, err := strconv.ParseFloat(found[0][1], 64)
		if err != nil {
			t.Fatal(err)
		}
		plus, err := strconv.Atoi(found[0][3])
		if err != nil {
			t.Fatal(err)
		}
		for _, interval := range []time.Duration{5 * time.Second, time.Minute, 6 * time.Hour, 7 * 24 * time.Hour} {
			got := time.Duration(times*float64(interval)) + time.Duration(plus)*time.Second
			if off := got - want.late(interval); off.Abs() > time.Millisecond {
				t.Errorf("%s: %s for an interval of %s, want %s", name, got, interval, want.late(interval))
			}
		}
	}
}
