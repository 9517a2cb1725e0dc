package daemon

import (
	"time"

	"github.com/robfig/cron/v3"
)

// allHours is the hour field of a schedule that has ticks in every hour.
const allHours = 1<<24 - 1

// onWallClock returns the ticks of s with the daylight saving rules that cron daemons have had since Vixie's.
// The parser's own schedules drop a tick whose local time is skipped, and repeat one whose local time is: a daily
// backup would be missing on one night of the year.
//
// A schedule for certain hours ("30 2 * * *", "0 */6 * * *") has a tick for each local time that it
// names: where the clock skips that time, at once when it has skipped it (one tick, however many were skipped);
// where the clock repeats it, the first time only. A schedule for every hour ("*/15 * * * *") goes on with the time that passes.
//
// A schedule that is not made of local times (@every) is returned as it is.
func onWallClock(s cron.Schedule) cron.Schedule {
	spec, ok := s.(*cron.SpecSchedule)
	if !ok {
		return s
	}
	return wallClock{spec: spec, hourly: spec.Hour&allHours == allHours}
}

type wallClock struct {
	spec   *cron.SpecSchedule
	hourly bool // it has ticks in every hour
}

// Next returns the first tick after t, in the zone of t, or the zero time when none comes within five years.
//
// It goes from one change of the zone's offset to the next: between two of them local time is a fixed distance from
// UTC, and the parser's schedule is right.
func (w wallClock) Next(t time.Time) time.Time {
	for from := t; ; {
		here := periodAt(from.Add(1), w.spec.Location) // the first instant that may be a tick
		if !w.hourly && from.Before(here.repeats) {
			from = here.repeats.Add(-1)
		}
		tick := w.within(here.offset, from)
		if tick.IsZero() || here.end.IsZero() || tick.Before(here.end) {
			return tick.In(t.Location())
		}
		if !w.hourly && tick.Before(here.end.Add(here.skipped)) {
			return here.end.In(t.Location())
		}
		from = here.end.Add(-1)
	}
}

// within is the next tick as if the zone had always had this offset.
func (w wallClock) within(offset int, t time.Time) time.Time {
	fixed := *w.spec
	fixed.Location = time.FixedZone("", offset)
	return fixed.Next(t)
}

// zonePeriod is the time between two changes of a zone's offset.
type zonePeriod struct {
	offset  int           // seconds east of UTC
	repeats time.Time     // until then local times are those of the period before, once more; its begin if none are
	end     time.Time     // zero: it never ends
	skipped time.Duration // by how much the local clock jumps ahead at end; 0 or less if it does not
}

func periodAt(t time.Time, loc *time.Location) zonePeriod {
	var p zonePeriod
	t = t.In(loc)
	_, p.offset = t.Zone()
	p.repeats, p.end = t.ZoneBounds()
	if !p.repeats.IsZero() {
		if _, before := p.repeats.Add(-1).Zone(); before > p.offset {
			p.repeats = p.repeats.Add(time.Duration(before-p.offset) * time.Second)
		}
	}
	if !p.end.IsZero() {
		_, after := p.end.Zone()
		p.skipped = time.Duration(after-p.offset) * time.Second
	}
	return p
}
