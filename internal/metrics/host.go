package metrics

import "time"

// Directory is one that the daemon writes to.
type Directory string

// The directories of drd_disk_free_bytes.
const (
	DirectoryState   Directory = "state"
	DirectoryRuntime Directory = "runtime"
	DirectoryScratch Directory = "scratch"
)

// CertificateUse is what a certificate is for.
type CertificateUse string

// The uses of drd_certificate_not_after_timestamp_seconds.
const (
	CertificateEtcdClient   CertificateUse = "etcd_client"
	CertificateEtcdCA       CertificateUse = "etcd_ca"
	CertificateEtcdServer   CertificateUse = "etcd_server"
	CertificateTargetCA     CertificateUse = "target_ca"
	CertificateTargetServer CertificateUse = "target_server"
	CertificateMetrics      CertificateUse = "metrics"
)

// CredentialUse is what a credential is for.
type CredentialUse string

// The uses of drd_credential_expiry_timestamp_seconds.
const (
	CredentialSigning CredentialUse = "signing"
	CredentialTarget  CredentialUse = "target"
)

// Schedule is what is known of ticks to come.
type Schedule struct {
	Interval time.Duration // the longest time between two ticks
	Next     time.Time     // when the next one is due
}

// SetSnapshotSchedule tells when this node takes snapshots.
func (m *Metrics) SetSnapshotSchedule(s Schedule) {
	m.interval.WithLabelValues().Set(s.Interval.Seconds())
	m.next.WithLabelValues().Set(timestamp(s.Next))
}

// SetDrillSchedule tells when this node makes drills.
func (m *Metrics) SetDrillSchedule(s Schedule) {
	m.drillInterval.WithLabelValues().Set(s.Interval.Seconds())
	m.drillNext.WithLabelValues().Set(timestamp(s.Next))
}

// SetFlushInterval tells that the archive is enabled here, and how often it flushes.
func (m *Metrics) SetFlushInterval(d time.Duration) {
	m.flushInterval.WithLabelValues().Set(d.Seconds())
}

// SetTargetUp tells whether the last look at the target of this name could read it.
func (m *Metrics) SetTargetUp(target string, up bool) { m.up.WithLabelValues(target).Set(bit(up)) }

// SetClockSkew tells by how much this node's clock is ahead of that of the target's server; negative: behind.
func (m *Metrics) SetClockSkew(target string, ahead time.Duration) {
	m.skew.WithLabelValues(target).Set(ahead.Seconds())
}

// SetCertificate tells how long a certificate is valid. target is "" for those that belong to none.
func (m *Metrics) SetCertificate(use CertificateUse, target string, from, until time.Time) {
	m.certFrom.WithLabelValues(string(use), target).Set(timestamp(from))
	m.certUntil.WithLabelValues(string(use), target).Set(timestamp(until))
}

// SetCredential tells until when a credential can be used; zero: it does not expire, or that is not known. target is "" for
// those that belong to none.
func (m *Metrics) SetCredential(use CredentialUse, target string, until time.Time) {
	if until.IsZero() {
		m.credUntil.DeleteLabelValues(string(use), target)
		return
	}
	m.credUntil.WithLabelValues(string(use), target).Set(timestamp(until))
}

// SetDisk tells the free bytes and the size of a directory's file system.
func (m *Metrics) SetDisk(d Directory, free, size int64) {
	m.free.WithLabelValues(string(d)).Set(float64(free))
	m.total.WithLabelValues(string(d)).Set(float64(size))
}

// PruneFailed counts a prune of the target of this name that did not do all that it had to. Pruned ends it.
func (m *Metrics) PruneFailed(target string) { m.pruneFailed.WithLabelValues(target).Inc() }

// ConfigLoaded tells that the configuration was loaded at that time, and is in force.
func (m *Metrics) ConfigLoaded(at time.Time) {
	m.reloaded.WithLabelValues().Set(1)
	m.reloadedAt.WithLabelValues().Set(timestamp(at))
}

// TextfileBegun tells that the metrics are being written into a file at that time.
func (m *Metrics) TextfileBegun(at time.Time) { m.textfile.WithLabelValues().Set(timestamp(at)) }

// ConfigRefused tells that another configuration was to be loaded, and could not.
func (m *Metrics) ConfigRefused() { m.reloaded.WithLabelValues().Set(0) }

func bit(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
