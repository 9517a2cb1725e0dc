// Package report gathers the evidence that backups were taken and restored: what an auditor asks for, and what an operator
// wants to have said before one does.
//
// It reads nothing by itself. Catalogues and drill records of all targets flow in, a Report flows out, as JSON, as text, or as one HTML
// page. A sentence of it rests on an object that somebody else can read and check: each drill names its signed record,
// with the hash of its bytes. What cannot be known from there is said in Limits, and is not left out.
package report

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/drd-project/drd/internal/proof"
	"github.com/drd-project/drd/internal/replicate"
	"github.com/drd-project/drd/internal/repo"
)

// Source is one target as it was read.
type Source struct {
	Target    proof.Target
	Catalogue *repo.Catalogue // nil: it could not be read
	// History is of the period, and of all the time that snapshots in the catalogue are there; nil: it could not be read.
	History *proof.History
	Err     error // why one of them is nil
}

// Config is what a report is made of.
type Config struct {
	Cluster      string
	Since, Until time.Time
	// Ticks are those of the schedule from a time on and before another; nil: the schedule is not known here.
	Ticks func(from, to time.Time) []time.Time
	// Pruned says that retention deletes snapshots older than Kept. A tick before that may have had one that nobody can see
	// any more.
	Pruned  bool
	Kept    time.Duration
	Sources []Source
	// Lost are the snapshots of this host that a target will never have.
	Lost  []replicate.Loss
	Build repo.Build
}

// Report is the evidence. Its JSON form is a contract: see docs/json.md. Times are in UTC.
type Report struct {
	Cluster string     `json:"cluster"`
	Since   time.Time  `json:"since"`
	Until   time.Time  `json:"until"` // when the report was made
	Drd     repo.Build `json:"drd"`

	Summary Summary  `json:"summary"`
	Targets []Target `json:"targets"`
	// Schedule is nil where the schedule is not known: a report made from --repo.
	Schedule *Schedule        `json:"schedule"`
	Drills   []Drill          `json:"drills"`  // newest first
	Records  []Record         `json:"records"` // what the drills stand in, newest first
	Lost     []replicate.Loss `json:"lost"`
	// Limits are what this report does not prove, in sentences.
	Limits []string `json:"limits"`
}

// Summary is the first thing to read.
type Summary struct {
	Drills Count `json:"drills"` // restores into a running etcd
	Data   Count `json:"data"`   // read back and compared, without an etcd
	// Archive are restores of archived revisions, into a running etcd; ArchiveData without one.
	Archive     Count `json:"archive"`
	ArchiveData Count `json:"archive_data"`
	// ArchivePassed is the end of the newest restore of an archived revision that passed in the period.
	ArchivePassed *time.Time `json:"archive_passed"`
	// RecoveryPoint is the newest instant that a target can restore now; nil: none can.
	RecoveryPoint *time.Time `json:"recovery_point"`
	// LongestInterval is the longest time without a restore point in the period, as far as points are known.
	LongestInterval *Interval `json:"longest_interval"`
	// RecoverySeconds are the measured times of the passed drills; nil: there was none.
	RecoverySeconds *Spread `json:"recovery_seconds"`
	// LastPassed is the end of the newest passed drill in the period.
	LastPassed *time.Time `json:"last_passed"`
}

// Count is how drills ended.
type Count struct {
	Passed       int `json:"passed"`
	Failed       int `json:"failed"`
	Inconclusive int `json:"inconclusive"`
}

// Interval is a time between two restore points.
type Interval struct {
	From    time.Time `json:"from"`
	To      time.Time `json:"to"`
	Seconds int64     `json:"seconds"`
}

// Spread sums up measured times in seconds.
type Spread struct {
	Newest float64 `json:"newest"`
	Median float64 `json:"median"`
	Max    float64 `json:"max"`
}

// Target is what is known of one target.
type Target struct {
	proof.Target
	// Problem is why something of it could not be read; "" when all was.
	Problem       string     `json:"problem,omitempty"`
	RecoveryPoint *time.Time `json:"recovery_point"`
	Restorable    int        `json:"restorable"` // snapshots that are there now
	// Proved are those of them whose newest word is a passed drill in the period; Unproven names the others.
	Proved   int      `json:"proved"`
	Unproven []string `json:"unproven"`
	// Failed names the snapshots in the target, restorable or not, on which the newest word is that they are broken, whenever
	// that was found.
	Failed []string `json:"failed"`
	// ArchiveFailed names the archived points of which the newest word of their kind is that they cannot be restored: "revision 500", or
	// a time where the revision was not found out.
	ArchiveFailed []string   `json:"archive_failed"`
	LastPassed    *time.Time `json:"last_passed"`
}

