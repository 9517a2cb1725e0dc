package restore

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/drd-project/drd/internal/disk"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/snapshot"
)

// WriteText writes the plan for people: one fact a line.
func (p *Plan) WriteText(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line := func(name, format string, args ...any) {
		fmt.Fprintf(t, "%s\t%s\n", name, repo.Printable(fmt.Sprintf(format, args...)))
	}
	p.writeSnapshot(line)
	p.writeDestination(line)
	p.writeChanges(line)
	p.writeLoss(line)
	for _, warning := range p.Warnings {
		line("warning", "%s", warning)
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("write the plan: %w", err)
	}
	return nil
}

type writeLine func(name, format string, args ...any)

func (p *Plan) writeSnapshot(line writeLine) {
	s := p.Snapshot
	line("cluster", "%s", p.Cluster)
	line("snapshot", "%s", s.ID)
	line("from", "%s (%s)", p.Source.Name, p.Source.Location)
	for _, o := range p.Fallbacks {
		line("or from", "%s (%s)", o.Name, o.Location)
	}
	line("taken", "%s, %s ago, from member %s", s.CapturedAt.Format(time.RFC3339), elapsed(s.AgeSeconds), s.Member)
	line("timeline", "%s", s.Timeline)
	line("etcd", "%s, storage version %s", s.EtcdVersion, cmp.Or(s.StorageVersion, "none"))
	if s.CompactRevision == snapshot.NeverCompacted {
		line("revision", "%d, never compacted", s.Revision)
	} else {
		line("revision", "%d, compacted up to %d", s.Revision, s.CompactRevision)
	}
	p.writeWanted(line)
	line("keys", "%d", s.Keys)
	line("size", "%s, to download %s", disk.Size(s.DBSize), disk.Size(s.ObjectSize))
	if p.Signature.State == SignatureVerified {
		line("signed by", "%s (%s)", p.Signature.Principal, p.Signature.Fingerprint)
	} else {
		line("signed by", "not checked")
	}
}

// elapsed writes seconds as the two largest units that matter.
func elapsed(seconds int64) string {
	d := time.Duration(max(seconds, 0)) * time.Second
	day := 24 * time.Hour
	switch {
	case d >= day:
		return fmt.Sprintf("%dd%dh", d/day, d%day/time.Hour)
	case d >= time.Hour:
		return fmt.Sprintf("%dh%dm", d/time.Hour, d%time.Hour/time.Minute)
	case d >= time.Minute:
		return fmt.Sprintf("%dm%ds", d/time.Minute, d%time.Minute/time.Second)
	}
	return fmt.Sprintf("%ds", d/time.Second)
}

func (p *Plan) writeDestination(line writeLine) {
	d := p.Destination
	switch {
	case d.InScratch:
		line("to", "a file in scratch, which is removed afterwards")
	case d.Output != "":
		line("to file", "%s", d.Output)
	default:
		line("to data dir", "%s", d.DataDir)
		if d.WALDir != "" {
			line("wal dir", "%s", d.WALDir)
		}
		line("member", "--name %s --initial-advertise-peer-urls %s", d.Name, strings.Join(d.PeerURLs, ","))
		line("of", "--initial-cluster %s --initial-cluster-token %s", d.InitialCluster, d.InitialClusterToken)
	}
	for _, s := range p.Space {
		line("space", "%s in %s, %s free", disk.Size(s.Needed), s.Path, disk.Size(s.Free))
	}
	p.writeTime(line)
}

func (p *Plan) writeTime(line writeLine) {
	m := p.Measured
	if m == nil || p.Destination.InScratch {
		line("time", "unknown: no restore was measured")
		return
	}
	replay := ""
	if p.Archive != nil && !m.Archived {
		replay = ", and the replay of the archive"
	}
	line("time", "about %s until etcd answers%s: a drill on %s took %s for %s at %s", elapsed(int64(math.Ceil(*p.EstimatedSeconds))), replay,
		m.Host, elapsed(int64(math.Ceil(m.Seconds))), disk.Size(m.DBSize), m.At.Format(time.RFC3339))
}

func (p *Plan) writeChanges(line writeLine) {
	c := p.Changes
	if p.Destination.InScratch {
		return
	}
	switch {
	case c.BumpBy == nil:
		line("revisions", "moved forward by %d and marked compacted if the store holds Kubernetes objects, else kept", int64(kubernetesBump))
	case *c.BumpBy == 0:
		line("revisions", "kept")
	default:
		line("revisions", "moved forward by %d and marked compacted", *c.BumpBy)
	}
	if len(c.ClearAlarms) > 0 {
		line("alarms", "cleared: %s", strings.Join(c.ClearAlarms, ", "))
	}
	line("leases", "kept; one that a key names and that has no record is added with %s to live", elapsed(c.LeaseTTLSeconds))
	if c.ForEtcd != "" {
		line("versions", "set for etcd %s", c.ForEtcd)
	}
}

// maxNewer bounds how many newer restore points people are shown. The JSON form has all.
const maxNewer = 20

func (p *Plan) writeLoss(line writeLine) {
	beyond := ""
	if w := p.Wanted; w != nil && w.Newest > w.Highest {
		beyond = fmt.Sprintf("; this history can be restored up to revision %d", w.Newest)
	}
	if len(p.Newer) == 0 {
		if beyond == "" {
			beyond = "; there is no newer restore point"
		}
		line("lost", "what was written after %s%s", p.point(), beyond)
		return
	}
	line("lost", "what was written after %s%s; newer restore points are:", p.point(), beyond)
	older := max(0, len(p.Newer)-maxNewer)
	if older > 0 {
		line("", "%d more, and", older)
	}
	for _, n := range p.Newer[older:] {
		line("", "%s (%s)", n.ID, n.State)
	}
}
