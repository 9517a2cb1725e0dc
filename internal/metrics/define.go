package metrics

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// Definition is what a metric is, apart from its values. docs/metrics.md is written from these, and no alert, dashboard or page
// may name anything else.
type Definition struct {
	Name    string
	Type    string // "gauge", "counter" or "histogram", as Prometheus says it
	Section string // of docs/metrics.md
	Unit    string // "" for a number that counts nothing, such as a flag
	Labels  []string
	Help    string
	Values  []Value // the values of the label that has a fixed set of them, in order
}

// Value is one value of a label.
type Value struct{ Name, Meaning string }

// Definitions are all metrics of drd, in the order in which docs/metrics.md lists them.
func Definitions() []Definition { return New(Build{}).definitions }

// The sections of docs/metrics.md.
const (
	sectionFreshness   = "Freshness"
	sectionTargets     = "Targets"
	sectionProof       = "Proof"
	sectionReplication = "Replication"
	sectionArchive     = "Archive"
	sectionRetention   = "Retention"
	sectionNode        = "This node"
)

const (
	unitEpoch   = "seconds since the epoch"
	unitSeconds = "seconds"
	unitBytes   = "bytes"
)

// gauge defines and registers a gauge that has no series yet.
func (m *Metrics) gauge(d Definition) *prometheus.GaugeVec {
	d.Type = "gauge"
	g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: d.Name, Help: d.Help}, d.Labels)
	m.define(d, g)
	return g
}

// counter defines and registers a counter that has no series yet, but for one without labels, which is 0.
func (m *Metrics) counter(d Definition) *prometheus.CounterVec {
	d.Type = "counter"
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: d.Name, Help: d.Help}, d.Labels)
	if len(d.Labels) == 0 {
		c.WithLabelValues()
	}
	m.define(d, c)
	return c
}

func (m *Metrics) define(d Definition, c prometheus.Collector) {
	m.definitions = append(m.definitions, d)
	m.registry.MustRegister(c)
}

func (m *Metrics) defineAll() {
	m.defineFreshness()
	m.defineTargets()
	m.defineProof()
	m.defineReplication()
	m.defineArchive()
	m.defineRetention()
	m.defineNode()
	m.defineExpiry()
	m.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
}

func (m *Metrics) defineFreshness() {
	m.lastSuccess = m.gauge(Definition{Name: "drd_snapshot_last_success_timestamp_seconds", Section: sectionFreshness, Unit: unitEpoch,
		Help: "When the capture of the cluster's newest restorable snapshot ended, in any target, whichever node took it. 0: no target that was read holds one."})
	m.recoveryPoint = m.gauge(Definition{Name: "drd_recovery_point_timestamp_seconds", Section: sectionFreshness, Unit: unitEpoch, Labels: []string{"target"},
		Help: "The newest instant that can be restored from the target: all that etcd had acknowledged by then comes back. The begin of the capture of its newest snapshot that does not stand failed, or how far the archive leads on from there without a hole. 0: nothing can be restored."})
	m.replicated = m.gauge(Definition{Name: "drd_replication_last_success_timestamp_seconds", Section: sectionFreshness, Unit: unitEpoch, Labels: []string{"target"},
		Help: "When the newest restorable snapshot in the target was committed, by the target's clock. 0: it holds none."})
	m.interval = m.gauge(Definition{Name: "drd_snapshot_interval_seconds", Section: sectionFreshness, Unit: unitSeconds,
		Help: "This node: the longest time between two ticks of snapshot.schedule within a year, its jitter included. Absent on a verifier host."})
	m.next = m.gauge(Definition{Name: "drd_snapshot_next_timestamp_seconds", Section: sectionFreshness, Unit: unitEpoch,
		Help: "This node: when the next tick of snapshot.schedule is due, its jitter included. Retries of a tick that failed come between."})
	m.revision = m.gauge(Definition{Name: "drd_snapshot_revision", Section: sectionFreshness, Unit: "revision",
		Help: "Revision of etcd in the newest restorable snapshot, read out of its own data."})
	m.size = m.gauge(Definition{Name: "drd_snapshot_size_bytes", Section: sectionFreshness, Unit: unitBytes, Labels: []string{"kind"},
		Help: "Size of the newest restorable snapshot.",
		Values: []Value{
			{"db", "the database as etcd sent it"},
			{"object", "what is stored of it, compressed and encrypted"},
		}})
	m.etcdRevision = m.gauge(Definition{Name: "drd_etcd_revision", Section: sectionFreshness, Unit: "revision",
		Help: "This node: what the protected member answered, every 5 minutes. Beside drd_snapshot_revision it says how many revisions no snapshot holds yet."})
	m.diverged = m.gauge(Definition{Name: "drd_members_diverged", Section: sectionFreshness, Unit: "members",
		Help: "Members whose data differed when the live members were last compared, or in the newest snapshot whose capture compared them. Absent: they were never compared."})
}

