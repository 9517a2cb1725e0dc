package daemon

import (
	"hash/fnv"
	"time"

	"github.com/robfig/cron/v3"
)

const (
	// clockSlack is how far in the future the last answered tick may lie. A clock that is stepped back by less
	// (NTP does so now and then) has not lost a tick; one that is set back by more was wrong before, or is now.
	clockSlack = 5 * time.Minute
	// furthestTick is how far back a tick is looked for: the parser's schedules look five years ahead.
	furthestTick = 5 * 366 * 24 * time.Hour
)

// plan says when which tick is due. It knows no clock and keeps no state.
type plan struct {
	ticks  cron.Schedule
	jitter time.Duration
	node   string
}

// due is the tick to answer next and the wall-clock time to do so, which has passed when it is to be done now.
// answered is the last tick that was; zero: none ever.
//
// However many ticks were missed, only the newest of them is due. Where none was ever answered, or one that
// is still to come (the clock was set back), the newest tick is due at once: a snapshot too many is cheap.
func (p plan) due(now, answered time.Time) (slot, at time.Time) {
	if answered.IsZero() || answered.After(now.Add(clockSlack)) {
		return p.latest(now), now
	}
	slot = p.next(answered)
	if !slot.After(now) {
		slot = p.latest(now)
	}
	return slot, slot.Add(p.delay(slot))
}

// next is the first tick after t. Where none comes in years, it looks again by then.
func (p plan) next(t time.Time) time.Time {
	if tick := p.ticks.Next(t); !tick.IsZero() {
		return tick
	}
	return t.Add(furthestTick)
}

// latest is the newest tick at or before now. A schedule only tells what comes after a time, so it is asked
// from further and further back. Where there is none, now is taken for one.
func (p plan) latest(now time.Time) time.Time {
	for back := time.Minute; back < furthestTick; back *= 2 {
		var found time.Time
		for t := p.ticks.Next(now.Add(-back)); !t.IsZero() && !t.After(now); t = p.ticks.Next(t) {
			found = t
		}
		if !found.IsZero() {
			return found
		}
	}
	return now.Truncate(time.Second)
}

// period is the time from a tick to the one after it.
func (p plan) period(slot time.Time) time.Duration { return p.next(slot).Sub(slot) }

// delay is the jitter of a tick: as good as random between nodes and ticks, and the same after a restart.
func (p plan) delay(slot time.Time) time.Duration {
	if p.jitter <= 0 {
		return 0
	}
	limit := min(p.jitter, p.period(slot)/2)
	h := fnv.New64a()
	_, _ = h.Write([]byte(p.node + "\n" + slot.UTC().Format(time.RFC3339))) // it cannot fail
	return time.Duration(h.Sum64() % uint64(limit+1))
}

// NextTick is the first tick of the schedule after now, without its jitter, as the daemon answers it.
func NextTick(s cron.Schedule, now time.Time) time.Time { return plan{ticks: onWallClock(s)}.next(now) }

// DefaultFlush is the flush interval of an archive whose configuration is not known: that of a configuration that names none.
const DefaultFlush = 5 * time.Second

// ArchiveLate is how old a recovery point may be where the archive with this flush interval moves it all the time, on a quiet cluster
// once a minute: after the node that writes it has died, another one takes over within minutes.
func ArchiveLate(flush time.Duration) time.Duration { return 3*flush + 10*time.Minute }
