// Package metrics holds every metric of drd: its name, its help text and how it is set.
//
// A metric is what an alert believes at night, so each of them follows three rules. It says what was read
// back from the repository, not what was sent there. A value that was never known is absent: 0 would be
// a lie, or an alarm. And a value that cannot be refreshed keeps standing still, so that the age of a timestamp
// grows; the counter of errors says why.
//
// The package knows numbers only. What they are computed from is decided in package daemon, and
// docs/metrics.md tells it to operators.
package metrics

import (
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Build is the program that runs.
type Build struct {
	Version    string
	GoVersion  string
	FIPSModule string // "" when no FIPS 140 module is in use
}

// Stage is where an error happened. There are no others: error text is never a label.
type Stage string

// The stages of drd_errors_total.
const (
	StageSnapshot    Stage = "snapshot"    // no snapshot got into the spool, whatever the reason
	StageReplication Stage = "replication" // an attempt to bring a snapshot to a target failed
	StageCatalogue   Stage = "catalogue"   // one target could not be read, or not all of it
	StageEtcd        Stage = "etcd"        // the protected member did not tell its revision
	StageVerify      Stage = "verify"      // a run of drills failed, or could not find out, in one target
	StagePrune       Stage = "prune"       // one target should have been pruned and was not, or not of everything
	StageMerge       Stage = "merge"       // the archive in one target was not merged, or not all of it
	StageTextfile    Stage = "textfile"    // the metrics could not be written to a file
	StageHeartbeat   Stage = "heartbeat"   // nobody heard the heartbeat
	StageState       Stage = "state"       // the schedule's state could not be read or saved
)

func stages() []Stage {
	return []Stage{StageSnapshot, StageReplication, StageCatalogue, StageEtcd, StageVerify, StagePrune, StageMerge, StageTextfile, StageHeartbeat, StageState}
}

// Kind sorts what lies in a target.
type Kind string

// The kinds of drd_repo_objects and drd_repo_bytes.
const (
	KindSnapshot   Kind = "snapshot"   // whole, with a good signature that is trusted
	KindUnusable   Kind = "unusable"   // with a manifest, but not to be restored as it is
	KindIncomplete Kind = "incomplete" // without a manifest: an upload in progress, or litter
	KindForeign    Kind = "foreign"    // keys below snapshots/ that are not drd's
)

// Amount is how much of one kind there is.
type Amount struct {
	Objects int
	Bytes   int64 // of payloads as listed; negative: not known
}

// Target is what one look at a target found.
type Target struct {
	// RecoveryPoint is the newest instant that can be restored from it, Replicated when its newest snapshot was
	// committed. Zero: there is no snapshot to restore, which is known and not merely unknown.
	RecoveryPoint, Replicated time.Time
	Amounts                   map[Kind]Amount
}

// Result is what the newest drills of a target came to.
type Result string

// The results of drd_verify_last_result.
const (
	ResultPassed       Result = "passed"
	ResultFailed       Result = "failed"       // a backup cannot be restored, or is not what it says
	ResultInconclusive Result = "inconclusive" // that could not be found out
)

func results() []Result { return []Result{ResultPassed, ResultFailed, ResultInconclusive} }

// Proof is what the drill records in one target say.
type Proof struct {
	LastPassed time.Time // the newest drill that passed; zero: none did, as far as records go back
	Since      time.Time // where none did, when the target first had a snapshot to drill; zero: it has none
	Result     Result    // of the newest drills, or ResultFailed while Failed is not 0; "": nothing was tried
	Failed     int       // restorable snapshots on which the newest word is that they are broken
	Uncovered  int       // restorable snapshots that no drill of the period proved
}

// Recovery is what the newest drill that passed took.
type Recovery struct {
	Whole time.Duration // all of it, the wiping included
	Etcd  time.Duration // from the first request until the restored etcd answered
}

// Snapshot is the newest snapshot of the cluster in any target. The zero value says that there is none.
type Snapshot struct {
	End        time.Time // of the capture
	Revision   int64
	DBSize     int64 // bytes
	ObjectSize int64 // bytes
}

// Metrics is the registry with all metrics in it. It is safe for concurrent use.
//
// The gauges without labels are vectors all the same: a vector has no series until it is first set.
type Metrics struct {
	registry    *prometheus.Registry
	definitions []Definition

	lastSuccess, revision, etcdRevision, diverged *prometheus.GaugeVec
	interval, next                                *prometheus.GaugeVec
	size                                          *prometheus.GaugeVec // kind
	recoveryPoint, replicated                     *prometheus.GaugeVec // target
	up, skew                                      *prometheus.GaugeVec // target
	objects, bytes                                *prometheus.GaugeVec // target, kind
	drilling, recovery, drillInterval, drillNext  *prometheus.GaugeVec
	proved, unproved, uncovered, broken           *prometheus.GaugeVec   // target
	result                                        *prometheus.GaugeVec   // target, result
	queued, queuedOldest                          *prometheus.GaugeVec   // target
	lost                                          *prometheus.CounterVec // target
	archived, archiveLag                          *prometheus.GaugeVec   // target
	flushInterval                                 *prometheus.GaugeVec
	gaps                                          *prometheus.CounterVec
	pruned, pruneFailed                           *prometheus.GaugeVec // target
	duration                                      prometheus.Histogram
	errors                                        *prometheus.CounterVec // stage
	free, total                                   *prometheus.GaugeVec   // directory
	certFrom, certUntil, credUntil                *prometheus.GaugeVec   // use, target
	reloaded, reloadedAt, textfile                *prometheus.GaugeVec
	build                                         *prometheus.GaugeVec // version, go_version, fips_module

	mu     sync.Mutex
	points map[string]points // by target
}

// points are the newest instants that can be restored from a target, by what restores to them.
type points struct {
	snapshot time.Time
	archive  time.Time // as it was brought there
	since    time.Time // that needs a snapshot of this time or later
	window   time.Time // how far it was found to lead on from the snapshot when it was last read
	reaches  bool      // which was as far as it had been brought by then
}

// New returns a registry of its own, with every stage of drd_errors_total at 0.
func New(build Build) *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry(), points: make(map[string]points)}
	m.defineAll()
	for _, s := range stages() {
		m.errors.WithLabelValues(string(s))
	}
	m.build.WithLabelValues(build.Version, build.GoVersion, build.FIPSModule).Set(1)
	return m
}