// Drill is one snapshot that was tried, and where that is written.
type Drill struct {
	Target string `json:"target"`
	Record string `json:"record"`
	Host   string `json:"host"`
	proof.Drill
}

// Record is one signed object to check.
type Record struct {
	ID     string `json:"id"`
	Target string `json:"target"`
	Key    string `json:"key"`
	// SHA256 is the hex digest of the object that was read.
	SHA256      string `json:"sha256"`
	Signer      string `json:"signer,omitempty"`
	Fingerprint string `json:"fingerprint,omitempty"`
	// Problem is why the record is not believed; its drills are then not counted.
	Problem string `json:"problem,omitempty"`
}

// Make sums up what cfg holds.
func Make(cfg Config) *Report {
	r := &Report{
		Cluster: cfg.Cluster, Since: cfg.Since.UTC(), Until: cfg.Until.UTC(), Drd: cfg.Build,
		Targets: []Target{}, Drills: []Drill{}, Records: []Record{}, Lost: []replicate.Loss{}, Limits: []string{},
	}
	var points []time.Time
	for _, s := range cfg.Sources {
		points = append(points, r.addSource(s)...)
	}
	slices.SortStableFunc(r.Drills, func(a, b Drill) int { return b.Started.Compare(a.Started) })
	slices.SortStableFunc(r.Records, func(a, b Record) int { return cmp.Compare(b.ID, a.ID) })
	for _, l := range cfg.Lost {
		if within(l.At, cfg.Since, cfg.Until) {
			r.Lost = append(r.Lost, l)
		}
	}
	points = normalize(points)
	r.sum(points)
	if cfg.Ticks != nil {
		r.Schedule = judgeTicks(cfg, points)
	}
	r.limit(cfg)
	return r
}

// addSource takes over one target and returns the restore points that it vouches for.
func (r *Report) addSource(s Source) []time.Time {
	t := Target{Target: s.Target, Unproven: []string{}, Failed: []string{}, ArchiveFailed: []string{}}
	err := s.Err
	if err == nil && s.History != nil {
		err = s.History.Unreadable()
	}
	if err != nil {
		t.Problem = repo.Printable(err.Error())
	}
	if s.History != nil {
		for _, f := range s.History.ArchiveFailed() {
			t.ArchiveFailed = append(t.ArchiveFailed, f.Archived.String())
		}
	}
	points := r.addRecords(s)
	if s.Catalogue != nil {
		for i := range s.Catalogue.Entries {
			e := &s.Catalogue.Entries[i]
			// What has no manifest is no backup, be it that somebody tried it.
			if s.History != nil && e.State != repo.StateIncomplete && s.History.OfEntry(e).State == proof.StateFailed {
				t.Failed = append(t.Failed, e.ID.String())
			}
			if !e.Restorable(false) {
				continue
			}
			points = append(points, e.Manifest.CaptureStart)
			t.add(e, s.History, r.Since)
		}
		if latest, err := s.Catalogue.Latest(r.Until, false); err == nil {
			t.RecoveryPoint = &latest.Manifest.CaptureStart
		}
	}
	for _, d := range r.Drills {
		if d.Target == s.Target.Name && d.Level == proof.LevelDrill && d.Outcome == proof.Passed {
			t.LastPassed = later(t.LastPassed, d.end())
		}
	}
	r.Targets = append(r.Targets, t)
	return points
}

func (t *Target) add(e *repo.Entry, h *proof.History, since time.Time) {
	t.Restorable++
	if h != nil {
		if standing := h.Of(e.ID.String(), e.Digest); standing.State == proof.StateProved && !standing.At.Before(since) {
			t.Proved++
			return
		}
	}
	t.Unproven = append(t.Unproven, e.ID.String())
}

// addRecords takes over the drills of the records that are believed, and returns the captures that they attest.
func (r *Report) addRecords(s Source) []time.Time {
	if s.History == nil {
		return nil
	}
	var points []time.Time
	for _, rec := range s.History.Records() {
		if !within(rec.Time(), r.Since, r.Until.Add(repo.FutureSkew)) { // the name of a record may be some seconds late
			continue
		}
		out := Record{
			ID: rec.ID, Target: s.Target.Name, Key: rec.Key, SHA256: rec.Digest,
			Signer: rec.Signer.Principal, Fingerprint: rec.Signer.Fingerprint,
		}
		if rec.Problem != nil {
			out.Problem = repo.Printable(rec.Problem.Error())
		}
		r.Records = append(r.Records, out)
		if rec.Problem != nil || rec.Record == nil {
			continue
		}
		for _, d := range rec.Record.Drills {
			r.Drills = append(r.Drills, Drill{Target: s.Target.Name, Record: rec.ID, Host: rec.Record.Host, Drill: d})
			if d.Outcome == proof.Passed {
				points = append(points, d.CapturedAt)
			}
		}
	}
	return points
}

