package config

import (
	"testing"
	"time"
	_ "time/tzdata" // the same zones on every machine

	"github.com/google/go-cmp/cmp"
)

func TestTicks(t *testing.T) {
	for _, tc := range []struct {
		name, spec, zone, from string
		want                   []string
	}{
		{"cron", "0 */6 * * *", "UTC", "2026-11-22T10:00:00Z", []string{"2026-11-22T12:00:00Z", "2026-11-22T18:00:00Z", "2026-11-23T00:00:00Z"}},
		{"a tick is not its own next", "0 */6 * * *", "UTC", "2026-11-22T12:00:00Z", []string{"2026-11-22T18:00:00Z"}},
		{"zone", "30 3 * * *", "Europe/Berlin", "2026-11-22T10:00:00Z", []string{"2026-11-23T02:30:00Z"}},
		{"name", "@daily", "America/New_York", "2026-11-22T10:00:00Z", []string{"2026-11-23T05:00:00Z"}},
		{"every, aligned", "@every 6h", "Europe/Berlin", "2026-11-22T10:11:12Z", []string{"2026-11-22T12:00:00Z", "2026-11-22T18:00:00Z"}},
		{"every, at a tick", "@every 90m", "UTC", "2026-11-22T12:00:00Z", []string{"2026-11-22T13:30:00Z"}},
		{"skipped hour", "30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", []string{"2026-03-30T00:30:00Z"}},
		{"repeated hour", "30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", []string{"2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z", "2026-10-26T01:30:00Z"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ticks, err := Snapshot{Schedule: tc.spec, Timezone: tc.zone}.Ticks()
			if err != nil {
				t.Fatal(err)
			}
			at, err := time.Parse(time.RFC3339, tc.from)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for range tc.want {
				at = ticks.Next(at)
				got = append(got, at.UTC().Format(time.RFC3339))
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestParseScheduleRefuses(t *testing.T) {
	for _, spec := range []string{
		"", " ", "* * * *", "* * * * * *", "61 * * * *", "TZ=UTC", "CRON_TZ=UTC * * * * *", "TZ=0",
		"@often", "@every", "@every 59s", "@every -1h", "@every 1m1ms", "0 0 31 2 *", "@reboot",
	} {
		if _, err := ParseSchedule(spec, time.UTC); err == nil {
			t.Errorf("%q was accepted", spec)
		}
	}
}
