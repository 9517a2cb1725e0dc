package prune

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/retention"
	"github.com/drd-project/drd/internal/seal"
	"github.com/drd-project/drd/internal/storage"
)

const (
	// segmentsRead is how many commit records of a timeline are read at most, of the newest segments and once more of the oldest: what
	// is known of one takes some 1.5 KB of memory.
	segmentsRead = 50_000
	// mostTimelines is how many timelines are looked at, beside those of snapshots. A restore makes one. Anybody who can write to the
	// target can make up any number, and each costs a request.
	mostTimelines = 200
	// maxForeign is how many keys that are not drd's are named.
	maxForeign = 100
	// mostSegments is how many segments one prune deletes: some ten minutes at 20 ms for each request.
	mostSegments = 50_000
	// mostMerged is how much of merged segments one prune reads, in bytes, before it deletes what they take the place of. One of them
	// is always read.
	mostMerged = 4 << 30
	// mergedTimeout bounds the reading of one merged segment, which has 64 MiB at most.
	mergedTimeout = 10 * time.Minute
)

const later = "goes with a later prune: one has its bounds"

// archived is the archive of a target as a look found it.
type archived struct {
	entries []repo.SegmentEntry
	// payloads are those of segments that have more than one.
	payloads     map[repo.SegmentName][]storage.Object
	foreign      []string // the first of them
	foreignCount int
	passedOver   int // timelines that were not looked at
}

// listedLine is what the listing says of a timeline.
type listedLine struct {
	name   string
	firsts []int64   // the first revisions of its segments
	newest time.Time // when its newest object came
}

// lookAtArchive lists all segments, and reads the commit records of the timelines that are looked at: those of the snapshots, and
// those to which something came last.
func lookAtArchive(ctx context.Context, r *repo.Repository, c *repo.Catalogue, trust *seal.Trust) (*archived, error) {
	a := &archived{payloads: make(map[repo.SegmentName][]storage.Object)}
	lines, err := a.list(ctx, r)
	if err != nil {
		return nil, err
	}
	for _, l := range a.choose(lines, c) {
		if err := a.read(ctx, r, trust, l.name, l.firsts); err != nil {
			return nil, err
		}
	}
	return a, nil
}

// list finds the timelines, and keeps no object but what it names.
func (a *archived) list(ctx context.Context, r *repo.Repository) ([]*listedLine, error) {
	var lines []*listedLine
	var last repo.SegmentName
	var payloads []storage.Object // of the last segment, which are listed one after the other
	flush := func() {
		if len(payloads) > 1 {
			a.payloads[last] = payloads
		}
		payloads = nil
	}
	for o, err := range r.Bucket().List(ctx, r.SegmentsPrefix("")) {
		if err != nil {
			return nil, fmt.Errorf("list segments of %s in %s: %w", r.Cluster(), r.Bucket().Location(), err)
		}
		name, record, known := r.ParseSegmentKey(o.Key)
		if !known {
			a.addForeign(o.Key)
			continue
		}
		if n := len(lines); n == 0 || lines[n-1].name != name.Timeline {
			lines = append(lines, &listedLine{name: name.Timeline})
		}
		l := lines[len(lines)-1]
		if o.Modified.After(l.newest) {
			l.newest = o.Modified
		}
		if name != last {
			flush()
			l.firsts, last = append(l.firsts, name.First), name
		}
		if !record {
			payloads = append(payloads, o)
		}
	}
	flush()
	return lines, nil
}

// choose returns the timelines that are looked at, by name.
func (a *archived) choose(lines []*listedLine, c *repo.Catalogue) []*listedLine {
	needed := make(map[string]bool)
	for i := range c.Entries {
		if e := &c.Entries[i]; e.Restorable(false) {
			needed[e.Manifest.Timeline] = true
		}
	}
	var chosen, others []*listedLine
	for _, l := range lines {
		if needed[l.name] {
			chosen = append(chosen, l)
		} else {
			others = append(others, l)
		}
	}
	slices.SortStableFunc(others, func(a, b *listedLine) int { return b.newest.Compare(a.newest) })
	looked := others[:min(len(others), mostTimelines)]
	a.passedOver = len(others) - len(looked)
	chosen = append(chosen, looked...)
	slices.SortFunc(chosen, func(a, b *listedLine) int { return cmp.Compare(a.name, b.name) })
	return chosen
}