func (m *Metrics) defineTargets() {
	m.up = m.gauge(Definition{Name: "drd_target_up", Section: sectionTargets, Labels: []string{"target"},
		Help: "This node: 1 if the last look at the target found its catalogue readable, 0 if not. A look is made every 5 minutes and after each backup."})
	m.objects = m.gauge(Definition{Name: "drd_repo_objects", Section: sectionTargets, Unit: "snapshots", Labels: []string{"target", "kind"},
		Help: "Snapshots in the target by what can be done with them, and foreign keys.", Values: kindValues()})
	m.bytes = m.gauge(Definition{Name: "drd_repo_bytes", Section: sectionTargets, Unit: unitBytes, Labels: []string{"target", "kind"},
		Help: "Bytes of the sealed payloads in the target, as the target lists them; foreign keys have none.", Values: kindValues()[:3]})
	m.skew = m.gauge(Definition{Name: "drd_clock_skew_seconds", Section: sectionTargets, Unit: unitSeconds, Labels: []string{"target"},
		Help: "This node: by how much its clock is ahead of the clock of the target's server, asked every hour; negative: behind. Exact to a second. Absent for a directory."})
}

func kindValues() []Value {
	return []Value{
		{string(KindSnapshot), "can be restored"},
		{string(KindUnusable), "has a manifest, but something is wrong with it, its signature or its object; drd list says what"},
		{string(KindIncomplete), "has no manifest: an upload in progress, or one that was given up"},
		{string(KindForeign), "keys that are not drd's"},
	}
}

func (m *Metrics) defineProof() {
	m.proved = m.gauge(Definition{Name: "drd_verify_last_success_timestamp_seconds", Section: sectionProof, Unit: unitEpoch, Labels: []string{"target"},
		Help: "When the newest drill that passed on a snapshot of the target ended, whichever host made it. 0: no record tells of one. A data proof is no drill."})
	m.unproved = m.gauge(Definition{Name: "drd_verify_unproved_since_timestamp_seconds", Section: sectionProof, Unit: unitEpoch, Labels: []string{"target"},
		Help: "Since when the target is known to have had a snapshot to drill, where no drill of one has passed: the capture of the oldest restorable one, or an older drill record. Absent: one has passed, or there is nothing to drill."})
	m.result = m.gauge(Definition{Name: "drd_verify_last_result", Section: sectionProof, Labels: []string{"target", "result"},
		Help: "1 for what the newest run of drills of the target came to, by its worst one, and 0 for the other results; failed as long as drd_verify_failed_snapshots is not 0. Absent: nothing was tried.",
		Values: []Value{
			{string(ResultPassed), "each could be restored"},
			{string(ResultFailed), "one could not, or is not what it says it is; a data proof that failed counts too"},
			{string(ResultInconclusive), "one could not be found out, which is no finding of damage"},
		}})
	m.broken = m.gauge(Definition{Name: "drd_verify_failed_snapshots", Section: sectionProof, Unit: "snapshots", Labels: []string{"target"},
		Help: "Restorable snapshots in the target on which the newest conclusive drill or data proof failed; drd list names them. A drill that passes on the same snapshot ends it, or its deletion."})
	m.uncovered = m.gauge(Definition{Name: "drd_verify_uncovered_snapshots", Section: sectionProof, Unit: "snapshots", Labels: []string{"target"},
		Help: "Restorable snapshots in the target that no drill within verify.cover_within has proved (30 days where there is no section verify)."})
	m.drilling = m.gauge(Definition{Name: "drd_verify_duration_seconds", Section: sectionProof, Unit: unitSeconds,
		Help: "The whole duration of the newest drill that passed, in any target. Absent: no record of one is left."})
	m.recovery = m.gauge(Definition{Name: "drd_restore_estimated_seconds", Section: sectionProof, Unit: unitSeconds,
		Help: "How long a restore takes, apart from people, as the same drill measured it: from the first request to the target until the restored etcd answered a linearizable read."})
	m.drillInterval = m.gauge(Definition{Name: "drd_verify_interval_seconds", Section: sectionProof, Unit: unitSeconds,
		Help: "This node: the longest time between two ticks of verify.schedule within a year, the spread between nodes included. Absent: it makes no drills by schedule."})
	m.drillNext = m.gauge(Definition{Name: "drd_verify_next_timestamp_seconds", Section: sectionProof, Unit: unitEpoch,
		Help: "This node: when the next tick of verify.schedule is due. Absent: it makes no drills by schedule."})
}

