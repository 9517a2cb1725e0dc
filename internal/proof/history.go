package proof

import (
	"iter"
	"slices"
	"time"

	"github.com/drd-project/drd/internal/repo"
)

// What is known of a snapshot in one target, in the order of how much it is worth. They stand in JSON output.
const (
	StateUnproven   = "unproven"    // nobody tried, or nobody could find out
	StateDataProved = "data-proved" // its object was read back, decrypted and checked; no etcd was started on it
	StateProved     = "proved"      // it was restored, and etcd served it
	StateFailed     = "failed"      // the newest word on it is that it cannot be restored, or is not what it should be
)

// Standing is the newest conclusive word on a snapshot.
type Standing struct {
	State  string    // StateUnproven, StateDataProved, StateProved or StateFailed
	At     time.Time // when that was found out; zero for StateUnproven
	Record string    // ID of the record that says so
	Level  Level     // of the drill that found it out
	Cause  string    // of StateFailed
}

// History is what all records of a target say. It never changes. The zero value is one without records.
type History struct {
	records   []*SignedRecord
	truncated bool
	standings map[subject]Standing
	// drilled says when a subject was last tried by a drill of LevelDrill that passed, or failed at any level.
	drilled map[subject]time.Time
	// archived is the newest conclusive word on archived revisions, by kind.
	archived map[string]ArchiveStanding
}

// subject is what was tried: a snapshot as one manifest describes it. Another manifest under the same ID is another thing.
type subject struct{ snapshot, digest string }

func newHistory(records []*SignedRecord, truncated bool) *History {
	sortRecords(records)
	h := &History{records: records, truncated: truncated, standings: make(map[subject]Standing), drilled: make(map[subject]time.Time), archived: make(map[string]ArchiveStanding)}
	for rec, d := range h.drills() {
		h.add(rec, d)
	}
	return h
}

// drills yields each drill that counts, oldest first.
func (h *History) drills() iter.Seq2[*Record, *Drill] {
	return func(yield func(*Record, *Drill) bool) {
		for _, s := range h.records {
			if s.State != repo.StateOK {
				continue
			}
			for i := range s.Record.Drills {
				if !yield(s.Record, &s.Record.Drills[i]) {
					return
				}
			}
		}
	}
}

// add lets one drill have its word. Records come in the order of their IDs, whose time is the one that the signature was
// judged by.
func (h *History) add(rec *Record, d *Drill) {
	if d.Outcome == Inconclusive {
		return
	}
	if d.Level.Archive() {
		h.addArchived(rec, d)
		return
	}
	what, at := subject{d.Snapshot, d.ManifestSHA256}, d.end(rec)
	if d.Outcome == Failed || d.Level == LevelDrill {
		h.drilled[what] = at
	}
	next := Standing{State: StateFailed, At: at, Record: rec.ID, Level: d.Level, Cause: d.Cause}
	if d.Outcome == Passed {
		next.State = StateProved
		if d.Level == LevelData {
			next.State = StateDataProved
		}
	}
	h.settle(what, next)
}

// settle takes over a newer word, unless the one before is worth more. What only a restore can tell is not taken back without one: good
// data takes nothing from a restore that worked, and heals none that did not.
func (h *History) settle(what subject, next Standing) {
	before := h.standings[what]
	if next.Level == LevelData && before.Level == LevelDrill && (next.State != StateFailed || before.State == StateFailed) {
		return
	}
	h.standings[what] = next
}

// end is when the drill was over, within the time of its run.
func (d *Drill) end(rec *Record) time.Time {
	end := d.Started.Add(time.Duration(d.Seconds * float64(time.Second)))
	switch {
	case end.Before(rec.Started):
		return rec.Started
	case end.After(rec.Ended):
		return rec.Ended
	}
	return end
}

// Of is the newest conclusive word on the snapshot of this ID whose manifest has this hex SHA-256; "" stands for whatever
// is there in place of a manifest that can be believed.
func (h *History) Of(snapshot, manifestSHA256 string) Standing {
	if s, ok := h.standings[subject{snapshot, manifestSHA256}]; ok {
		return s
	}
	return Standing{State: StateUnproven}
}

// OfEntry is the newest conclusive word on an entry of a catalogue that was read with the same trust.
func (h *History) OfEntry(e *repo.Entry) Standing {
	what := subjectOf(e)
	return h.Of(what.snapshot, what.digest)
}

func subjectOf(e *repo.Entry) subject {
	if e.Manifest == nil {
		return subject{e.ID.String(), ""}
	}
	return subject{e.ID.String(), e.Digest}
}

// Proved are the snapshots that a drill restored and that did not fail since, by ID, and when that was.
func (h *History) Proved() map[string]time.Time {
	proved := make(map[string]time.Time)
	for what, s := range h.standings {
		if s.State == StateProved && s.At.After(proved[what.snapshot]) {
			proved[what.snapshot] = s.At
		}
	}
	return proved
}

// LastPassed is when a drill of this target last passed; ok is false when none ever did, as far as records were read.
func (h *History) LastPassed() (at time.Time, ok bool) {
	for rec, d := range h.drills() {
		if d.Level == LevelDrill && d.Outcome == Passed {
			at, ok = d.end(rec), true
		}
	}
	return at, ok
}

// runGap is the longest time between two records of one run: what was found is stored in it, which takes a minute at most.
const runGap = 2 * time.Minute

// LastRun are the records, newest first, of the newest run with one that counts says yes to. A run leaves a record for each
// drill: those belong together that one host wrote for one reason, each right after the other. nil: there is no such run.
func (h *History) LastRun(counts func(*Record) bool) []*Record {
	var run []*Record
	for _, s := range slices.Backward(h.records) {
		switch {
		case s.State != repo.StateOK:
		case len(run) == 0:
			if counts(s.Record) {
				run = append(run, s.Record)
			}
		case sameRun(s.Record, run[len(run)-1]):
			run = append(run, s.Record)
		}
	}
	return run
}

func sameRun(a, next *Record) bool {
	return a.Host == next.Host && a.Trigger == next.Trigger && next.Started.Sub(a.Ended) <= runGap
}

// Telling says whether a record tells how its target stands: drills with an etcd do, and data proofs that failed. That fresh
// snapshots can be read must not hide that an older one cannot be restored.
func (rec *Record) Telling() bool {
	return slices.ContainsFunc(rec.Drills, func(d Drill) bool { return d.Level.Boots() || d.Outcome == Failed })
}

// Records are all records that were read, oldest first, the ones that do not count too.
func (h *History) Records() []*SignedRecord { return slices.Clone(h.records) }

// Truncated reports whether there are older records, within what was asked for, that were not read.
func (h *History) Truncated() bool { return h.truncated }

// Unreadable is the problem of the newest record that the store did not hand out; nil: it handed out all that it listed.
func (h *History) Unreadable() error {
	for _, s := range slices.Backward(h.records) {
		if s.State == repo.StateUnreadable {
			return s.Problem
		}
	}
	return nil
}
