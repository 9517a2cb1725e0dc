//go:build bench

package bench

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// storage tells how many bytes the archive and snapshots every five minutes take.
func (w *windows) storage() {
	a := w.archive
	slices.Sort(a.rate)
	rate := a.rate[len(a.rate)/2]
	change := float64(a.payload+a.record) / float64(a.revisions)
	record := float64(a.record) / float64(a.segments)
	daily := change * rate * day.Seconds()
	snapshots := float64(w.least) * everyFive
	// A slow cluster has one segment for each flush interval, and as many bytes for each change.
	slow := day.Seconds() / flushInterval.Seconds() * record
	payload := float64(a.payload) / float64(a.revisions)

	fmt.Printf("\n| what is stored | | |\n|---|---|---|\n")
	row := func(what, how, format string, v float64) { fmt.Printf("| %s | %s | "+format+" |\n", what, how, v) }
	row("segments in the windows with drd", "measured", "%.0f", float64(a.segments))
	row("snapshots taken in the windows with drd", "measured", "%.0f", float64(a.snapshots))
	row("bytes for each change of 1 KiB, sealed, with its share of the commit record", "measured", "%.0f", change)
	row("bytes of a commit record", "measured", "%.0f", record)
	row(fmt.Sprintf("MB of a full snapshot of %d such keys, sealed, right after a compaction", archivedKeys), "measured", "%.1f", float64(w.compact)/1e6)
	row("MB of one right after compaction and defragmentation", "measured", "%.1f", float64(w.least)/1e6)
	row(fmt.Sprintf("GB an hour, archive at %.0f puts/s", rate), "computed", "%.2f", daily/24/1e9)
	row("GB an hour, twelve full snapshots of this smallest size", "computed", "%.2f", snapshots/24/1e9)
	row(fmt.Sprintf("GB a day, archive at %.0f puts/s", rate), "computed", "%.1f", daily/1e9)
	row("GB a day, archive at 50 puts/s", "computed", "%.2f", (slow+50*payload*day.Seconds())/1e9)
	row("GB a day, such a snapshot every five minutes", "computed", "%.1f", snapshots/1e9)
	row("puts/s at which both store as much", "computed", "%.0f", (snapshots-slow)/payload/day.Seconds())
}

func (w *windows) aims() {
	without, with := w.r.median("put p99 ms, without drd"), w.r.median("put p99 ms, with drd")
	fmt.Printf("\n| median | | aim | |\n|---|---|---|---|\n")
	atMost("archive lag p99, seconds", w.r.median("archive lag p99"), (flushInterval + time.Second).Seconds())
	atMost("CPU of drd, percent of a core", w.r.median("drd: CPU, percent of a core"), 15)
	atMost("anonymous MiB of drd", w.r.median("drd: anonymous MiB, all of its processes"), 128)
	atMost("put p99 with drd / without", with/without, 1.05)
}

func atMost(what string, v, aim float64) { told(what, v, "at most", aim, v <= aim) }

func atLeast(what string, v, aim float64) { told(what, v, "at least", aim, v >= aim) }

func told(what string, v float64, bound string, aim float64, met bool) {
	verdict := "met"
	if !met {
		verdict = "**missed**"
	}
	fmt.Printf("| %s | %.2f | %s %v | %s |\n", what, v, bound, aim, verdict)
}

// machine says what it is and how busy it is before anything begins.
func machine() string {
	loaded, _ := os.ReadFile("/proc/loadavg")
	info, _ := os.ReadFile("/proc/cpuinfo")
	model, cores := "unknown", 0
	for line := range strings.Lines(string(info)) {
		if name, value, _ := strings.Cut(line, ":"); strings.TrimSpace(name) == "model name" {
			model = strings.TrimSpace(value)
			cores++
		}
	}
	average := strings.Join(strings.Fields(string(loaded))[:3], ", ")
	return fmt.Sprintf("Cores: %d, %s. Load average when it began: %s.", cores, model, average)
}
