package proof

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/drd-project/drd/internal/repo"
)

// The most of each that a record may hold. A record is read by whoever lists the repository, and may be what somebody
// planted there.
const (
	maxDrills   = 100
	maxChecks   = 100
	maxWarnings = 100
	maxCounted  = 1000 // resources, and encodings, of a census
	maxMissing  = 100
	// maxText bounds each text in bytes: a cause quotes an error, and the error a server.
	maxText = 1000
	// maxWrong bounds how many problems an error names.
	maxWrong = 8
)

// maxSeconds is the longest that anything in a record may have taken, ten years: so that it fits into a time.Duration.
const maxSeconds = 10 * 366 * 24 * 3600

// longestRun bounds the time from the begin of a run to its end, which is that of one drill: a week is far more than the largest
// database takes over the slowest line.
const longestRun = 7 * 24 * time.Hour

var sha256Pattern = regexp.MustCompile(`^[0-9a-f]{64}$`)

// Validate checks everything that holds for every record of this format. The error names what does not, up to a bound,
// on one line.
func (rec *Record) Validate() error {
	var w wrong
	w.identity(rec)
	w.unless(len(rec.Drills) >= 1 && len(rec.Drills) <= maxDrills, "drills: %d, 1 to %d are allowed", len(rec.Drills), maxDrills)
	for i := range rec.Drills[:min(len(rec.Drills), maxDrills)] {
		w.drill(fmt.Sprintf("drills[%d]", i), &rec.Drills[i])
	}
	if c := rec.Coverage; c != nil {
		_, err := time.ParseDuration(c.Period)
		w.unless(err == nil, "coverage.period: %.80q is not a duration", c.Period)
		w.unless(c.Restorable >= 0 && c.Drilled >= 0 && c.NoKey >= 0 && c.Drilled <= c.Restorable && c.NoKey <= c.Restorable, "coverage: the counts contradict each other")
	}
	if len(w) == 0 {
		return nil
	}
	if more := len(w) - maxWrong; more > 0 {
		w = append(w[:maxWrong], fmt.Sprintf("and %d more", more))
	}
	return fmt.Errorf("drill record: %s", strings.Join(w, "; "))
}

// wrong collects what is wrong.
type wrong []string

func (w *wrong) unless(ok bool, format string, args ...any) {
	if !ok {
		*w = append(*w, fmt.Sprintf(format, args...))
	}
}

func (w *wrong) texts(key string, values ...string) {
	for _, v := range values {
		w.unless(v == tidyText(v), "%s: %.80q is not one printable line of at most %d bytes", key, v, maxText)
	}
}

func (w *wrong) identity(rec *Record) {
	w.unless(rec.Kind == RecordKind, "kind: %.40q is not %s", rec.Kind, RecordKind)
	w.unless(rec.Format == RecordFormat, "format: %d is not %d", rec.Format, RecordFormat)
	if err := repo.ValidClusterName(rec.Cluster); err != nil {
		w.unless(false, "cluster: %v", err)
	}
	w.unless(slices.Contains([]string{TriggerSchedule, TriggerFresh, TriggerCommand}, rec.Trigger), "trigger: %.40q is not known", rec.Trigger)
	w.unless(rec.Target.Name != "" && rec.Target.Location != "", "target: name or location is empty")
	w.unless(rec.Drd.Version != "", "drd.version: empty")
	w.texts("host", rec.Host)
	w.texts("target", rec.Target.Name, rec.Target.Location)
	w.texts("drd", rec.Drd.Version, rec.Drd.FIPSModule)
	w.unless(isUTC(rec.Started) && isUTC(rec.Ended) && !rec.Started.IsZero(), "started and ended are not times in UTC")
	w.unless(!rec.Ended.Before(rec.Started), "ended is before started")
	at, host, err := repo.ParseDrillID(rec.ID)
	if err != nil {
		w.unless(false, "id: %v", err)
		return
	}
	w.unless(NewID(at, rec.Host) == NewID(at, host), "id: is not of host %.80q", rec.Host)
	// The time in the ID is what the signature is judged by, and Ended is when the record says that something is proved. If they
	// could differ, a key that has expired would go on proving.
	off := at.Sub(rec.Ended).Abs()
	w.unless(off <= maxApart, "id: its time is not that of the end of the run")
	w.unless(rec.Ended.Sub(rec.Started) <= longestRun, "started: more than %s before the end", longestRun)
}

func isUTC(t time.Time) bool {
	_, offset := t.Zone()
	return offset == 0
}