// end is when the drill was over.
func (d *Drill) end() time.Time {
	return d.Started.Add(time.Duration(d.Seconds * float64(time.Second)))
}

func later(a *time.Time, b time.Time) *time.Time {
	if a == nil || b.After(*a) {
		return &b
	}
	return a
}

func within(t, since, until time.Time) bool { return !t.Before(since) && !t.After(until) }

// sum fills in the summary.
func (r *Report) sum(points []time.Time) {
	var seconds []float64 // of passed drills, newest first
	for _, d := range r.Drills {
		count := r.Summary.of(d.Level)
		switch d.Outcome {
		case proof.Passed:
			count.Passed++
		case proof.Failed:
			count.Failed++
		default:
			count.Inconclusive++
		}
		if d.Level == proof.LevelDrill && d.Outcome == proof.Passed {
			seconds = append(seconds, d.RecoverySeconds)
			r.Summary.LastPassed = later(r.Summary.LastPassed, d.end())
		}
		if d.Level == proof.LevelArchive && d.Outcome == proof.Passed {
			r.Summary.ArchivePassed = later(r.Summary.ArchivePassed, d.end())
		}
	}
	r.Summary.RecoverySeconds = spread(seconds)
	for _, t := range r.Targets {
		if t.RecoveryPoint != nil {
			r.Summary.RecoveryPoint = later(r.Summary.RecoveryPoint, *t.RecoveryPoint)
		}
	}
	r.Summary.LongestInterval = longest(points, r.Since, r.Until)
}

// of is the count that drills of a level belong to.
func (s *Summary) of(l proof.Level) *Count {
	switch l {
	case proof.LevelDrill:
		return &s.Drills
	case proof.LevelArchive:
		return &s.Archive
	case proof.LevelArchiveData:
		return &s.ArchiveData
	}
	return &s.Data
}

// spread is nil without a value. The first is the newest.
func spread(seconds []float64) *Spread {
	if len(seconds) == 0 {
		return nil
	}
	s := Spread{Newest: seconds[0]}
	sorted := slices.Sorted(slices.Values(seconds))
	s.Max = sorted[len(sorted)-1]
	s.Median = (sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2]) / 2
	return &s
}

// limit says what the report does not prove.
func (r *Report) limit(cfg Config) {
	say := func(format string, args ...any) { r.Limits = append(r.Limits, fmt.Sprintf(format, args...)) }
	say("A drill proves the snapshot that it names, on the target that it names, at that time, on the host that ran it. It does not prove a restore of other hosts, of the network, or of what lies outside etcd: certificates, tokens, the keys of an encryption provider.")
	say("A drill of the archive proves the revision that it names, made of the objects that its record names. Other revisions share most of them, and are not proved.")
	say("The recovery time is measured from the first request to the target until the restored etcd answered a linearizable read. Deciding to restore, installing the data and starting the control plane come on top.")
	if len(r.Archived()) > 0 {
		say("The recovery point and the intervals are those of snapshots. What the continuous archive restores between them and after the newest is not counted here: drd status tells it.")
	}
	for _, t := range r.Targets {
		if t.Problem != "" {
			say("Target %s could not be read whole: what it holds is missing here.", t.Name)
		}
	}
	for _, s := range cfg.Sources {
		if s.History != nil && s.History.Truncated() {
			say("Target %s holds more drill records than were read: the oldest are missing here.", s.Target.Name)
		}
	}
	if broken := slices.IndexFunc(r.Records, func(rec Record) bool { return rec.Problem != "" }); broken >= 0 {
		say("Records with a problem are listed and not counted.")
	}
	if cfg.Ticks == nil {
		say("The schedule is not known here, so missed ticks could not be counted: make the report on a node, with its configuration.")
	} else if r.Schedule.NoEvidence > 0 {
		say("A tick without evidence lies before the first restore point that is known, or before what retention keeps (%s): a snapshot that was pruned undrilled, or never taken, has left none.", kept(cfg))
	}
	if len(r.Lost) == 0 {
		say("Snapshots that a target will never have are known to the node that took them: this report counts those of this host only.")
	}
}

func kept(cfg Config) string {
	if !cfg.Pruned {
		return "everything"
	}
	return cfg.Kept.String()
}
