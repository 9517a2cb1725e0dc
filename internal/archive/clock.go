package archive

import (
	"fmt"
	"math"
	"time"
)

// Clock makes times that never go back out of a wall clock that may. One writer has one, begun where the archive ended: the
// times of a timeline stay in order, and what was wrong with the clock is recorded.
type Clock struct {
	last time.Time
	back time.Duration // how far behind the wall clock was at most
}

// NewClock holds the clock at last, the newest time that is in the archive, until the wall clock has passed it. Zero: nothing is.
func NewClock(last time.Time) *Clock { return &Clock{last: last} }

// At is the time to record when the wall clock shows now, in UTC.
func (c *Clock) At(now time.Time) time.Time {
	if now = now.UTC().Round(0); now.Before(c.last) {
		c.back = max(c.back, c.last.Sub(now))
		return c.last
	}
	c.last = now
	return now
}

// Note says by how much the clock was held since the last Note, for the manifest of a segment; "" when it was not.
func (c *Clock) Note() string {
	if c.back == 0 {
		return ""
	}
	seconds := int64(math.Ceil(c.back.Seconds()))
	c.back = 0
	return fmt.Sprintf("the wall clock was %d s behind times already recorded, which were held", seconds)
}