func (m *Metrics) defineReplication() {
	m.queued = m.gauge(Definition{Name: "drd_replication_queue_objects", Section: sectionReplication, Unit: "snapshots", Labels: []string{"target"},
		Help: "This node: snapshots in the spool of which the target has no proved copy. One that is being uploaded counts."})
	m.queuedOldest = m.gauge(Definition{Name: "drd_replication_queue_oldest_timestamp_seconds", Section: sectionReplication, Unit: unitEpoch, Labels: []string{"target"},
		Help: "This node: when the capture of the oldest of these snapshots began. Absent: there are none."})
	m.lost = m.counter(Definition{Name: "drd_replication_lost_total", Section: sectionReplication, Unit: "snapshots", Labels: []string{"target"},
		Help: "This node: snapshots that the target will never have: dropped because the spool was full, damaged in the target, or kept out by another object of the same name. The number survives restarts; lost.jsonl in the directory replication of state_dir names them."})
}

func (m *Metrics) defineArchive() {
	m.archived = m.gauge(Definition{Name: "drd_archive_revision", Section: sectionArchive, Unit: "revision", Labels: []string{"target"},
		Help: "Up to where the target has what this node writes, read back. Compare it with drd_etcd_revision."})
	m.archiveLag = m.gauge(Definition{Name: "drd_archive_lag_seconds", Section: sectionArchive, Unit: unitSeconds, Labels: []string{"target"},
		Help: "How long ago the instant is up to which the target has what this node writes, read back; how far ahead, where a clock was wrong. A quiet cluster confirms its silence every minute."})
	m.gaps = m.counter(Definition{Name: "drd_archive_gaps_total", Section: sectionArchive, Unit: "gaps",
		Help: "Gaps and forks that this node left in the archive since the daemon started, also gaps of one target. Each asks for a snapshot, which closes it."})
	m.flushInterval = m.gauge(Definition{Name: "drd_archive_flush_interval_seconds", Section: sectionArchive, Unit: unitSeconds,
		Help: "archive.flush_interval, on every node whose archive is enabled, whether it writes now or not."})
}

func (m *Metrics) defineRetention() {
	m.pruned = m.gauge(Definition{Name: "drd_prune_last_success_timestamp_seconds", Section: sectionRetention, Unit: unitEpoch, Labels: []string{"target"},
		Help: "When this node last applied retention to the target and all that had to go went. What Object Lock keeps does not count against it. Absent: not since the daemon started, or there is no retention."})
	m.pruneFailed = m.gauge(Definition{Name: "drd_prune_failed_attempts", Section: sectionRetention, Unit: "prunes", Labels: []string{"target"},
		Help: "This node: prunes of the target in a row that could not delete all that had to go, or could not find out what; 0 after one that could. Absent: none was tried since the daemon started."})
}

// durations are the buckets of drd_snapshot_duration_seconds: from an empty cluster to the largest database that
// etcd recommends (8 GiB) over a slow line.
func durations() []float64 {
	return []float64{1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600}
}

