package daemon

import (
	"fmt"
	"testing"
	"time"
	_ "time/tzdata" // the same zones on every machine

	"github.com/google/go-cmp/cmp"
	"github.com/robfig/cron/v3"

	"github.com/drd-project/drd/internal/config"
)

func zone(tb testing.TB, name string) *time.Location {
	tb.Helper()
	loc, err := time.LoadLocation(name)
	if err != nil {
		tb.Fatal(err)
	}
	return loc
}

func ticks(tb testing.TB, spec string, loc *time.Location) cron.Schedule {
	tb.Helper()
	s, err := config.ParseSchedule(spec, loc)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// list is the ticks after from and up to the end, as local time and offset.
func list(s cron.Schedule, from, end time.Time) []string {
	var out []string
	for t := s.Next(from); !t.IsZero() && !t.After(end) && len(out) < 1000; t = s.Next(t) {
		out = append(out, t.Format("Jan 2 15:04 -0700"))
	}
	return out
}

// The nights of 2026 on which the clock changes: in Berlin 29 March and 25 October, in New York 8 March and
// 1 November, on Lord Howe Island (by half an hour) 5 April and 4 October, in Santiago (at midnight) 5 April and 6 September.
func TestTicksWhenTheClockChanges(t *testing.T) {
	for _, c := range []struct {
		zone, spec, from string
		hours            int
		want             []string
	}{
		{"Europe/Berlin", "30 2 * * *", "2026-03-28 00:00", 71, []string{"Mar 28 02:30 +0100", "Mar 29 03:00 +0200", "Mar 30 02:30 +0200"}},
		{"Europe/Berlin", "*/15 2 * * *", "2026-03-29 00:00", 20, []string{"Mar 29 03:00 +0200"}},
		{"Europe/Berlin", "0 2,3 * * *", "2026-03-29 00:00", 20, []string{"Mar 29 03:00 +0200"}},
		{"Europe/Berlin", "0 */2 * * *", "2026-03-28 22:30", 6, []string{"Mar 29 00:00 +0100", "Mar 29 03:00 +0200", "Mar 29 04:00 +0200"}},
		{"Europe/Berlin", "30 * * * *", "2026-03-29 00:00", 4, []string{"Mar 29 00:30 +0100", "Mar 29 01:30 +0100", "Mar 29 03:30 +0200", "Mar 29 04:30 +0200"}},
		{"Europe/Berlin", "30 2 * * *", "2026-10-24 00:00", 71, []string{"Oct 24 02:30 +0200", "Oct 25 02:30 +0200", "Oct 26 02:30 +0100"}},
		{"Europe/Berlin", "0 */3 * * *", "2026-10-24 22:00", 10, []string{"Oct 25 00:00 +0200", "Oct 25 03:00 +0100", "Oct 25 06:00 +0100"}},
		{"Europe/Berlin", "0 * * * *", "2026-10-25 00:30", 4, []string{"Oct 25 01:00 +0200", "Oct 25 02:00 +0200", "Oct 25 02:00 +0100", "Oct 25 03:00 +0100"}},
		{"Europe/Berlin", "@daily", "2026-10-24 12:00", 37, []string{"Oct 25 00:00 +0200", "Oct 26 00:00 +0100"}},
		{"America/New_York", "0 2 * * *", "2026-03-07 00:00", 71, []string{"Mar 7 02:00 -0500", "Mar 8 03:00 -0400", "Mar 9 02:00 -0400"}},
		{"America/New_York", "15,45 1 * * *", "2026-11-01 00:00", 27, []string{"Nov 1 01:15 -0400", "Nov 1 01:45 -0400", "Nov 2 01:15 -0500", "Nov 2 01:45 -0500"}},
		{"Australia/Lord_Howe", "45 1 * * *", "2026-04-04 00:00", 71, []string{"Apr 4 01:45 +1100", "Apr 5 01:45 +1100", "Apr 6 01:45 +1030"}},
		{"Australia/Lord_Howe", "15 2 * * *", "2026-10-03 00:00", 71, []string{"Oct 3 02:15 +1030", "Oct 4 02:30 +1100", "Oct 5 02:15 +1100"}},
		{"America/Santiago", "0 0 * * *", "2026-09-04 12:00", 71, []string{"Sep 5 00:00 -0400", "Sep 6 01:00 -0300", "Sep 7 00:00 -0300"}},
		{"America/Santiago", "0 0 * * 1", "2026-09-01 12:00", 200, []string{"Sep 7 00:00 -0300"}},
		{"UTC", "0 */6 * * *", "2026-03-29 00:00", 24, []string{"Mar 29 06:00 +0000", "Mar 29 12:00 +0000", "Mar 29 18:00 +0000", "Mar 30 00:00 +0000"}},
		{"Europe/Berlin", "@every 12h", "2026-03-28 12:00", 37, []string{"Mar 28 13:00 +0100", "Mar 29 01:00 +0100", "Mar 29 14:00 +0200", "Mar 30 02:00 +0200"}},
	} {
		t.Run(c.zone+" "+c.spec+" "+c.from, func(t *testing.T) {
			loc := zone(t, c.zone)
			from, err := time.ParseInLocation("2006-01-02 15:04", c.from, loc)
			if err != nil {
				t.Fatal(err)
			}
			got := list(onWallClock(ticks(t, c.spec, loc)), from, from.Add(time.Duration(c.hours)*time.Hour))
			if d := cmp.Diff(c.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

// TestParserDropsAndRepeats pins why onWallClock is there.
func TestParserDropsAndRepeats(t *testing.T) {
	loc := zone(t, "Europe/Berlin")
	s := ticks(t, "30 2 * * *", loc)
	got := list(s, time.Date(2026, 3, 28, 12, 0, 0, 0, loc), time.Date(2026, 3, 30, 12, 0, 0, 0, loc))
	if d := cmp.Diff([]string{"Mar 30 02:30 +0200"}, got); d != "" {
		t.Errorf("skipped local time: %s", d)
	}
	got = list(s, time.Date(2026, 10, 24, 12, 0, 0, 0, loc), time.Date(2026, 10, 25, 12, 0, 0, 0, loc))
	if d := cmp.Diff([]string{"Oct 25 02:30 +0200", "Oct 25 02:30 +0100"}, got); d != "" {
		t.Errorf("repeated local time: %s", d)
	}
}

// TestTicksAgreeWithEveryMinute compares whole years with a scan that asks of each minute whether it is a tick.
func TestTicksAgreeWithEveryMinute(t *testing.T) {
	for _, name := range []string{"Europe/Berlin", "Australia/Lord_Howe", "America/Santiago", "Africa/Casablanca"} {
		for _, spec := range []string{"30 2 * * *", "*/20 1-3 * * *", "5 * * * *", "0 0 * * 0"} {
			t.Run(name+" "+spec, func(t *testing.T) {
				loc := zone(t, name)
				from := time.Date(2026, 1, 1, 0, 0, 0, 0, loc)
				to := from.AddDate(1, 0, 0)
				want := scan(ticks(t, spec, time.UTC).(*cron.SpecSchedule), loc, from, to)
				var got []time.Time
				s := onWallClock(ticks(t, spec, loc))
				for next := s.Next(from); next.Before(to); next = s.Next(next) {
					got = append(got, next)
				}
				if d := cmp.Diff(want, got); d != "" {
					t.Error(d)
				}
			})
		}
	}
}

// scan is the rule in other words: a minute is a tick when its local time is named and, unless every hour has
// ticks, was not there before; the first minute after a jump of the clock is one as well when the jump went over a named one.
func scan(spec *cron.SpecSchedule, loc *time.Location, from, to time.Time) []time.Time {
	named := func(wall time.Time) bool { // no spec here names a day of the month
		return (spec.Minute>>wall.Minute())&(spec.Hour>>wall.Hour())&(spec.Dow>>wall.Weekday())&1 == 1
	}
	hourly := spec.Hour&(1<<24-1) == 1<<24-1
	seen := make(map[time.Time]bool)
	var found []time.Time
	expected := wallOf(from)
	for t := from; t.Before(to); t = t.Add(time.Minute) {
		wall := wallOf(t.In(loc))
		tick := named(wall) && (hourly || !seen[wall])
		for ; !hourly && expected.Before(wall); expected = expected.Add(time.Minute) {
			tick = tick || named(expected)
		}
		if tick && t.After(from) {
			found = append(found, t)
		}
		if tick {
			seen[wall] = true
		}
		expected = wall.Add(time.Minute)
	}
	return found
}

// wallOf is what the clock on the wall shows, as if that were UTC.
func wallOf(t time.Time) time.Time {
	return time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), 0, 0, time.UTC)
}

// TestTicksNeedNoHistory: the tick after a time is the same whichever ticks were asked for before, and in its zone.
func TestTicksNeedNoHistory(t *testing.T) {
	loc := zone(t, "Europe/Berlin")
	s := onWallClock(ticks(t, "30 2 * * *", loc))
	for _, c := range []struct{ after, want string }{
		{"2026-03-29T00:59:59Z", "2026-03-29T01:00:00Z"}, // the instant of the jump
		{"2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"},
		{"2026-10-25T00:29:59.999999999Z", "2026-10-25T00:30:00Z"},
		{"2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"},
		{"2026-10-25T01:10:00Z", "2026-10-26T01:30:00Z"}, // between the two 02:30
	} {
		after, err := time.Parse(time.RFC3339Nano, c.after)
		if err != nil {
			t.Fatal(err)
		}
		if got := s.Next(after).Format(time.RFC3339); got != c.want {
			t.Errorf("after %s: %s, want %s", c.after, got, c.want)
		}
	}
	if got := s.Next(time.Now()).Location(); got != time.Local {
		t.Errorf("zone %s", got)
	}
}

func TestScheduleThatNeverComes(t *testing.T) {
	never, err := cron.ParseStandard("0 0 30 2 *")
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 1, 1, 0, 0, 30, 0, time.UTC)
	p := plan{ticks: onWallClock(never), jitter: time.Minute}
	if slot, at := p.due(now, time.Time{}); !at.Equal(now) || !slot.Equal(now) {
		t.Errorf("first: slot %s at %s", slot, at)
	}
	if _, at := p.due(now, now); at.Before(now.AddDate(4, 0, 0)) {
		t.Errorf("then at %s", at)
	}
}

func FuzzTicks(f *testing.F) {
	f.Add(int64(1774746000), "30 2 * * *")
	f.Add(int64(1792890000), "*/7 * * * 1")
	loc := zone(f, "Europe/Berlin")
	f.Fuzz(func(t *testing.T, unix int64, spec string) {
		s, err := config.ParseSchedule(spec, loc)
		if err != nil || unix < 0 || unix > 4e9 {
			return
		}
		from := time.Unix(unix, 0)
		if next := onWallClock(s).Next(from); !next.IsZero() && !next.After(from) {
			t.Error(fmt.Sprint(next, " is not after ", from))
		}
	})
}
