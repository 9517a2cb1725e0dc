package snapshot

import (
	"encoding/hex"
	"time"

	"github.com/drd-project/drd/internal/etcd"
	"github.com/drd-project/drd/internal/repo"
)

// FactKubernetes is the key of Manifest.Distro that says "true" when the store holds Kubernetes objects.
const FactKubernetes = "kubernetes"

// Context is what a manifest says that is not in the snapshot: who took it, and where it belongs.
type Context struct {
	Cluster    string // name in drd's configuration
	MemberName string
	Timeline   string
	Parent     string     // of the timeline
	Previous   string     // digest of this node's manifest before
	Slot       *time.Time // the tick it answers; nil when taken by hand
	Compared   []repo.Comparison
	Recipients []string // fingerprints
	Build      repo.Build
	Audit      *repo.Audit // where the node's audit log ends; nil: there is none
}

// ID names the snapshot, once its revision is known.
func (t *Taken) ID(revision int64) repo.ID {
	return repo.ID{Time: t.Start.Truncate(time.Second), Revision: revision, Member: t.Status.MemberID}
}

// Position is where the snapshot stands in the cluster's history.
func (t *Taken) Position(revision int64) repo.Position {
	return repo.Position{
		EtcdClusterID: etcd.FormatID(t.Status.ClusterID),
		Revision:      revision,
		RaftTerm:      t.Status.RaftTerm,
		RaftIndex:     t.Status.RaftIndex,
	}
}

// leader names the member's leader; "" says that it knew none, and may have lagged behind.
func leader(id uint64) *string {
	name := ""
	if id != 0 {
		name = etcd.FormatID(id)
	}
	return &name
}

// Describe writes the manifest of a snapshot whose facts are known.
func (t *Taken) Describe(f Facts, c Context) *repo.Manifest {
	storage := f.StorageVersion
	if storage == "" {
		storage = t.Received.StorageVersion
	}
	m := &repo.Manifest{
		Format: repo.ManifestFormat, ID: t.ID(f.Revision).String(),
		Cluster: c.Cluster, EtcdClusterID: etcd.FormatID(t.Status.ClusterID),
		Timeline: c.Timeline, TimelineParent: c.Parent,
		Member: repo.Member{ID: etcd.FormatID(t.Status.MemberID), Name: clean(c.MemberName)},
		Slot:   c.Slot, CaptureStart: t.Start, CaptureEnd: t.End,
		Revision: f.Revision, CompactRevision: f.CompactRevision,
		RaftTerm: t.Status.RaftTerm, RaftIndex: t.Status.RaftIndex,
		Leader: leader(t.Status.Leader), Learner: t.Status.IsLearner,
		Keys: f.Keys, Revisions: f.Revisions, DBSize: f.DBSize,
		EtcdVersion: clean(t.Status.Version), StorageVersion: clean(storage),
		HashKV:   repo.HashKV{Hash: f.HashKV, Revision: f.Revision, CompactRevision: f.CompactRevision},
		Compared: c.Compared,
		Plain:    repo.Plain{SHA256: hex.EncodeToString(t.Received.SHA256[:]), Size: t.Received.Size},
		Object: repo.Object{
			Name: t.Sealed.Name, SHA256: t.Sealed.SHA256, Size: t.Sealed.Size,
			Envelope: t.Sealed.Format, Recipients: c.Recipients,
		},
		Leases: f.Leases, Alarms: f.Alarms, AuthEnabled: f.AuthEnabled,
		Drd: c.Build, Previous: c.Previous, Audit: c.Audit,
	}
	if f.Kubernetes {
		m.Distro = map[string]string{FactKubernetes: "true"}
	}
	return m
}
