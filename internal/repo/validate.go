package repo

import (
	"fmt"
	"regexp"
	"strings"
	"time"
)

var (
	hex64Pattern    = regexp.MustCompile(`^[1-9a-f][0-9a-f]{0,15}$`)
	sha256Pattern   = regexp.MustCompile(`^[0-9a-f]{64}$`)
	timelinePattern = regexp.MustCompile(`^[0-9a-f]{16}$`)
	payloadPattern  = regexp.MustCompile(`^snapshot\.db(\.[a-z0-9]{1,16}){1,4}$`)
	envelopePattern = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{0,31}$`)
)

// Validate checks everything that holds for every manifest of this format. The error names all
// that does not, up to a bound, on one line.
func (m *Manifest) Validate() error {
	var p problems
	p.lengths(m)
	p.identity(m)
	p.times(m)
	p.history(m)
	p.comparisons(m.Compared)
	p.content(m)
	p.audit(m.Audit)
	p.texts(m)
	if len(p) == 0 {
		return nil
	}
	if more := len(p) - maxProblems; more > 0 {
		p = append(p[:maxProblems], fmt.Sprintf("and %d more", more))
	}
	return fmt.Errorf("manifest: %s", strings.Join(p, "; "))
}

// maxProblems bounds how many problems an error names, and %.80q below how much of each value: a
// manifest is up to 64 KiB of what somebody else wrote.
const maxProblems = 8

// The most entries that each list of a manifest may have: several times what the largest cluster needs.
const (
	maxCompared   = 64 // members of a cluster
	maxRecipients = 256
	maxAlarms     = 64
	maxDistro     = 64
)

// problems collects what is wrong.
type problems []string

func (p *problems) unless(ok bool, format string, args ...any) {
	if !ok {
		*p = append(*p, fmt.Sprintf(format, args...))
	}
}

func (p *problems) match(re *regexp.Regexp, key, value string) {
	p.unless(re.MatchString(value), "%s: %.80q is not valid", key, value)
}

func (p *problems) identity(m *Manifest) {
	p.unless(m.Format == ManifestFormat, "format: %d is not %d", m.Format, ManifestFormat)
	if err := ValidClusterName(m.Cluster); err != nil {
		p.unless(false, "cluster: %v", err)
	}
	p.match(hex64Pattern, "etcd_cluster_id", m.EtcdClusterID)
	p.match(hex64Pattern, "member.id", m.Member.ID)
	p.match(timelinePattern, "timeline", m.Timeline)
	if m.TimelineParent != "" {
		p.match(timelinePattern, "timeline_parent", m.TimelineParent)
		p.unless(m.TimelineParent != m.Timeline, "timeline_parent: equals timeline")
	}
	if m.Previous != "" {
		p.match(sha256Pattern, "previous", m.Previous)
	}
	id, err := ParseID(m.ID)
	if err != nil {
		p.unless(false, "id: %v", err)
		return
	}
	p.unless(id.Time.Unix() == m.CaptureStart.Unix(), "id: time is not that of capture_start")
	p.unless(id.Revision == m.Revision, "id: revision is not %d", m.Revision)
	p.unless(fmt.Sprintf("%x", id.Member) == m.Member.ID, "id: member is not %s", m.Member.ID)
}

func (p *problems) times(m *Manifest) {
	p.unless(isUTC(m.CaptureStart) && isUTC(m.CaptureEnd), "capture times are not in UTC")
	p.unless(!m.CaptureEnd.Before(m.CaptureStart), "capture_end is before capture_start")
	p.unless(m.Slot == nil || (isUTC(*m.Slot) && !m.Slot.IsZero()), "slot is not a time in UTC")
}

func isUTC(t time.Time) bool {
	_, offset := t.Zone()
	return offset == 0
}

func (p *problems) history(m *Manifest) {
	p.unless(m.Revision >= 1, "revision: %d is below 1", m.Revision)
	p.unless(m.CompactRevision >= -1 && m.CompactRevision <= m.Revision,
		"compact_revision: %d is not between -1 and the revision", m.CompactRevision)
	p.unless(m.HashKV.Revision == m.Revision && m.HashKV.CompactRevision == m.CompactRevision,
		"hashkv: not at the revision and compact revision of the snapshot")
	p.unless(m.Keys >= 0 && m.Keys <= m.Revisions, "keys: %d is not between 0 and revisions (%d)", m.Keys, m.Revisions)
	p.unless(m.Leases >= 0, "leases: %d is negative", m.Leases)
	if m.Leader != nil && *m.Leader != "" {
		p.match(hex64Pattern, "leader", *m.Leader)
	}
}

func (p *problems) comparisons(all []Comparison) {
	for i, c := range all {
		p.match(hex64Pattern, fmt.Sprintf("compared[%d].member", i), c.Member)
		switch c.Result {
		case ResultEqual, ResultDiffers:
		case ResultNotCompared:
			p.unless(c.Reason != "", "compared[%d]: not compared, without a reason", i)
		default:
			p.unless(false, "compared[%d].result: %.80q is not known", i, c.Result)
		}
	}
}

func (p *problems) content(m *Manifest) {
	p.unless(m.DBSize > 0, "db_size: %d is not positive", m.DBSize)
	p.unless(m.Plain.Size-trailerSize == m.DBSize, "plain.size: %d is not db_size + %d", m.Plain.Size, trailerSize)
	p.match(sha256Pattern, "plain.sha256", m.Plain.SHA256)
	p.match(payloadPattern, "object.name", m.Object.Name)
	p.match(sha256Pattern, "object.sha256", m.Object.SHA256)
	p.unless(m.Object.Size > 0, "object.size: %d is not positive", m.Object.Size)
	p.match(envelopePattern, "object.envelope", m.Object.Envelope)
	p.unless(len(m.Object.Recipients) > 0, "object.recipients: none")
	p.unless(m.Drd.Version != "", "drd.version: empty")
}

// maxAuditHost bounds the name of a host in bytes: that of DNS, which is longer than what Linux has.
const maxAuditHost = 255

func (p *problems) audit(a *Audit) {
	if a == nil {
		return
	}
	p.unless(len(a.Host) <= maxAuditHost, "audit.host: %d bytes, at most %d are allowed", len(a.Host), maxAuditHost)
	p.printable("audit.host", a.Host)
	p.unless(a.Sequence >= 1, "audit.sequence: %d is below 1", a.Sequence)
	p.match(sha256Pattern, "audit.sha256", a.SHA256)
}

func (p *problems) lengths(m *Manifest) {
	p.atMost(maxCompared, "compared", len(m.Compared))
	p.atMost(maxRecipients, "object.recipients", len(m.Object.Recipients))
	p.atMost(maxAlarms, "alarms", len(m.Alarms))
	p.atMost(maxDistro, "distro", len(m.Distro))
}

func (p *problems) atMost(most int, key string, n int) {
	p.unless(n <= most, "%s: %d entries, at most %d are allowed", key, n, most)
}

// texts refuses what would move the cursor of a terminal: these fields are shown to people, also
// from manifests that nobody signed.
func (p *problems) texts(m *Manifest) {
	p.printable("member.name", m.Member.Name)
	p.printable("etcd_version", m.EtcdVersion)
	p.printable("storage_version", m.StorageVersion)
	p.printable("drd.version", m.Drd.Version)
	p.printable("drd.fips_module", m.Drd.FIPSModule)
	p.printable("alarms", m.Alarms...)
	p.printable("object.recipients", m.Object.Recipients...)
	for _, c := range m.Compared {
		p.printable("compared", c.Endpoint, c.Reason)
	}
	for k, v := range m.Distro {
		p.printable("distro", k, v)
	}
}

func (p *problems) printable(key string, values ...string) {
	for _, v := range values {
		p.unless(isPrintable(v), "%s: %.80q holds unprintable characters", key, v)
	}
}
