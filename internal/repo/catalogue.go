package repo

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/drd-project/drd/internal/seal"
	"github.com/drd-project/drd/internal/storage"
)

const (
	// maxForeign bounds how many foreign keys a Catalogue names; ForeignCount counts all of them.
	maxForeign = 100
	// maxRead bounds how many manifests a Catalogue reads: those of two years of a snapshot every hour. Without a bound,
	// whoever may write to the bucket could keep everybody reading for days.
	maxRead = 20_000
	// AlwaysRead is how many of the newest snapshots, and of the segments of the highest revisions, are read from the store in each look,
	// whatever a bucket remembers: a restore would take these, and what has rotted under an old date must not count for a day.
	AlwaysRead = 8
)

// Catalogue is what one look at a repository found.
type Catalogue struct {
	Location string    // of the bucket
	Cluster  string    // whose snapshots these are
	Read     time.Time // when the look began, by this machine's clock, UTC; zero: not known
	Entries  []Entry   // ascending by ID, whatever their state
	// Foreign are keys below snapshots/ that no snapshot's objects have, at most 100 of them,
	// quoted where they are not printable. drd leaves them alone.
	Foreign      []string
	ForeignCount int // all of them
}

// Catalogue lists the snapshots and reads every manifest and, with trust, every signature, in
// parallel. It never reads a payload. With trust nil signatures are not checked and intact entries
// are StateUnverified. With trust, a manifest is decoded only after its signature was found good, and nothing of one that is
// refused is kept but its digest and its place in the history. A broken entry is that entry's problem; only a failing
// listing, or the end of ctx, is an error.
//
// Of more than 20,000 snapshots the newest are read, as Recent does it.
func (r *Repository) Catalogue(ctx context.Context, trust *seal.Trust) (*Catalogue, error) {
	return r.Recent(ctx, trust, maxRead)
}

// Recent is a Catalogue for which only the newest n manifests are read; 0 reads none. Every snapshot is listed; those
// with a manifest that was not read are StateUnread. Newest is by ID; what is dated in the future comes last, so that
// a wrong clock, or somebody's hand, cannot keep the true ones from being read.
func (r *Repository) Recent(ctx context.Context, trust *seal.Trust, n int) (*Catalogue, error) {
	c := &Catalogue{Location: r.bucket.Location(), Cluster: r.cluster, Read: time.Now().UTC()}
	found, err := r.list(ctx, r.snapshots(), c)
	if err != nil {
		return nil, fmt.Errorf("list snapshots of %s in %s: %w", r.cluster, c.Location, err)
	}
	if err := r.judgeNewest(ctx, found, c.Read, trust, n); err != nil {
		return nil, fmt.Errorf("read manifests of %s in %s: %w", r.cluster, c.Location, err)
	}
	c.add(found)
	return c, nil
}

// Look is the entry of one snapshot, judged as Catalogue does it, whatever else is in the repository. Where nothing is
// listed for the ID it returns an error wrapping ErrNothing.
func (r *Repository) Look(ctx context.Context, id ID, trust *seal.Trust) (*Entry, error) {
	found, err := r.list(ctx, r.key(id, ""), &Catalogue{})
	if err != nil {
		return nil, fmt.Errorf("list snapshot %s of %s in %s: %w", id, r.cluster, r.bucket.Location(), err)
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("%w: no snapshot %s of cluster %s in %s", ErrNothing, id, r.cluster, r.bucket.Location())
	}
	if err := r.judgeNewest(ctx, found, time.Time{}, trust, 1); err != nil {
		return nil, fmt.Errorf("read manifest of %s of %s in %s: %w", id, r.cluster, r.bucket.Location(), err)
	}
	return &found[0].entry, nil
}

// judgeNewest fills in all entries and sorts them. It reads the newest n manifests only.
func (r *Repository) judgeNewest(ctx context.Context, found []*objects, now time.Time, trust *seal.Trust, n int) error {
	slices.SortFunc(found, func(a, b *objects) int {
		if future := a.entry.future(now); future != b.entry.future(now) {
			if future {
				return -1 // first among the old ones
			}
			return 1
		}
		return a.entry.ID.Compare(b.entry.ID)
	})
	var group errgroup.Group
	group.SetLimit(max(1, r.bucket.Properties().Parallel))
	anew := AlwaysRead
	for _, o := range slices.Backward(found) {
		ctx := ctx
		if o.committed() {
			if n--; n < 0 {
				o.entry.State = StateUnread
				continue
			}
			if anew--; anew >= 0 {
				ctx = storage.Anew(ctx)
			}
		}
		group.Go(func() error {
			r.judge(ctx, o, trust)
			return ctx.Err()
		})
	}
	return group.Wait()
}

// add takes over the entries, in order, and names the payloads that are not theirs.
func (c *Catalogue) add(found []*objects) {
	for _, o := range found {
		c.Entries = append(c.Entries, o.entry)
		for _, extra := range o.payloads {
			if extra.Key != o.entry.Payload.Key {
				c.addForeign(extra.Key)
			}
		}
	}
	slices.SortFunc(c.Entries, func(a, b Entry) int { return a.ID.Compare(b.ID) })
}

// objects are what was listed below one snapshot's key prefix.
type objects struct {
	entry               Entry
	manifest, signature storage.Object // zero when not there
	payloads            []storage.Object
}