// read reads the commit records of a timeline. Where they are too many, those in the middle are left unread: the newest say what must
// stay, and the oldest are the ones to go.
func (a *archived) read(ctx context.Context, r *repo.Repository, trust *seal.Trust, timeline string, firsts []int64) error {
	found, err := r.ListSegments(ctx, repo.SegmentQuery{Timeline: timeline, Limit: segmentsRead}, trust)
	if err != nil {
		return err
	}
	if len(firsts) > segmentsRead {
		slices.Sort(firsts)
		oldest, err := r.ListSegments(ctx, repo.SegmentQuery{Timeline: timeline, UpTo: firsts[segmentsRead-1], Limit: segmentsRead}, trust)
		if err != nil {
			return err
		}
		fillIn(found.Entries, oldest.Entries)
	}
	a.entries = append(a.entries, found.Entries...)
	return nil
}

// fillIn puts what was read in the place of what was not.
func fillIn(entries, read []repo.SegmentEntry) {
	known := make(map[repo.SegmentName]repo.SegmentEntry, len(read))
	for _, e := range read {
		known[e.Name] = e
	}
	for i := range entries {
		if e, ok := known[entries[i].Name]; ok && entries[i].State == repo.StateUnread {
			entries[i] = e
		}
	}
}

func (a *archived) addForeign(key string) {
	if a.foreignCount++; len(a.foreign) < maxForeign {
		a.foreign = append(a.foreign, quoted(key))
	}
}

// quoted is a key that somebody chose, safe to show.
func quoted(key string) string {
	if q := strconv.Quote(key); q[1:len(q)-1] != key {
		return q
	}
	return key
}

// addSegments joins the decisions with the objects that they are about.
func (p *Plan) addSegments(decisions []retention.SegmentDecision, a *archived) {
	deleted, toRead := 0, int64(0)
	counted := make(map[repo.SegmentName]bool)
	for _, d := range decisions {
		item := newSegmentItem(p.repo, d, a.objects(d.Entry))
		if item.Fate == retention.Delete {
			if d.By != nil && !counted[d.By.Name] && (toRead == 0 || toRead+d.By.Payload.Size <= mostMerged) {
				counted[d.By.Name] = true
				toRead += d.By.Payload.Size
			}
			if deleted++; deleted > mostSegments || d.By != nil && !counted[d.By.Name] {
				item.keep(later)
			}
		}
		p.Items = append(p.Items, item)
	}
}

// objects are what lies under the name of a segment. Of what was not read they are not kept: there may be very many, and they stay.
func (a *archived) objects(e *repo.SegmentEntry) []storage.Object {
	if e.State == repo.StateUnread {
		return nil
	}
	var all []storage.Object
	for _, o := range append([]storage.Object{e.Record, e.Payload}, a.payloads[e.Name]...) {
		if o.Key != "" && !slices.ContainsFunc(all, func(other storage.Object) bool { return other.Key == o.Key }) {
			all = append(all, o)
		}
	}
	return all
}

// newSegmentItem is newItem for a segment.
func newSegmentItem(r *repo.Repository, d retention.SegmentDecision, there []storage.Object) Item {
	e := d.Entry
	item := Item{Kind: KindSegment, Segment: e.Name, State: e.State, Fate: d.Fate, Reasons: []string{d.Reason}, digest: e.Digest, by: d.By}
	if e.State == repo.StateIncomplete {
		item.Kind = KindSegmentLitter
	}
	record := r.SegmentRecordKey(e.Name)
	for _, o := range there {
		if item.Kind == KindSegment && o.Key != record && o.Key != e.Payload.Key {
			item.keep(fmt.Sprintf("beside it lies an object that is not its own: %q", o.Key))
			continue
		}
		item.Objects = append(item.Objects, o)
	}
	slices.SortStableFunc(item.Objects, func(a, b storage.Object) int { return cmp.Compare(after(a.Key == record), after(b.Key == record)) })
	return item
}