func (m *Metrics) defineNode() {
	took := Definition{Name: "drd_snapshot_duration_seconds", Type: "histogram", Section: sectionNode, Unit: unitSeconds,
		Help: "How long this node's snapshots took, from asking etcd until they were in the spool. A failed one is not observed."}
	m.duration = prometheus.NewHistogram(prometheus.HistogramOpts{Name: took.Name, Help: took.Help, Buckets: durations()})
	m.define(took, m.duration)
	m.errors = m.counter(Definition{Name: "drd_errors_total", Section: sectionNode, Unit: "errors", Labels: []string{"stage"},
		Help: "Errors of this node since the daemon started, by what failed. All stages are there from the start, at 0."})
	m.free = m.gauge(Definition{Name: "drd_disk_free_bytes", Section: sectionNode, Unit: unitBytes, Labels: []string{"directory"},
		Help: "What a user without privileges may still write on the file system of a directory, asked every minute.", Values: directoryValues()})
	m.total = m.gauge(Definition{Name: "drd_disk_size_bytes", Section: sectionNode, Unit: unitBytes, Labels: []string{"directory"},
		Help: "The size of that file system.", Values: directoryValues()})
	m.reloaded = m.gauge(Definition{Name: "drd_config_last_reload_successful", Section: sectionNode,
		Help: "1 if the daemon runs with the configuration that it was last told to load, 0 if that one was refused and the one before is in force."})
	m.reloadedAt = m.gauge(Definition{Name: "drd_config_last_reload_success_timestamp_seconds", Section: sectionNode, Unit: unitEpoch,
		Help: "When the configuration in force was loaded, at the start or by a reload."})
	m.textfile = m.gauge(Definition{Name: "drd_textfile_timestamp_seconds", Section: sectionNode, Unit: unitEpoch,
		Help: "When the daemon last began to write metrics.textfile, every minute. In a file that stays when the daemon ends, the value stands still. Absent: no such file is configured."})
	m.build = m.gauge(Definition{Name: "drd_build_info", Section: sectionNode, Labels: []string{"version", "go_version", "fips_module"},
		Help: "The program that runs; always 1. fips_module is empty when no FIPS 140 module is in use."})
}

func directoryValues() []Value {
	return []Value{
		{string(DirectoryState), "state_dir, with the spool and the working files"},
		{string(DirectoryRuntime), "runtime_dir, with the keys of what was uploaded"},
		{string(DirectoryScratch), "verify.scratch_dir, where drills restore; only where there is a section verify"},
	}
}

func (m *Metrics) defineExpiry() {
	labels := []string{"use", "target"}
	m.certFrom = m.gauge(Definition{Name: "drd_certificate_not_before_timestamp_seconds", Section: sectionNode, Unit: unitEpoch, Labels: labels,
		Help: "From when on a certificate is valid, looked at every hour; target is set for those of targets.", Values: certificateValues()})
	m.certUntil = m.gauge(Definition{Name: "drd_certificate_not_after_timestamp_seconds", Section: sectionNode, Unit: unitEpoch, Labels: labels,
		Help: "Until when it is valid. Of a chain in a file the one that ends first counts, of authorities the one that vouches for what the server shows, else the last.", Values: certificateValues()})
	m.credUntil = m.gauge(Definition{Name: "drd_credential_expiry_timestamp_seconds", Section: sectionNode, Unit: unitEpoch, Labels: labels,
		Help: "Until when a credential can be used, where that is known, looked at every minute. Absent: it does not expire, or nothing says when.",
		Values: []Value{
			{string(CredentialSigning), "signing.key_file, by valid-before in trust.file"},
			{string(CredentialTarget), "the keys in a target's credentials_file, by the line expiration or x_security_token_expires that tools for temporary keys write there"},
		}})
}

func certificateValues() []Value {
	return []Value{
		{string(CertificateEtcdClient), "etcd.cert_file"},
		{string(CertificateEtcdCA), "etcd.ca_file"},
		{string(CertificateEtcdServer), "what the members at etcd.endpoints show; of several, the one that ends first"},
		{string(CertificateTargetCA), "ca_file of a target"},
		{string(CertificateTargetServer), "what the server of a target shows"},
		{string(CertificateMetrics), "the one that this endpoint shows, by metrics.web_config_file"},
	}
}
