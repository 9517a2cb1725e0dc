package restore

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/drd-project/drd/internal/disk"
	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/seal"
)

// Source is one target to restore from. When a snapshot is in several, the first that can deliver it does.
type Source struct {
	Name string // of the target, for people
	Repo *repo.Repository
}

// Plan says what a restore would do. It is made by reading only, and its JSON form is a contract: sizes are
// bytes, times RFC 3339 in UTC, and null stands for what is not known yet.
type Plan struct {
	Cluster string `json:"cluster"`
	// Source is the target that the snapshot comes from; Fallbacks are others that hold the same one, in order.
	Source    Origin   `json:"source"`
	Fallbacks []Origin `json:"fallbacks"`

	Snapshot Point `json:"snapshot"`
	// Wanted is the point that will be restored, null for a snapshot as it is.
	Wanted *Wanted `json:"wanted"`
	// Archive is what leads on from the snapshot to the point, null when nothing does.
	Archive     *Archive    `json:"archive"`
	Signature   Signature   `json:"signature"`
	Destination Destination `json:"destination"`
	Changes     Changes     `json:"changes"`
	Space       []Space     `json:"space"`

	// Newer are the restore points after this one, oldest first: what they hold more is lost by this restore.
	Newer []NewerPoint `json:"newer"`
	// EstimatedSeconds is how long it takes until an etcd on the result answers, which Measure makes of Measured.
	// MakePlan leaves both null, which is "unknown".
	EstimatedSeconds *float64  `json:"estimated_seconds"`
	Measured         *Measured `json:"measured"`
	// Leftovers are working directories of earlier runs that were killed. They are not touched.
	Leftovers []string `json:"leftovers"`
	// Warnings are sentences: what is wrong with other snapshots, with a target, or with this one.
	Warnings []string `json:"warnings"`

	request    Request
	candidates []candidate
	aim
	looks []look
	known []Comparison // hashes that live members gave on this timeline
}

// Origin is one target.
type Origin struct {
	Name     string `json:"name"`
	Location string `json:"location"`
}

// Point is the snapshot that will be restored, by its manifest.
type Point struct {
	ID              string    `json:"id"`
	CapturedAt      time.Time `json:"captured_at"`
	AgeSeconds      int64     `json:"age_seconds"`
	Timeline        string    `json:"timeline"`
	Member          string    `json:"member"`
	Revision        int64     `json:"revision"`
	CompactRevision int64     `json:"compact_revision"` // -1: never compacted
	Keys            int64     `json:"keys"`
	DBSize          int64     `json:"db_size"`
	ObjectSize      int64     `json:"object_size"`
	EtcdVersion     string    `json:"etcd_version"`
	StorageVersion  string    `json:"storage_version"` // "" before etcd 3.6
	AuthEnabled     bool      `json:"auth_enabled"`
	ManifestSHA256  string    `json:"manifest_sha256"`
}

// Signature says who vouches for the manifest.
type Signature struct {
	State       string `json:"state"` // "verified" or "skipped"
	Principal   string `json:"principal,omitempty"`
	Fingerprint string `json:"fingerprint,omitempty"`
}

// States of a Signature.
const (
	SignatureVerified = "verified"
	SignatureSkipped  = "skipped"
)

// Destination is where the result goes, and the flags that the member must be started with.
type Destination struct {
	// InScratch: there is no destination, the store is made to be looked into.
	InScratch           bool     `json:"in_scratch,omitempty"`
	Output              string   `json:"output,omitempty"`
	DataDir             string   `json:"data_dir,omitempty"`
	WALDir              string   `json:"wal_dir,omitempty"`
	Name                string   `json:"name,omitempty"`
	InitialCluster      string   `json:"initial_cluster,omitempty"`
	InitialClusterToken string   `json:"initial_cluster_token,omitempty"`
	PeerURLs            []string `json:"initial_advertise_peer_urls,omitempty"`
}

// Changes are the differences between the snapshot and the result.
type Changes struct {
	// Bump is what was asked for: "auto" or a number. BumpBy is what it comes to, null until the store was read.
	Bump   string `json:"bump"`
	BumpBy *int64 `json:"bump_by"`
	// ClearAlarms are the alarms that the result will not have.
	ClearAlarms []string `json:"clear_alarms"`
	// LeaseTTLSeconds is given to leases that keys name but that have no record. How many there are is known when
	// the store was read: see Result.
	LeaseTTLSeconds int64 `json:"lease_ttl_seconds"`
	// ForEtcd is the version of the servers that the result is made for, "" for any not older than the source.
	ForEtcd string `json:"for_etcd,omitempty"`
}