// after sorts the commit record before the payload.
func after(record bool) int {
	if record {
		return 0
	}
	return 1
}

// readMerged reads the merged segments that take the place of some items, each once and one after the other.
func (r *run) readMerged(ctx context.Context, items []*Item) {
	for _, item := range items {
		if item.by == nil || r.stop != nil {
			continue
		}
		if _, done := r.read[item.by.Name]; done {
			continue
		}
		if ctx.Err() != nil {
			r.stop = context.Cause(ctx)
			return
		}
		err := r.plan.readWhole(ctx, item.by)
		r.read[item.by.Name] = err
		if err == nil || errors.Is(err, errChanged) {
			continue
		}
		if r.failures++; r.failures == maxFailures {
			r.stop = err
		}
	}
}

// readWhole is nil when the segment is there as it was when the plan was made, and its payload has the SHA-256 that was signed.
func (p *Plan) readWhole(ctx context.Context, e *repo.SegmentEntry) error {
	ctx, cancel := context.WithTimeout(ctx, mergedTimeout)
	defer cancel()
	digest, err := p.recordDigest(ctx, e.Name)
	if err == nil && digest != e.Digest {
		err = errChanged
	}
	if err == nil {
		err = p.repo.CheckSegmentPayload(ctx, e.Segment)
	}
	if errors.Is(err, storage.ErrNotExist) {
		err = errors.Join(errChanged, err)
	}
	if err != nil {
		return fmt.Errorf("segment %s, which takes its place, could not be read: %w", e.Name, err)
	}
	return nil
}

// recordDigest is the hex SHA-256 of the manifest in a commit record.
func (p *Plan) recordDigest(ctx context.Context, n repo.SegmentName) (string, error) {
	record, err := p.small(ctx, p.repo.SegmentRecordKey(n))
	if err != nil {
		return "", err
	}
	manifest, _ := repo.SplitSegmentRecord(record)
	sum := sha256.Sum256(manifest)
	return hex.EncodeToString(sum[:]), nil
}

// unread is why the merged segment that takes the place of an item is not proved to be there; nil: it is, or there is none.
func (r *run) unread(item *Item) error {
	if item.by == nil {
		return nil
	}
	err, done := r.read[item.by.Name]
	if !done {
		return fmt.Errorf("segment %s, which takes its place, was not read", item.by.Name)
	}
	return err
}

func unreadOutcome(err error) Outcome {
	if errors.Is(err, errChanged) {
		return Changed
	}
	return Failed
}

// deleteSegment deletes a segment when its commit record is the one that was decided on: a GET and two DELETE.
func (p *Plan) deleteSegment(ctx context.Context, item *Item) (Outcome, error) {
	digest, err := p.recordDigest(ctx, item.Segment)
	switch {
	case errors.Is(err, storage.ErrNotExist):
		return Gone, nil // the payload too, or it is litter in a day
	case err != nil:
		return Failed, fmt.Errorf("look at segment %s again: %w", item.Segment, err)
	case digest != item.digest:
		return Changed, fmt.Errorf("its commit record has SHA-256 %s, was %s: %w", digest, item.digest, errChanged)
	}
	return p.deleteObjects(ctx, item)
}

// deleteSegmentLitter deletes payloads when no commit record came for them: a HEAD, and a DELETE for each.
func (p *Plan) deleteSegmentLitter(ctx context.Context, item *Item) (Outcome, error) {
	_, err := p.repo.Bucket().Stat(ctx, p.repo.SegmentRecordKey(item.Segment))
	switch {
	case err == nil:
		return Changed, fmt.Errorf("its commit record came: %w", errChanged)
	case !errors.Is(err, storage.ErrNotExist):
		return Failed, fmt.Errorf("look at segment %s again: %w", item.Segment, err)
	}
	return p.deleteObjects(ctx, item)
}

func (p *Plan) deleteObjects(ctx context.Context, item *Item) (Outcome, error) {
	for _, o := range item.Objects {
		if err := p.repo.Bucket().Delete(ctx, o.Key); err != nil && !errors.Is(err, storage.ErrNotExist) {
			return judge(err)
		}
	}
	return Deleted, nil
}