// committed reports whether there is a manifest to be read.
func (o *objects) committed() bool { return o.manifest.Key != "" }

// listed is what a stretch of the listing found: the snapshots in the order of their keys, and what is none.
type listed struct {
	found   []*objects
	foreign Catalogue
}

// list groups the keys below prefix by snapshot; what belongs to none is foreign.
func (r *Repository) list(ctx context.Context, prefix string, c *Catalogue) ([]*objects, error) {
	all := sweep[*listed]{bucket: r.bucket, prefix: prefix, ruler: r.dates(), begin: func() *listed { return new(listed) }, add: r.group}
	parts, err := all.run(ctx)
	if err != nil {
		return nil, err
	}
	var found []*objects
	for _, p := range parts {
		found = append(found, p.found...)
		c.ForeignCount += p.foreign.ForeignCount
		c.Foreign = append(c.Foreign, p.foreign.Foreign[:min(len(p.foreign.Foreign), maxForeign-len(c.Foreign))]...)
	}
	return found, nil
}

// group adds an object to those of its snapshot, which come one after the other.
func (r *Repository) group(l *listed, o storage.Object) {
	id, name, ok := r.ParseKey(o.Key)
	if !ok {
		l.foreign.addForeign(o.Key)
		return
	}
	if n := len(l.found); n == 0 || l.found[n-1].entry.ID.Compare(id) != 0 {
		l.found = append(l.found, &objects{entry: Entry{ID: id}})
	}
	l.found[len(l.found)-1].add(name, o)
}

// dates numbers the keys of snapshots by the second in their IDs, with which these begin.
func (r *Repository) dates() ruler {
	return ruler{
		at: func(key string) (int64, bool) {
			rest, _ := strings.CutPrefix(key, r.snapshots())
			if len(rest) < len(idTime) {
				return 0, false
			}
			at, err := time.Parse(idTime, rest[:len(idTime)])
			return at.Unix(), err == nil
		},
		key: func(x int64) string {
			at := time.Unix(x, 0).UTC()
			if at.Year() < 0 || at.Year() > 9999 {
				return ""
			}
			return r.snapshots() + at.Format(idTime)
		},
	}
}

// parseKey splits what follows snapshots/ into a snapshot and the name of one of its objects.
func parseKey(key string) (id ID, name string, ok bool) {
	dir, name, ok := strings.Cut(key, "/")
	if !ok || (name != manifestName && name != signatureName && !payloadPattern.MatchString(name)) {
		return ID{}, "", false
	}
	id, err := ParseID(dir)
	return id, name, err == nil
}

func (o *objects) add(name string, obj storage.Object) {
	switch name {
	case manifestName:
		o.manifest = obj
	case signatureName:
		o.signature = obj
	default:
		o.payloads = append(o.payloads, obj)
		o.entry.Payload = o.payloads[0] // until a manifest names its own
	}
	if o.manifest.Key != "" {
		o.entry.Modified = o.manifest.Modified
	} else if obj.Modified.After(o.entry.Modified) {
		o.entry.Modified = obj.Modified
	}
}

func (c *Catalogue) addForeign(key string) {
	c.ForeignCount++
	if len(c.Foreign) >= maxForeign {
		return
	}
	if !isPrintable(key) {
		key = strconv.Quote(key)
	}
	c.Foreign = append(c.Foreign, key)
}

// judge fills the entry. The first problem found names the state.
func (r *Repository) judge(ctx context.Context, o *objects, trust *seal.Trust) {
	e := &o.entry
	if !o.committed() {
		e.fail(StateIncomplete, errors.New("no manifest: an upload in progress, or one that was given up"))
		return
	}
	b, err := r.readSmall(ctx, o.manifest.Key, maxManifest)
	if err != nil {
		e.fail(notRead(err, StateBadManifest), fmt.Errorf("manifest: %w", err))
		return
	}
	e.Digest = Digest(b)
	if trust != nil && !r.judgeSignature(ctx, o, b, trust) {
		e.keepClaim(b, r.cluster)
		if len(o.payloads) == 0 {
			e.fail(StatePayloadMissing, errors.New("payload is missing"))
		}
		return
	}
	if !e.judgeManifest(b, r.cluster, r.known()) {
		return
	}
	e.Payload = o.payload(r.PayloadKey(e.ID, e.Manifest.Object.Name))
	e.judgePayload()
	switch {
	case e.State != "":
	case trust == nil:
		e.State = StateUnverified
	default:
		e.State = StateOK
	}
}

// judgeSignature reports whether somebody trusted signed the bytes of the manifest.
func (r *Repository) judgeSignature(ctx context.Context, o *objects, b []byte, trust *seal.Trust) bool {
	if o.signature.Key == "" {
		o.entry.failUnsigned()
		return false
	}
	signature, err := r.readSmall(ctx, o.signature.Key, maxSignature)
	if err != nil {
		o.entry.fail(notRead(err, StateBadSignature), fmt.Errorf("signature: %w", err))
		return false
	}
	o.entry.judgeSignature(b, signature, trust, r.known())
	return o.entry.State == ""
}

// notRead tells an object that is wrong from one that could not be read.
func notRead(err error, wrong State) State {
	if errors.Is(err, errTooLarge) {
		return wrong
	}
	return StateUnreadable
}

func (o *objects) payload(key string) storage.Object {
	for _, p := range o.payloads {
		if p.Key == key {
			return p
		}
	}
	return storage.Object{}
}