// Space is the room that a run needs in one directory.
type Space struct {
	Path   string `json:"path"`
	Needed int64  `json:"needed"`
	Free   int64  `json:"free"`
}

// NewerPoint is a snapshot taken after the one in the plan. For a snapshot that was asked for by its whole ID the newer ones
// are only listed: their state is "unread".
type NewerPoint struct {
	ID         string `json:"id"`
	State      string `json:"state"`
	Restorable bool   `json:"restorable"`
}

// MakePlan finds the snapshot that req asks for and says what restoring it would do. It changes nothing.
// The destination is judged before any source is asked. trust names whose signatures count; without it
// the request must skip them. now is the time that ages are counted from.
//
// A request that contradicts itself is a *RequestError. An error wraps repo.ErrNothing when every source answered and none has
// what was asked for; for a revision that nothing holds it wraps *archive.Unreachable too.
func MakePlan(ctx context.Context, sources []Source, trust *seal.Trust, req Request, now time.Time) (*Plan, error) {
	req, err := req.normalize()
	if err != nil {
		return nil, &RequestError{err}
	}
	if req.At.After(now) {
		return nil, &RequestError{hint.New(fmt.Errorf("%s lies in the future", req.At.Format(time.RFC3339)), "without a time the newest is restored")}
	}
	if trust == nil && !req.InsecureSkipSignature {
		return nil, hint.New(errors.New("nobody is trusted to sign snapshots"),
			"name the allowed signers (--trust FILE), or say --insecure-skip-signature")
	}
	dest, err := checkDestination(req)
	if err != nil {
		return nil, err
	}
	found, err := search(ctx, sources, trust, req, now)
	if err != nil {
		return nil, err
	}
	return makePlan(found, req, dest, now)
}

// PlanEntry is MakePlan for a snapshot that was looked at already, with trust, in one source; nothing else is read.
// It must be restorable, and hold the revision that is asked for, if one is. ID, At, Since, SinceAt and InsecureSkipSignature of the request
// do not count.
func PlanEntry(source Source, e *repo.Entry, req Request, now time.Time) (*Plan, error) {
	req.ID, req.At, req.InsecureSkipSignature = e.ID.String(), time.Time{}, false
	req.Since, req.SinceAt = 0, time.Time{}
	req, err := req.normalize()
	if err != nil {
		return nil, &RequestError{err}
	}
	if !e.Restorable(false) {
		return nil, fmt.Errorf("snapshot %s cannot be restored: it is %s", e.ID, e.State)
	}
	dest, err := checkDestination(req)
	if err != nil {
		return nil, err
	}
	found := &finding{candidates: []candidate{{source, e}}, all: &repo.Catalogue{Cluster: source.Repo.Cluster(), Entries: []repo.Entry{*e}}}
	if found.aim, err = aimWithin(e, req); err != nil {
		return nil, err
	}
	return makePlan(found, req, dest, now)
}

func makePlan(found *finding, req Request, dest destination, now time.Time) (*Plan, error) {
	m := found.candidates[0].entry.Manifest
	if _, err := versionsFor(req.ForEtcd, m.StorageVersion, ""); err != nil {
		return nil, err
	}
	p := describe(found, req, dest, now)
	if err := p.findRoom(dest); err != nil {
		return nil, err
	}
	return p, nil
}

const (
	// storeSlack is what a store may grow by when it is edited, with the copy of its small buckets, in bytes.
	storeSlack = 32 << 20
	// walRoom is what etcd's library preallocates for a WAL: two segments of 64 MB (etcd server/storage/wal).
	walRoom = 2 * 64 * 1000 * 1000
)

// findRoom fills in p.Space and refuses to start what cannot end.
func (p *Plan) findRoom(d destination) error {
	need := p.Snapshot.DBSize + sha256.Size + storeSlack + growth(p.aim)
	apart, err := d.walApart()
	if err != nil {
		return err
	}
	if d.dataDir != "" && !apart {
		need += walRoom
	}
	if err := p.require(d.scratch, need, "the restored store"); err != nil || !apart {
		return err
	}
	return p.require(d.walScratch, walRoom, "the wal")
}

func (p *Plan) require(dir string, need int64, what string) error {
	if err := disk.Require(dir, need, what); err != nil {
		return err
	}
	free, err := disk.Free(dir)
	if err != nil {
		return err
	}
	p.Space = append(p.Space, Space{Path: dir, Needed: need, Free: free})
	return nil
}