func (w *wrong) drill(key string, d *Drill) {
	if _, err := repo.ParseID(d.Snapshot); err != nil {
		w.unless(false, "%s.snapshot: %v", key, err)
	}
	w.unless(slices.Contains([]Level{LevelData, LevelDrill, LevelArchiveData, LevelArchive}, d.Level), "%s.level: %.40q is not known", key, d.Level)
	w.archived(key, d)
	w.unless(d.Outcome == Passed || d.Outcome == Failed || d.Outcome == Inconclusive, "%s.outcome: %.40q is not known", key, d.Outcome)
	w.unless((d.Outcome == Passed) == (d.Cause == ""), "%s: it has a cause and passed, or has none and did not", key)
	w.unless(sha256Pattern.MatchString(d.ManifestSHA256) || (d.ManifestSHA256 == "" && d.Outcome != Passed), "%s.manifest_sha256: %.80q is not valid", key, d.ManifestSHA256)
	w.unless(isUTC(d.Started) && isUTC(d.CapturedAt), "%s: times are not in UTC", key)
	w.unless(d.Revision >= 0 && d.ObjectBytes >= 0 && d.DBSize >= 0, "%s: a negative number", key)
	w.seconds(key, d.Seconds, d.RecoverySeconds)
	w.texts(key, d.Cause, d.OpenedWith, d.Etcd)
	w.unless(len(d.Checks) <= maxChecks && len(d.Warnings) <= maxWarnings, "%s: more than %d checks or %d warnings", key, maxChecks, maxWarnings)
	w.texts(key+".warnings", d.Warnings...)
	for i, c := range d.Checks {
		w.check(fmt.Sprintf("%s.checks[%d]", key, i), d, c)
	}
	if d.Kubernetes != nil {
		w.census(key+".kubernetes", d.Kubernetes)
	}
}

func (w *wrong) check(key string, d *Drill, c Check) {
	w.unless(c.Name != "", "%s.name: empty", key)
	w.unless(slices.Contains([]Outcome{Passed, Failed, Inconclusive, Skipped}, c.Outcome), "%s.outcome: %.40q is not known", key, c.Outcome)
	w.unless(d.Outcome != Passed || c.Outcome == Passed || c.Outcome == Skipped, "%s: %s in a drill that passed", key, c.Outcome)
	w.seconds(key, c.Seconds)
	w.texts(key, c.Name, c.Expected, c.Found, c.Detail)
}

func (w *wrong) seconds(key string, values ...float64) {
	for _, v := range values {
		w.unless(v >= 0 && v <= maxSeconds, "%s: %v seconds", key, v)
	}
}

func (w *wrong) census(key string, k *Kubernetes) {
	w.unless(len(k.Resources) <= maxCounted && len(k.Encodings) <= maxCounted, "%s: more than %d resources or encodings", key, maxCounted)
	w.unless(len(k.Missing) <= maxMissing, "%s.missing: more than %d", key, maxMissing)
	w.unless(k.Undecodable >= 0, "%s.undecodable: negative", key)
	for _, counts := range []map[string]int64{k.Resources, k.Encodings} {
		for _, name := range slices.Sorted(maps.Keys(counts)) {
			w.texts(key, name)
			w.unless(counts[name] >= 0, "%s: %.80q is counted negative", key, name)
		}
	}
	w.texts(key+".missing", k.Missing...)
}

// tidyText makes one printable line of at most maxText bytes.
func tidyText(s string) string { return repo.Shorten(repo.Printable(s), maxText) }

// clean makes what a run collected fit for a record: printable, in UTC, within the bounds.
func (rec *Record) clean() {
	for _, s := range []*string{&rec.Host, &rec.Trigger, &rec.Target.Name, &rec.Target.Location, &rec.Drd.Version, &rec.Drd.FIPSModule} {
		*s = tidyText(*s)
	}
	rec.Started, rec.Ended = rec.Started.UTC(), rec.Ended.UTC()
	if rec.Ended.Before(rec.Started) {
		rec.Ended = rec.Started
	}
	for i := range rec.Drills {
		rec.Drills[i].clean()
	}
}

func (d *Drill) clean() {
	for _, s := range []*string{&d.Cause, &d.OpenedWith, &d.Etcd} {
		*s = tidyText(*s)
	}
	if d.Outcome != Passed {
		d.Cause = cmp.Or(d.Cause, "unknown")
	}
	d.Started, d.CapturedAt = d.Started.UTC(), d.CapturedAt.UTC()
	d.Seconds, d.RecoverySeconds = cleanSeconds(d.Seconds), cleanSeconds(d.RecoverySeconds)
	if d.Checks == nil {
		d.Checks = []Check{} // a list in JSON, be it empty
	}
	for i := range d.Checks {
		c := &d.Checks[i]
		for _, s := range []*string{&c.Name, &c.Expected, &c.Found, &c.Detail} {
			*s = tidyText(*s)
		}
		c.Seconds = cleanSeconds(c.Seconds)
	}
	d.Warnings = d.Warnings[:min(len(d.Warnings), maxWarnings)]
	for i, s := range d.Warnings {
		d.Warnings[i] = tidyText(s)
	}
	d.Kubernetes.clean()
	d.Archived.clean()
}

// cleanSeconds rounds to the microsecond: more digits were not measured.
func cleanSeconds(s float64) float64 { return max(0, math.Round(s*1e6)/1e6) }

func (k *Kubernetes) clean() {
	if k == nil {
		return
	}
	k.Resources, k.Encodings = cleanCounts(k.Resources), cleanCounts(k.Encodings)
	k.Missing = k.Missing[:min(len(k.Missing), maxMissing)]
	for i, s := range k.Missing {
		k.Missing[i] = tidyText(s)
	}
}

// otherNames stands for the names beyond the bound of a census.
const otherNames = "(other)"

// cleanCounts makes names printable. Where there are more than fit, the last ones by name are counted together.
func cleanCounts(counts map[string]int64) map[string]int64 {
	tidy := make(map[string]int64, len(counts))
	for i, name := range slices.Sorted(maps.Keys(counts)) {
		to := tidyText(name)
		if i >= maxCounted-1 {
			to = otherNames
		}
		tidy[to] += counts[name]
	}
	return tidy
}
