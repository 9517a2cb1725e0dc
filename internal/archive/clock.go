package archive

import (
	"fmt"
	"math"
	"time"
)

// jump is how much faster than the process's own clock a wall clock may go before it was set: between two looks, which are seconds
// apart, no slewing comes near it.
const jump = 10 * time.Second

// Clock makes times that never go back out of a wall clock that may. One writer has one, begun where the archive ended: the
// times of a timeline stay in order, and what was wrong with the clock is recorded. How long it may be held is the writer's to decide:
// see Behind.
type Clock struct {
	last    time.Time     // the newest time that was made
	behind  time.Duration // how far the wall clock was behind it when it was last read
	since   time.Duration // on the process's clock, since when it is behind
	wall    time.Time     // as it was last read; zero: it was not
	running time.Duration // likewise

	back, forth time.Duration // the most since the last Note
	jumped      bool
}

// NewClock holds the clock at last, the newest time that is in the archive, until the wall clock has passed it. Zero: nothing is.
func NewClock(last time.Time) *Clock { return &Clock{last: last} }

// At is the time to record when the wall clock shows now, in UTC. running is the time on a clock that nobody sets, such as that since
// the process began.
func (c *Clock) At(now time.Time, running time.Duration) time.Time {
	now = now.UTC().Round(0)
	if !c.wall.IsZero() {
		if ahead := now.Sub(c.wall) - (running - c.running); ahead >= jump {
			c.jumped, c.forth = true, max(c.forth, ahead)
		}
	}
	c.wall, c.running = now, running
	if !now.Before(c.last) {
		c.last, c.behind = now, 0
		return now
	}
	if c.behind == 0 {
		c.since = running
	}
	c.behind = c.last.Sub(now)
	c.back = max(c.back, c.behind)
	return c.last
}

// Behind is how far the wall clock is behind what is recorded already, and for how long it has been.
func (c *Clock) Behind() (by, lasting time.Duration) {
	if c.behind == 0 {
		return 0, 0
	}
	return c.behind, c.running - c.since
}

// Jumped reports, once, that the wall clock went forward at once since the last time it was asked: what was seen after that may have
// happened at any time in between.
func (c *Clock) Jumped() bool {
	jumped := c.jumped
	c.jumped = false
	return jumped
}

// Note says by how much the clock was held, or went forward at once, since the last Note, for the manifest of a segment; "" when
// there was neither.
func (c *Clock) Note() string {
	seconds := func(d time.Duration) int64 { return int64(math.Ceil(d.Seconds())) }
	back, forth := c.back, c.forth
	c.back, c.forth = 0, 0
	switch {
	case back > 0 && forth > 0:
		return fmt.Sprintf("the wall clock went forward by %d s at once, and was %d s behind times already recorded, which were held", seconds(forth), seconds(back))
	case back > 0:
		return fmt.Sprintf("the wall clock was %d s behind times already recorded, which were held", seconds(back))
	case forth > 0:
		return fmt.Sprintf("the wall clock went forward by %d s at once", seconds(forth))
	}
	return ""
}
