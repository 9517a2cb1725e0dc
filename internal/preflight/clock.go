package preflight

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/drd-project/drd/internal/hint"
)

// maxSkew is how far two clocks may be apart. Snapshots are named by time, nodes take turns by it, and the days of Object Lock
// are counted from it; S3 refuses requests that are 15 minutes off. The alert DrdClockSkew goes by the same number.
const maxSkew = time.Minute

// checkClock asks the kernel whether something keeps its clock right.
func checkClock() Check {
	var tx unix.Timex
	state, err := unix.Adjtimex(&tx)
	if err != nil {
		return warn("clock", fmt.Errorf("ask the kernel: %w", err))
	}
	if state == unix.TIME_ERROR || tx.Status&unix.STA_UNSYNC != 0 {
		return warn("clock", hint.New(fmt.Errorf("it is %s, and nothing keeps the clock synchronized", time.Now().UTC().Format(time.RFC3339)), "run chronyd or systemd-timesyncd"))
	}
	return ok("clock", "synchronized, %s", time.Now().UTC().Format(time.RFC3339))
}

// compareClocks is about the clock of another machine, which this one is ahead of. Its time came in whole seconds.
func compareClocks(name, whose string, ahead time.Duration) Check {
	off := ahead.Abs().Round(time.Second)
	if off <= maxSkew {
		return ok(name, "within %s of that of %s", max(off, time.Second), whose)
	}
	direction := "ahead of"
	if ahead < 0 {
		direction = "behind"
	}
	return warn(name, hint.New(fmt.Errorf("this machine's clock is %s %s that of %s", off, direction, whose), "set the one that is wrong: `timedatectl status`, `chronyc tracking`"))
}
