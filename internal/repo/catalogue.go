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

// maxForeign bounds how many foreign keys a Catalogue names; ForeignCount counts all of them.
const maxForeign = 100

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
// are StateUnverified. A broken entry is that entry's problem; only a failing listing, or the end
// of ctx, is an error.
func (r *Repository) Catalogue(ctx context.Context, trust *seal.Trust) (*Catalogue, error) {
	c := &Catalogue{Location: r.bucket.Location(), Cluster: r.cluster, Read: time.Now().UTC()}
	found, err := r.list(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("list snapshots of %s in %s: %w", r.cluster, c.Location, err)
	}
	var group errgroup.Group
	group.SetLimit(max(1, r.bucket.Properties().Parallel))
	for _, o := range found {
		group.Go(func() error {
			r.judge(ctx, o, trust)
			return ctx.Err()
		})
	}
	if err := group.Wait(); err != nil {
		return nil, fmt.Errorf("read manifests of %s in %s: %w", r.cluster, c.Location, err)
	}
	for _, o := range found {
		c.Entries = append(c.Entries, o.entry)
		for _, extra := range o.payloads {
			if extra.Key != o.entry.Payload.Key {
				c.addForeign(extra.Key)
			}
		}
	}
	slices.SortFunc(c.Entries, func(a, b Entry) int { return a.ID.Compare(b.ID) })
	return c, nil
}

// objects are what was listed below one snapshot's key prefix.
type objects struct {
	entry               Entry
	manifest, signature storage.Object // zero when not there
	payloads            []storage.Object
}

// list groups the keys by snapshot; what belongs to none is foreign.
func (r *Repository) list(ctx context.Context, c *Catalogue) ([]*objects, error) {
	var found []*objects
	byID := make(map[string]*objects)
	prefix := r.snapshots()
	for o, err := range r.bucket.List(ctx, prefix) {
		if err != nil {
			return nil, err
		}
		id, name, ok := parseKey(strings.TrimPrefix(o.Key, prefix))
		if !ok {
			c.addForeign(o.Key)
			continue
		}
		of := byID[id.String()]
		if of == nil {
			of = &objects{entry: Entry{ID: id}}
			byID[id.String()] = of
			found = append(found, of)
		}
		of.add(name, o)
	}
	return found, nil
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
	}
	if obj.Modified.After(o.entry.Modified) {
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

// judge fills the entry. It looks at the gravest things first, so that the first problem found
// names the state.
func (r *Repository) judge(ctx context.Context, o *objects, trust *seal.Trust) {
	e := &o.entry
	if o.manifest.Key == "" {
		if len(o.payloads) > 0 {
			e.Payload = o.payloads[0]
		}
		e.fail(StateIncomplete, errors.New("no manifest: an upload in progress, or one that was given up"))
		return
	}
	e.Modified = o.manifest.Modified
	b, err := r.readSmall(ctx, o.manifest.Key, maxManifest)
	if err != nil {
		e.fail(unread(err, StateBadManifest), fmt.Errorf("manifest: %w", err))
		return
	}
	if !e.judgeManifest(b, r.cluster) {
		return
	}
	e.Payload = o.payload(r.PayloadKey(e.ID, e.Manifest.Object.Name))
	if trust != nil {
		r.judgeSignature(ctx, o, b, trust)
	}
	e.judgePayload()
	switch {
	case e.State != "":
	case trust == nil:
		e.State = StateUnverified
	default:
		e.State = StateOK
	}
}

func (r *Repository) judgeSignature(ctx context.Context, o *objects, b []byte, trust *seal.Trust) {
	if o.signature.Key == "" {
		o.entry.failUnsigned()
		return
	}
	signature, err := r.readSmall(ctx, o.signature.Key, maxSignature)
	if err != nil {
		o.entry.fail(unread(err, StateBadSignature), fmt.Errorf("signature: %w", err))
		return
	}
	o.entry.judgeSignature(b, signature, trust)
}

// unread tells an object that is wrong from one that could not be read.
func unread(err error, wrong State) State {
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