// CountOn takes over the counters of before, where a daemon goes on with another configuration: they count from the start of the process.
// It must come before anything is counted. Lost snapshots are counted from a record on disk and begin with that.
func (m *Metrics) CountOn(before *Metrics) {
	for _, c := range []prometheus.Collector{m.errors, m.gaps, m.duration} {
		m.registry.Unregister(c)
	}
	m.errors, m.gaps, m.duration = before.errors, before.gaps, before.duration
	m.registry.MustRegister(m.errors, m.gaps, m.duration)
}

// Gatherer is the registry, to read from.
func (m *Metrics) Gatherer() prometheus.Gatherer { return m.registry }

// Handler answers scrapes. What it cannot collect is logged.
func (m *Metrics) Handler(log *slog.Logger) http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		ErrorLog:      slog.NewLogLogger(log.Handler(), slog.LevelError),
		ErrorHandling: promhttp.ContinueOnError, // one broken collector must not hide the others
	})
}

// Error counts an error.
func (m *Metrics) Error(s Stage) { m.errors.WithLabelValues(string(s)).Inc() }

// SnapshotTook observes the duration of a snapshot that got into the spool.
func (m *Metrics) SnapshotTook(d time.Duration) { m.duration.Observe(d.Seconds()) }

// SetNewest tells the cluster's newest snapshot. It must not be called before a target could be read.
func (m *Metrics) SetNewest(s Snapshot) {
	m.lastSuccess.WithLabelValues().Set(timestamp(s.End))
	if s.End.IsZero() {
		m.revision.Reset()
		m.size.Reset()
		return
	}
	m.revision.WithLabelValues().Set(float64(s.Revision))
	m.size.WithLabelValues("db").Set(float64(s.DBSize))
	m.size.WithLabelValues("object").Set(float64(s.ObjectSize))
}

// SetTarget tells what the target of this name was found to hold.
func (m *Metrics) SetTarget(name string, t Target) {
	m.setPoint(name, func(p *points) { p.snapshot = t.RecoveryPoint })
	m.replicated.WithLabelValues(name).Set(timestamp(t.Replicated))
	for kind, a := range t.Amounts {
		m.objects.WithLabelValues(name, string(kind)).Set(float64(a.Objects))
		if a.Bytes >= 0 {
			m.bytes.WithLabelValues(name, string(kind)).Set(float64(a.Bytes))
		}
	}
}

// setPoint changes one of the points of a target and tells the newest. The archive restores nothing without a snapshot. What was brought
// there counts as long as the target was seen to hold it all: a segment that somebody deletes there is a hole that no queue knows of.
func (m *Metrics) setPoint(target string, change func(*points)) points {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.points[target]
	change(&p)
	m.points[target] = p
	newest := p.snapshot
	for _, at := range []time.Time{p.window, p.brought()} {
		if !p.snapshot.IsZero() && at.After(newest) {
			newest = at
		}
	}
	m.recoveryPoint.WithLabelValues(target).Set(timestamp(newest))
	return p
}

