package config

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
)

// minEvery is the shortest @every; cron's five fields cannot ask for less either.
const minEvery = time.Minute

// ParseSchedule returns the ticks that spec asks for: five cron fields (minute, hour, day of
// month, month, day of week) read in loc, one of @hourly, @daily, @weekly, @monthly and @yearly, or
// "@every 6h". The ticks of @every are the multiples of its duration since the zero time in UTC,
// so that all nodes of a cluster agree on them; from one minute up. Read as it is, the schedule leaves
// out a tick in the hour that a daylight saving change skips and has one in a repeated hour twice; the daemon mends both
// (daemon.OnWallClock).
func ParseSchedule(spec string, loc *time.Location) (cron.Schedule, error) {
	if text, ok := strings.CutPrefix(spec, "@every "); ok {
		return parseEvery(text)
	}
	if strings.Contains(spec, "TZ=") { // the parser panics on some of these, and there is a key for it
		return nil, errors.New("a time zone is set by the key timezone, not in the schedule")
	}
	parsed, err := cron.ParseStandard(spec)
	if err != nil {
		return nil, fmt.Errorf("parse schedule: %w", err)
	}
	ticks, ok := parsed.(*cron.SpecSchedule)
	if !ok {
		return nil, errors.New("not five cron fields and not one of @hourly, @daily, @weekly, @monthly, @yearly")
	}
	ticks.Location = loc
	if ticks.Next(time.Date(2000, 1, 1, 0, 0, 0, 0, loc)).IsZero() {
		return nil, errors.New("no such day ever comes")
	}
	return ticks, nil
}

func parseEvery(text string) (cron.Schedule, error) {
	d, err := time.ParseDuration(strings.TrimSpace(text))
	if err != nil || d < minEvery || d%time.Second != 0 {
		return nil, fmt.Errorf("@every takes a duration in whole seconds, from %s up", formatDuration(minEvery, false))
	}
	return every(d), nil
}

type every time.Duration

// Next returns the first multiple of the duration after t, in the zone of t.
func (e every) Next(t time.Time) time.Time {
	return t.Truncate(time.Duration(e)).Add(time.Duration(e))
}

// Ticks returns the schedule of snapshots. It fails only for a Config that did not come out of
// Load or Parse.
func (s Snapshot) Ticks() (cron.Schedule, error) {
	loc, err := loadZone(s.Timezone)
	if err != nil {
		return nil, err
	}
	return ParseSchedule(s.Schedule, loc)
}

// DrillTicks returns the schedule of drills, or nil where there is none. It fails as Snapshot.Ticks does.
func (c *Config) DrillTicks() (cron.Schedule, error) {
	if c.Verify.Schedule == "" {
		return nil, nil
	}
	loc, err := loadZone(c.Snapshot.Timezone)
	if err != nil {
		return nil, err
	}
	return ParseSchedule(c.Verify.Schedule, loc)
}

// loadZone is time.LoadLocation without its special names: "Local" would make nodes with different
// settings disagree on the tick.
func loadZone(name string) (*time.Location, error) {
	if name == "" || name == "Local" {
		return nil, errors.New("must be a name such as Europe/Berlin or UTC")
	}
	loc, err := time.LoadLocation(name)
	if err != nil {
		return nil, fmt.Errorf("unknown time zone %q", name)
	}
	return loc, nil
}
