// Package prune carries out on one target what package retention decides.
//
// A Plan is made once: it names every snapshot and segment, what becomes of it, and why. What is printed is what is run, and
// what changed in between is left alone. Nothing here needs a lock: deletions that another node has done already
// are done, and a prune that is killed at any moment leaves what is whole and litter that the next one
// removes, for the manifest, which makes a snapshot or a segment one, goes first and the payload last. A segment
// that was merged goes only when the merged one was read whole from the same target just before.
//
// Only objects under names that drd gives are ever deleted, below <cluster>/snapshots/ and <cluster>/archive/ alone.
package prune

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/retention"
	"github.com/drd-project/drd/internal/seal"
	"github.com/drd-project/drd/internal/storage"
)

// Kind sorts what a plan decides on.
type Kind string

// The kinds, as they stand in JSON output.
const (
	KindSnapshot Kind = "snapshot" // has a manifest
	KindLitter   Kind = "litter"   // objects without a manifest: an upload in progress, or one that was given up
	KindUpload   Kind = "upload"   // a write that the store has begun and not finished; no object yet

	KindSegment       Kind = "segment"        // of the archive: has a commit record
	KindSegmentLitter Kind = "segment-litter" // a payload without a commit record
)

// Item is one thing in a target and its fate.
type Item struct {
	Kind    Kind
	ID      repo.ID          // of a snapshot; zero for a segment, and for an upload of another key
	Segment repo.SegmentName // of a segment, else zero
	State   repo.State       // of the entry as it was found; "" for an upload
	Fate    retention.Fate
	Reasons []string
	// Objects are the entry's own as listed, in the order in which they are deleted. None for an upload, and for a segment that was
	// not read.
	Objects []storage.Object
	Upload  storage.Upload // of KindUpload

	digest string             // hex SHA-256 of the manifest that was decided on
	by     *repo.SegmentEntry // the merged segment that has to be read first; nil: none
}

// Name is what the item is called: the snapshot's ID, the segment's name, or the key of an upload.
func (i *Item) Name() string {
	switch {
	case i.Kind == KindUpload:
		return i.Upload.Key
	case i.Archived():
		return i.Segment.String()
	}
	return i.ID.String()
}

// Archived tells the archive's items from those of snapshots.
func (i *Item) Archived() bool { return i.Kind == KindSegment || i.Kind == KindSegmentLitter }

// Size is what the objects take up, in bytes.
func (i *Item) Size() int64 {
	var n int64
	for _, o := range i.Objects {
		n += o.Size
	}
	return n
}

// Plan is what becomes of everything in one target.
type Plan struct {
	Target   string
	Location string // of the bucket
	Cluster  string
	Made     time.Time // the time that decided, UTC
	Items    []Item    // snapshots and litter by ID, then segments by timeline and revision, then uploads
	// Foreign are the first of the keys below snapshots/ and archive/ that are not drd's, ForeignCount is how many there are. They
	// stay.
	Foreign      []string
	ForeignCount int
	// Notes are what could not be found out, and changes nothing else.
	Notes []string

	repo *repo.Repository
}

// Target is one place to prune.
type Target struct {
	Name string
	Repo *repo.Repository
}

// Make looks at the target and decides. It changes nothing. now is this machine's clock.
func Make(ctx context.Context, t Target, trust *seal.Trust, policy retention.Policy, now time.Time) (*Plan, error) {
	c, err := t.Repo.Catalogue(ctx, trust)
	if err != nil {
		return nil, fmt.Errorf("prune %s: %w", t.Name, err)
	}
	there, err := listAll(ctx, t.Repo)
	if err != nil {
		return nil, fmt.Errorf("prune %s: %w", t.Name, err)
	}
	archived, err := lookAtArchive(ctx, t.Repo, c, trust)
	if err != nil {
		return nil, fmt.Errorf("prune %s: %w", t.Name, err)
	}
	p := &Plan{
		Target: t.Name, Location: c.Location, Cluster: c.Cluster, Made: now.UTC(),
		Foreign: slices.Concat(c.Foreign, archived.foreign), ForeignCount: c.ForeignCount + archived.foreignCount, repo: t.Repo,
	}
	snapshots, segments := retention.Decide(c, archived.entries, policy, now)
	for _, d := range snapshots {
		p.Items = append(p.Items, newItem(t.Repo, d, there[d.Entry.ID.String()]))
	}
	p.addSegments(segments, archived)
	if archived.passedOver > 0 {
		p.Notes = append(p.Notes, fmt.Sprintf("%d timelines of the archive were not looked at, they are too many; nothing of them goes", archived.passedOver))
	}
	if err := p.addUploads(ctx, retention.Hold(c, policy, now)); err != nil {
		return nil, fmt.Errorf("prune %s: %w", t.Name, err)
	}
	return p, nil
}

// Deletions are the items that are to go, oldest first: a prune that is interrupted has spared the newer ones.
func (p *Plan) Deletions() []*Item {
	var items []*Item
	for i := range p.Items {
		if p.Items[i].Fate == retention.Delete {
			items = append(items, &p.Items[i])
		}
	}
	return items
}

// listAll lists the cluster's objects by the directory below snapshots/ in which they lie, foreign ones included.
func listAll(ctx context.Context, r *repo.Repository) (map[string][]storage.Object, error) {
	there := make(map[string][]storage.Object)
	for o, err := range r.Bucket().List(ctx, r.Prefix()) {
		if err != nil {
			return nil, fmt.Errorf("list snapshots of %s in %s: %w", r.Cluster(), r.Bucket().Location(), err)
		}
		dir, _, _ := strings.Cut(strings.TrimPrefix(o.Key, r.Prefix()), "/")
		there[dir] = append(there[dir], o)
	}
	return there, nil
}

// newItem joins a decision with the objects that it is about. An object that is not the snapshot's own keeps all of them:
// whoever put it there meant something by it, and a person has to find out what.
func newItem(r *repo.Repository, d retention.Decision, there []storage.Object) Item {
	item := Item{Kind: KindSnapshot, ID: d.Entry.ID, State: d.Entry.State, Fate: d.Fate, Reasons: d.Reasons, digest: d.Entry.Digest}
	if d.Entry.State == repo.StateIncomplete {
		item.Kind = KindLitter
	}
	for _, o := range there {
		_, name, known := r.ParseKey(o.Key)
		switch {
		case item.Kind == KindLitter && o.Key == r.ManifestKey(item.ID):
			item.keep("upload in progress: its manifest came just now")
		case !known, item.Kind == KindSnapshot && isPayload(name) && o.Key != d.Entry.Payload.Key:
			item.keep(fmt.Sprintf("holds an object that is not its own: %q", o.Key))
		default:
			item.Objects = append(item.Objects, o)
		}
	}
	slices.SortStableFunc(item.Objects, func(a, b storage.Object) int { return cmp.Compare(turn(r, item.ID, a.Key), turn(r, item.ID, b.Key)) })
	return item
}

func (i *Item) keep(reason string) {
	if i.Fate == retention.Delete {
		i.Fate, i.Reasons = retention.Keep, []string{reason}
	}
}

// turn is when an object of a snapshot is deleted: the reverse of the order in which it was written.
func turn(r *repo.Repository, id repo.ID, key string) int {
	switch key {
	case r.ManifestKey(id):
		return 0
	case r.SignatureKey(id):
		return 1
	}
	return 2
}

// isPayload tells the name of a payload from those of the manifest and its signature.
func isPayload(name string) bool { return strings.HasPrefix(name, "snapshot.db.") }