// brought is the end of what was brought there, if it counts; else zero.
func (p points) brought() time.Time {
	if p.snapshot.IsZero() || p.snapshot.Before(p.since) || !p.reaches {
		return time.Time{}
	}
	return p.archive
}

// SetArchive tells up to which revision and instant the target of this name has the archive, and the time now. An instant that is still to
// come is as far off as one of the past: a clock was wrong.
func (m *Metrics) SetArchive(target string, revision int64, at, now time.Time) {
	m.archived.WithLabelValues(target).Set(float64(revision))
	m.archiveLag.WithLabelValues(target).Set(now.Sub(at).Abs().Seconds())
}

// SetArchivePoint tells up to which instant the archive was brought to the target of this name. It counts once that has a snapshot whose
// point of recovery is since or later, and while SetWindow says so: it returns the instant then, else the zero time.
func (m *Metrics) SetArchivePoint(target string, at, since time.Time) time.Time {
	return m.setPoint(target, func(p *points) { p.archive, p.since = at, since }).brought()
}

// SetWindow tells up to which instant the archive in the target of this name was found to lead on from the newest snapshot; zero: from
// none. reaches says that this was as far as it had been brought when the reading began.
func (m *Metrics) SetWindow(target string, at time.Time, reaches bool) {
	m.setPoint(target, func(p *points) { p.window, p.reaches = at, reaches })
}

// ArchiveGap counts a gap in the archive.
func (m *Metrics) ArchiveGap() { m.gaps.WithLabelValues().Inc() }

// Pruned tells that retention was applied to the target of this name, and nothing that had to go was left, but for what the
// store keeps locked.
func (m *Metrics) Pruned(target string, at time.Time) {
	m.pruned.WithLabelValues(target).Set(timestamp(at))
	m.pruneFailed.WithLabelValues(target).Set(0)
}

// SetProof tells what the drill records in the target of this name say.
func (m *Metrics) SetProof(target string, p Proof) {
	m.proved.WithLabelValues(target).Set(timestamp(p.LastPassed))
	if p.Since.IsZero() {
		m.unproved.DeleteLabelValues(target)
	} else {
		m.unproved.WithLabelValues(target).Set(timestamp(p.Since))
	}
	m.uncovered.WithLabelValues(target).Set(float64(p.Uncovered))
	m.broken.WithLabelValues(target).Set(float64(p.Failed))
	if p.Result == "" {
		m.result.DeletePartialMatch(prometheus.Labels{"target": target})
		return
	}
	for _, r := range results() {
		value := 0.0
		if r == p.Result {
			value = 1
		}
		m.result.WithLabelValues(target, string(r)).Set(value)
	}
}

// SetRecovery tells what the newest drill that passed took, in any target. The zero value says that none is known: the
// snapshots that were drilled, or the records, are gone.
func (m *Metrics) SetRecovery(r Recovery) {
	if r == (Recovery{}) {
		m.drilling.Reset()
		m.recovery.Reset()
		return
	}
	m.drilling.WithLabelValues().Set(r.Whole.Seconds())
	m.recovery.WithLabelValues().Set(r.Etcd.Seconds())
}

// SetQueue tells how many snapshots wait for a target, and when the capture of the oldest began; zero: none waits.
func (m *Metrics) SetQueue(target string, objects int, oldest time.Time) {
	m.queued.WithLabelValues(target).Set(float64(objects))
	if oldest.IsZero() {
		m.queuedOldest.DeleteLabelValues(target)
		return
	}
	m.queuedOldest.WithLabelValues(target).Set(timestamp(oldest))
}

// AddLost counts snapshots that a target will never have. With 0 the series begins.
func (m *Metrics) AddLost(target string, snapshots int) {
	m.lost.WithLabelValues(target).Add(float64(snapshots))
}

// SetEtcdRevision tells the revision the protected member reported.
func (m *Metrics) SetEtcdRevision(revision int64) {
	m.etcdRevision.WithLabelValues().Set(float64(revision))
}

// SetDiverged tells how many members differed in the newest comparison. 0 is good news and must have been found out.
func (m *Metrics) SetDiverged(members int) { m.diverged.WithLabelValues().Set(float64(members)) }

// timestamp is in seconds since the epoch. Nobody needs more than milliseconds, and they print short.
func timestamp(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1000
}
