package repo

import (
	"cmp"
	"context"
	"encoding/json"
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

// maxSegmentsRead bounds how many commit records one look reads: those of a day with one every five seconds, and half a day to
// spare. Merging keeps the number far below.
const maxSegmentsRead = 26_000

// plantedFor is how many records that are not good may stand before each that is wanted. Whoever can write to a bucket can give
// names of higher revisions to anything. All of mostPlanted take an hour to look through at 300 a second, and a person who must
// restore would rather wait.
const (
	plantedFor  = 100
	mostPlanted = 1_000_000
)

// SegmentQuery says which segments are looked at. The zero value is all of them.
type SegmentQuery struct {
	Timeline string // "": every one
	// After is a revision: segments that end at it or before are listed nowhere. 0: none are passed over. What follows a
	// snapshot is found with its revision less one, so that a silence right after it is found too.
	After int64
	// UpTo is a revision: segments that begin after it are listed nowhere. 0: none are passed over.
	UpTo int64
	// From is a revision, at most UpTo: segments that begin before it may be left out, and most of those before and after the
	// two are not even asked for. That spares the listing of all that was ever archived. 0: none are left out.
	From int64
	// Since is an instant of the store's clock: segments whose commit records came before it, or did not come, are counted and not
	// kept, so that the memory does not grow with all that was ever archived. Zero: all are kept.
	Since time.Time
	// Limit is how many segments are read at most, those of the highest revisions; 0: 26,000; below 0: none. What nobody trusted has signed does
	// not count: up to a hundred times as many are read, but no more than 1,000,000, until so many good ones are found.
	Limit int
}

// Segments is what one look at the archive found.
type Segments struct {
	Location string
	Cluster  string
	Entries  []SegmentEntry // by timeline, first, last and hash, whatever their state
	// Foreign are keys below archive/ that no segment's objects have, at most 100, quoted where they are not printable.
	Foreign      []string
	ForeignCount int // all of them
	Older        int // segments that Since passed over
}

// ListSegments lists segments and reads every commit record, in parallel. It never reads a payload. With trust nil signatures
// are not checked and intact segments are StateUnverified; with trust, a manifest is decoded only after its signature was
// found good. A broken segment is that segment's problem; only a failing listing, or the end of ctx, is an error.
func (r *Repository) ListSegments(ctx context.Context, q SegmentQuery, trust *seal.Trust) (*Segments, error) {
	if q.Timeline != "" && !timelinePattern.MatchString(q.Timeline) {
		return nil, fmt.Errorf("list segments: %.40q is not a timeline", q.Timeline)
	}
	if q.Limit == 0 {
		q.Limit = maxSegmentsRead
	}
	all := &Segments{Location: r.bucket.Location(), Cluster: r.cluster}
	found, err := r.findSegments(ctx, q, all)
	if err != nil {
		return nil, fmt.Errorf("list segments of %s in %s: %w", r.cluster, all.Location, err)
	}
	if err := r.judgeSegments(ctx, found, q.Limit, trust); err != nil {
		return nil, fmt.Errorf("read segments of %s in %s: %w", r.cluster, all.Location, err)
	}
	for _, o := range found {
		all.add(o)
	}
	return all, nil
}

// segmentObjects are what was listed under one segment's name.
type segmentObjects struct {
	SegmentEntry
	payloads []storage.Object
}

// add takes over an entry and names the payloads that are not its own.
func (s *Segments) add(o *segmentObjects) {
	s.Entries = append(s.Entries, o.SegmentEntry)
	for _, p := range o.payloads {
		if p.Key != o.Payload.Key {
			s.addForeign(p.Key)
		}
	}
}

// findSegments groups the keys by segment, in the order of the listing, which is that of the entries.
func (r *Repository) findSegments(ctx context.Context, q SegmentQuery, all *Segments) ([]*segmentObjects, error) {
	var found []*segmentObjects
	for _, prefix := range r.segmentPrefixes(q) {
		parts, err := (&sweep[*foundSegments]{
			bucket: r.bucket, prefix: prefix, ruler: r.revisions(q.Timeline),
			begin: func() *foundSegments { return &foundSegments{query: q} }, add: r.groupSegments,
		}).run(ctx)
		if err != nil {
			return nil, err
		}
		for _, p := range parts {
			p.since()
			found = append(found, p.found...)
			all.Older += p.rest.Older
			all.ForeignCount += p.rest.ForeignCount
			all.Foreign = append(all.Foreign, p.rest.Foreign[:min(len(p.rest.Foreign), maxForeign-len(all.Foreign))]...)
		}
	}
	return found, nil
}

// foundSegments is what a stretch of the listing found.
type foundSegments struct {
	query SegmentQuery
	found []*segmentObjects
	rest  Segments // what is not kept
}

// groupSegments adds an object to those of its segment, which come one after the other.
func (r *Repository) groupSegments(f *foundSegments, o storage.Object) {
	name, record, ok := r.ParseSegmentKey(o.Key)
	if !ok {
		f.rest.addForeign(o.Key)
		return
	}
	if q := &f.query; q.After > 0 && name.Last <= q.After || q.UpTo > 0 && name.First > q.UpTo {
		return
	}
	if n := len(f.found); n == 0 || f.found[n-1].Name != name {
		f.since()
		f.found = append(f.found, &segmentObjects{SegmentEntry: SegmentEntry{Name: name}})
	}
	of := f.found[len(f.found)-1]
	if record {
		of.Record = o
		return
	}
	of.payloads = append(of.payloads, o)
	of.Payload = of.payloads[0] // until a manifest names its own
}

// since lets go the segment that was listed last where it is older.
func (f *foundSegments) since() {
	at := f.query.Since
	if n := len(f.found); n > 0 && !at.IsZero() && !f.found[n-1].Record.Modified.After(at) {
		f.rest.Older++
		f.found = f.found[:n-1]
	}
}

// revisions numbers the keys of a timeline's segments by their first revisions, with which they begin. Those of several timelines have
// no common order.
func (r *Repository) revisions(timeline string) ruler {
	if timeline == "" {
		return ruler{}
	}
	prefix := r.SegmentsPrefix(timeline)
	return ruler{
		at: func(key string) (int64, bool) {
			rest, _ := strings.CutPrefix(key, prefix)
			if len(rest) < nameDigits {
				return 0, false
			}
			first, err := strconv.ParseInt(rest[:nameDigits], 10, 64)
			return first, err == nil && first > 0
		},
		key: func(x int64) string { return fmt.Sprintf("%s%0*d", prefix, nameDigits, x) },
	}
}

const (
	nameDigits = 19 // of a revision in a name
	// mostPrefixes bounds how many listings take the place of one. Each costs a request at least.
	mostPrefixes = 3
)

// segmentPrefixes are the beginnings of the keys that a query is about. Keys begin with the first revision, in decimal, so
// a range of revisions has few common beginnings.
func (r *Repository) segmentPrefixes(q SegmentQuery) []string {
	all := r.SegmentsPrefix(q.Timeline)
	if q.Timeline == "" || q.From <= 0 || q.UpTo < q.From {
		return []string{all}
	}
	from, to, digits := q.From, q.UpTo, nameDigits
	for to-from >= mostPrefixes {
		from, to, digits = from/10, to/10, digits-1
	}
	var prefixes []string
	for n := from; n <= to; n++ {
		prefixes = append(prefixes, fmt.Sprintf("%s%0*d", all, digits, n))
	}
	return prefixes
}

func (s *Segments) addForeign(key string) {
	s.ForeignCount++
	if len(s.Foreign) >= maxForeign {
		return
	}
	if !isPrintable(key) {
		key = strconv.Quote(key)
	}
	s.Foreign = append(s.Foreign, key)
}

// judgeSegments reads the records of the highest revisions. Of those that end with the same one, a quiet cluster has a silence a minute:
// silences come first, and the one that was stored last, which most likely says the most.
func (r *Repository) judgeSegments(ctx context.Context, found []*segmentObjects, limit int, trust *seal.Trust) error {
	newest := slices.Clone(found)
	slices.SortStableFunc(newest, func(a, b *segmentObjects) int {
		return cmp.Or(cmp.Compare(b.Name.Last, a.Name.Last), cmp.Compare(b.Name.First, a.Name.First), b.Record.Modified.Compare(a.Record.Modified))
	})
	var recorded []*segmentObjects
	for _, e := range newest {
		if e.Record.Key == "" {
			e.fail(StateIncomplete, errors.New("no commit record: an upload in progress, or one that was given up"))
			continue
		}
		recorded = append(recorded, e)
	}
	anew := AlwaysRead
	for most := max(limit, min(limit*plantedFor, mostPlanted)); limit > 0 && most > 0 && len(recorded) > 0; {
		some := recorded[:min(limit, most, len(recorded))]
		if err := r.judgeAll(ctx, some, anew, trust); err != nil {
			return err
		}
		recorded, most, anew = recorded[len(some):], most-len(some), 0
		for _, e := range some {
			if e.Segment != nil || e.State == StateUnreadable {
				limit--
			}
		}
	}
	for _, e := range recorded {
		e.State = StateUnread
	}
	return nil
}

// judgeAll judges entries, so many of which are read from the store whatever a bucket remembers.
func (r *Repository) judgeAll(ctx context.Context, entries []*segmentObjects, anew int, trust *seal.Trust) error {
	var group errgroup.Group
	group.SetLimit(max(1, r.bucket.Properties().Parallel))
	for i, e := range entries {
		ctx := ctx
		if i < anew {
			ctx = storage.Anew(ctx)
		}
		group.Go(func() error {
			r.judgeSegment(ctx, e, trust)
			return ctx.Err()
		})
	}
	return group.Wait()
}

// fail records a problem. The first one names the state.
func (e *SegmentEntry) fail(state State, problem error) {
	if e.State == "" {
		e.State, e.Problem = state, Describe(problem)
		return
	}
	e.Problem = Describe(e.Problem, problem)
}

// Usable reports whether a restore may use the segment: record and payload are there and the signature is good. With
// insecure, signatures do not count; that finds only what was looked at without trust.
func (e *SegmentEntry) Usable(insecure bool) bool {
	return e.Segment != nil && (e.State == StateOK || insecure && e.State == StateUnverified)
}

// judgeSegment fills the entry. The first problem found names the state.
func (r *Repository) judgeSegment(ctx context.Context, e *segmentObjects, trust *seal.Trust) {
	record, err := r.readSmall(ctx, e.Record.Key, maxSegment+maxSignature)
	if err != nil {
		e.fail(notRead(err, StateBadManifest), fmt.Errorf("commit record: %w", err))
		return
	}
	manifest, signature := SplitSegmentRecord(record)
	e.Digest = Digest(manifest)
	if trust != nil && !e.judgeSignature(manifest, signature, trust, r.known()) {
		return
	}
	if !e.judgeManifest(manifest, r) {
		return
	}
	e.judgePayload(r.SegmentPayloadKey(e.Segment))
	switch {
	case e.State != "":
	case trust == nil:
		e.State = StateUnverified
	default:
		e.State = StateOK
	}
}

// judgeSignature reports whether somebody trusted signed the manifest. A key counts as valid when it was at the time that the
// manifest gives as its end: nothing else of it is looked at before.
func (e *SegmentEntry) judgeSignature(manifest, signature []byte, trust *seal.Trust, known seal.Known) bool {
	var probe struct {
		To time.Time `json:"to"`
	}
	_ = json.Unmarshal(manifest, &probe) // what cannot be read has no time, and is judged when the signature was
	signer, err := trust.VerifyKnown(known, manifest, signature, probe.To)
	switch {
	case err == nil:
		e.Signer = signer
		return true
	case errors.Is(err, seal.ErrUnsigned):
		e.fail(StateUnsigned, errors.New("segment is not signed"))
	case errors.Is(err, seal.ErrUnknownSigner):
		e.fail(StateUnknownSigner, err)
	case errors.Is(err, seal.ErrExpiredSigner):
		e.fail(StateExpiredSigner, err)
	default:
		e.fail(StateBadSignature, err)
	}
	return false
}

// judgeManifest decodes the manifest and reports whether it belongs where it lies.
func (e *SegmentEntry) judgeManifest(manifest []byte, r *Repository) bool {
	s, err := decodeKnown(r.known(), manifest, DecodeSegment, decodeSegment)
	switch {
	case errors.Is(err, ErrNewerFormat):
		e.fail(StateNewerFormat, err)
	case err != nil:
		e.fail(StateBadManifest, err)
	case s.Cluster != r.cluster:
		e.fail(StateBadManifest, fmt.Errorf("segment is of cluster %s", s.Cluster))
	case s.Name() != e.Name:
		e.fail(StateBadManifest, fmt.Errorf("segment is %s of timeline %s", s.Name(), s.Timeline))
	default:
		e.Segment = s
		return true
	}
	return false
}

func (e *segmentObjects) judgePayload(key string) {
	e.Payload = storage.Object{}
	for _, p := range e.payloads {
		if p.Key == key {
			e.Payload = p
		}
	}
	switch {
	case e.Payload.Key == "":
		e.fail(StatePayloadMissing, fmt.Errorf("payload %s is missing", e.Segment.Object.Name))
	case e.Payload.Size != e.Segment.Object.Size:
		e.fail(StatePayloadSize, fmt.Errorf("payload has %d bytes, recorded are %d", e.Payload.Size, e.Segment.Object.Size))
	}
}
