package report

import (
	"slices"
	"time"
)

// maxTicksNamed bounds how many ticks a report names one by one; they are always counted.
const maxTicksNamed = 200

// Schedule is how the ticks of the schedule were answered.
type Schedule struct {
	Ticks    int `json:"ticks"` // in the period, but for the last one, whose time is not over
	Answered int `json:"answered"`
	// Missed are ticks without a snapshot at a time from which every snapshot is kept.
	Missed int `json:"missed"`
	// NoEvidence are ticks without a snapshot from before that time, or before the first restore point that is known: missed,
	// pruned without a drill, or from before there were backups.
	NoEvidence int `json:"no_evidence"`
	// MissedTicks are the newest of the missed ones, oldest first, at most 200.
	MissedTicks []time.Time `json:"missed_ticks"`
}

// judgeTicks looks for a restore point between each tick and the next one.
func judgeTicks(cfg Config, points []time.Time) *Schedule {
	s := &Schedule{MissedTicks: []time.Time{}}
	ticks := cfg.Ticks(cfg.Since, cfg.Until)
	for i := 0; i+1 < len(ticks); i++ {
		s.Ticks++
		at, _ := slices.BinarySearchFunc(points, ticks[i], time.Time.Compare)
		switch {
		case at < len(points) && points[at].Before(ticks[i+1]):
			s.Answered++
		case len(points) > 0 && !points[0].Before(ticks[i+1]), // nobody knows whether backups had begun
			cfg.Pruned && ticks[i].Before(cfg.Until.Add(-cfg.Kept)):
			s.NoEvidence++
		default:
			s.Missed++
			s.MissedTicks = append(s.MissedTicks, ticks[i].UTC())
		}
	}
	s.MissedTicks = s.MissedTicks[max(0, len(s.MissedTicks)-maxTicksNamed):]
	return s
}

// normalize sorts the points and leaves each in once, in UTC.
func normalize(points []time.Time) []time.Time {
	for i := range points {
		points[i] = points[i].UTC()
	}
	slices.SortFunc(points, time.Time.Compare)
	return slices.CompactFunc(points, time.Time.Equal)
}

// longest is the longest time without a restore point, the one until now included. It begins at the first point that is
// known: what was before the first backup is no gap between backups. nil without a point in the period.
func longest(points []time.Time, since, until time.Time) *Interval {
	var out *Interval
	for i, p := range points {
		end := until
		if i+1 < len(points) {
			end = points[i+1]
		}
		if p.After(until) || end.Before(since) {
			continue
		}
		if d := end.Sub(p); out == nil || d > time.Duration(out.Seconds)*time.Second {
			out = &Interval{From: p, To: end.UTC(), Seconds: int64(d / time.Second)}
		}
	}
	return out
}
