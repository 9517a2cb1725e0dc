package status

import (
	"slices"
	"time"

	"github.com/drd-project/drd/internal/repo"
)

// SnapshotLate is how old the newest snapshot may be where the schedule asks for one every period: a tenth more for what a capture and
// the turns of the nodes take, and half an hour. The alerts have the same limit, and so does how long a snapshot may wait for a target.
func SnapshotLate(period time.Duration) time.Duration { return period + period/10 + 30*time.Minute }

// ProofLate is how long ago the newest drill that passed may be where the schedule asks for one every period: two of them, so that one may
// be missed, and an hour for the drill. The alerts have the same limit.
func ProofLate(period time.Duration) time.Duration { return 2*period + time.Hour }

// Where no schedule is known, the newest snapshots of a target tell how often one comes.
const (
	paced    = 10 // snapshots: two and a half days of one every six hours
	minPaced = 3  // with fewer a day is taken for the period
	minPace  = 10 * time.Minute
	maxPace  = 24 * time.Hour
)

// pace is the median of the times between the newest snapshots, which are in order: one by hand or a tick that was missed changes it
// little. It lies between 10 minutes and a day.
func pace(snapshots []*repo.Entry) time.Duration {
	if len(snapshots) < minPaced {
		return maxPace
	}
	var gaps []time.Duration
	for i := len(snapshots) - 1; i > 0 && len(gaps) < paced-1; i-- {
		if gap := snapshots[i].ID.Time.Sub(snapshots[i-1].ID.Time); gap >= minPace { // else somebody, or the archive, asked for one more
			gaps = append(gaps, gap)
		}
	}
	if len(gaps) == 0 {
		return minPace
	}
	slices.Sort(gaps)
	return min(gaps[len(gaps)/2], maxPace)
}

// period is the time between two snapshots of the schedule, or what the target's own tell of it.
func (s *Seen) period(scheduled time.Duration) time.Duration {
	if scheduled > 0 {
		return scheduled
	}
	return s.pace
}

// archives reports whether somebody goes on writing an archive there, as far as that can be seen: it ends behind the newest snapshot, or at
// most two periods before. Where it was given up, snapshots have come since.
func (s *Seen) archives() bool {
	return !s.archive.End.IsZero() && s.taken.Sub(s.archive.End) <= 2*s.pace
}
