package prune

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/drd-project/drd/internal/archive"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/retention"
	"github.com/drd-project/drd/internal/seal"
	"github.com/drd-project/drd/internal/storage"
	"github.com/drd-project/drd/internal/storage/dir"
	"github.com/drd-project/drd/internal/storage/storagetest"
)

const timeline = "00000000000000a1"

// revisionAt is the revision that the cluster of these tests had: one more each minute.
func revisionAt(at time.Time) int64 { return 1 + at.Unix()/60 }

// segment stores one of what happened between two instants.
func (p *place) segment(from, to time.Duration) *repo.Segment {
	p.tb.Helper()
	return p.segmentBy(p.signer, from, to, nil)
}

func (p *place) segmentBy(by *seal.Signer, from, to time.Duration, merged *repo.Merged) *repo.Segment {
	p.tb.Helper()
	a, b := p.now.Add(-from), p.now.Add(-to)
	payload := fmt.Appendf(nil, "sealed segment from %s to %s %v", a, b, merged)
	signed, err := repo.SignSegment(segmentOf(a, b, payload, merged), by)
	if err != nil {
		p.tb.Fatal(err)
	}
	open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(payload)), nil }
	if err := p.repo.PutSegment(p.tb.Context(), signed, open); err != nil {
		p.tb.Fatal(err)
	}
	return signed.Segment
}

func segmentOf(a, b time.Time, payload []byte, merged *repo.Merged) *repo.Segment {
	sum := sha256.Sum256(payload)
	s := &repo.Segment{
		Kind: repo.SegmentKind, Format: repo.SegmentFormat, Cluster: cluster, EtcdClusterID: "cdf818194e3a8c32", Timeline: timeline,
		Member: repo.Member{ID: "a1", Name: "node-1"}, First: revisionAt(a) + 1, Last: revisionAt(b), Events: revisionAt(b) - revisionAt(a),
		From: a, To: b, CompactRevision: -1, LastRevisionSHA256: strings.Repeat("cd", 32), Plain: repo.SegmentPlain{SHA256: strings.Repeat("ab", 32), Size: 2048},
		Object: repo.Object{SHA256: hex.EncodeToString(sum[:]), Size: int64(len(payload)), Envelope: "age-v1", Recipients: []string{"SHA256:x"}},
		Merged: merged, Drd: repo.Build{Version: "test"},
	}
	s.Object.Name = s.Name().String() + ".zst.age"
	return s
}

// segments stores one after the other, of step each, up to an hour ago.
func (p *place) segments(step time.Duration, n int) []*repo.Segment {
	p.tb.Helper()
	var all []*repo.Segment
	for i := n; i > 0; i-- {
		all = append(all, p.segment(time.Hour+time.Duration(i)*step, time.Hour+time.Duration(i-1)*step))
	}
	return all
}

// merge stores what takes the place of segments that follow each other.
func (p *place) merge(of ...*repo.Segment) *repo.Segment {
	p.tb.Helper()
	m := &repo.Merged{Last: strings.Repeat("12", 32)}
	for _, s := range of {
		m.Segments = append(m.Segments, s.Name().Hash)
	}
	return p.segmentBy(p.signer, p.now.Sub(of[0].From), p.now.Sub(of[len(of)-1].To), m)
}

// within is a policy that keeps two snapshots, and the archive of some time.
func within(d time.Duration) retention.Policy {
	policy := last(2)
	policy.ArchiveWithin = d
	policy.ArchiveSpread = time.Second // the times here are what counts
	return policy
}

// archived are the names of the segments that are there and whole.
func (p *place) archived() []string {
	p.tb.Helper()
	var names []string
	for _, e := range p.listed() {
		if e.State != repo.StateOK {
			continue
		}
		names = append(names, e.Name.String())
		payload, err := p.repo.SegmentPayload(p.tb.Context(), e.Segment)
		if err != nil {
			p.tb.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, payload); err != nil {
			p.tb.Errorf("%s does not restore: %v", e.Name, err)
		}
		_ = payload.Close()
	}
	return names
}

func (p *place) listed() []repo.SegmentEntry {
	p.tb.Helper()
	found, err := p.repo.ListSegments(p.tb.Context(), repo.SegmentQuery{}, p.trust)
	if err != nil {
		p.tb.Fatal(err)
	}
	return found.Entries
}

func (p *place) history() *archive.History {
	p.tb.Helper()
	c, err := p.repo.Catalogue(p.tb.Context(), p.trust)
	if err != nil {
		p.tb.Fatal(err)
	}
	return archive.NewHistory(timeline, c.Entries, p.listed(), false)
}

// reaches fails unless every minute of some time can be restored, as the revision that it had.
func (p *place) reaches(d time.Duration) {
	p.tb.Helper()
	h := p.history()
	for at := p.now.Add(-d); !at.After(p.now.Add(-time.Hour)); at = at.Add(time.Minute) {
		c, err := h.AtTime(at)
		if err != nil {
			p.tb.Fatalf("%s before: %v", p.now.Sub(at), err)
		}
		if r := revisionAt(at); r < c.Low || r > c.High {
			p.tb.Fatalf("%s before was revision %d, not one of %d to %d", p.now.Sub(at), r, c.Low, c.High)
		}
		if _, err := h.AtRevision(revisionAt(at)); err != nil {
			p.tb.Fatal(err)
		}
	}
}

func names(all ...*repo.Segment) []string {
	var out []string
	for _, s := range all {
		out = append(out, s.Name().String())
	}
	slices.Sort(out)
	return out
}

// TestArchiveExpires: what is older than the time to keep goes, with the commit record first, and what leads to that time stays.
func TestArchiveExpires(t *testing.T) {
	p := inDirectory(t)
	ids := p.every(6*time.Hour, 8) // 43 h to 1 h ago
	segments := p.segments(time.Hour, 42)
	p.reaches(42 * time.Hour)
	watch := &watched{Bucket: p.repo.Bucket()}
	plan := p.planOver(p.over(watch), within(22*time.Hour))
	for _, item := range plan.Items {
		if item.Kind == KindSnapshot && (item.ID == ids[3] && !slices.Contains(item.Reasons, "base of the archive") || item.ID == ids[0] && item.Fate != retention.Delete) {
			t.Errorf("%s: %s %q", item.ID, item.Fate, item.Reasons)
		}
	}
	results := plan.Run(t.Context())
	if results.Err() != nil || results.Count(Deleted) != len(results) {
		t.Fatalf("%s, %v", results, results.Err())
	}
	// The base is of 25 h ago, beyond the margin for what several nodes see, and leads on from there.
	if diff := cmp.Diff(names(segments[18:]...), p.archived()); diff != "" {
		t.Error(diff)
	}
	p.reaches(24 * time.Hour)
	if again := p.plan(within(22 * time.Hour)).Deletions(); len(again) != 0 {
		t.Errorf("a second prune deletes %d more: %s %q", len(again), again[0].Name(), again[0].Reasons)
	}
	turn := make(map[string]int)
	for i, key := range watch.deleted {
		turn[key] = i + 1
	}
	for _, s := range segments[:18] {
		record, payload := turn[p.repo.SegmentRecordKey(s.Name())], turn[p.repo.SegmentPayloadKey(s)]
		if record == 0 || payload <= record {
			t.Errorf("%s: commit record was deletion %d, payload %d", s.Name(), record, payload)
		}
	}
}

// counted counts the requests for a key.
type counted struct {
	*watched
	mu    sync.Mutex
	opens map[string]int
}

func (c *counted) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	c.mu.Lock()
	c.opens[key]++
	c.mu.Unlock()
	return c.watched.Open(ctx, key, offset, length)
}

// TestMergedTakesPlace: small segments go when the merged one is older than ten minutes and was read whole, once.
func TestMergedTakesPlace(t *testing.T) {
	p := inDirectory(t)
	p.every(6*time.Hour, 3)
	small := p.segments(time.Hour, 12)
	hours := []*repo.Segment{p.merge(small[:5]...), p.merge(small[5:10]...)}
	policy := within(48 * time.Hour)
	if young := p.plan(policy).Deletions(); len(young) != 0 {
		t.Fatalf("%d would go for a merged one that has just come", len(young))
	}
	p.age(11 * time.Minute)
	bucket := &counted{watched: &watched{Bucket: p.repo.Bucket()}, opens: make(map[string]int)}
	plan := p.planOver(p.over(bucket), policy)
	clear(bucket.opens)
	results := plan.Run(t.Context())
	if results.Err() != nil || results.Count(Deleted) != 10 {
		t.Fatalf("%s, %v", results, results.Err())
	}
	if diff := cmp.Diff(names(append(small[10:], hours...)...), p.archived()); diff != "" {
		t.Error(diff)
	}
	for _, m := range hours {
		if n := bucket.opens[p.repo.SegmentPayloadKey(m)]; n != 1 {
			t.Errorf("%s was read %d times", m.Name(), n)
		}
	}
	for _, s := range small[:10] {
		if n := bucket.opens[p.repo.SegmentRecordKey(s.Name())] + bucket.opens[p.repo.SegmentPayloadKey(s)]; n != 1 {
			t.Errorf("%s took %d reads", s.Name(), n)
		}
	}
	p.reaches(13 * time.Hour)
}

// TestDamagedMerged: nothing goes for a merged segment whose content is not what was signed.
func TestDamagedMerged(t *testing.T) {
	p := inDirectory(t)
	p.every(6*time.Hour, 2)
	small := p.segments(time.Hour, 12)
	good, bad := p.merge(small[:5]...), p.merge(small[5:10]...)
	file := filepath.Join(p.root, filepath.FromSlash(p.repo.SegmentPayloadKey(bad)))
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	content[7] ^= 1
	if err := errors.Join(os.Chmod(file, 0o600), os.WriteFile(file, content, 0o600)); err != nil {
		t.Fatal(err)
	}
	p.age(11 * time.Minute)
	results := p.plan(within(48 * time.Hour)).Run(t.Context())
	if results.Count(Deleted) != 5 || results.Count(Failed) != 5 || !errors.Is(results.Err(), repo.ErrDamaged) ||
		!strings.Contains(results.Err().Error(), "segment "+bad.Name().String()+", which takes its place, could not be read: ") {
		t.Errorf("%s, %v", results, results.Err())
	}
	left := make(map[string]bool)
	for _, e := range p.listed() {
		left[e.Name.String()] = true
	}
	for _, name := range names(append(small[5:], good, bad)...) {
		if !left[name] {
			t.Errorf("%s is gone", name)
		}
	}
}

// TestMergedTwice: what was merged into hours, and these into a day, goes step by step.
func TestMergedTwice(t *testing.T) {
	p := inDirectory(t)
	p.every(6*time.Hour, 2)
	small := p.segments(time.Hour, 8)
	hours := []*repo.Segment{p.merge(small[:3]...), p.merge(small[3:6]...)}
	whole := p.merge(hours...)
	p.age(time.Hour)
	for _, want := range [][]*repo.Segment{append(append(slices.Clone(hours), whole), small[6:]...), append([]*repo.Segment{whole}, small[6:]...)} {
		if results := p.plan(within(48 * time.Hour)).Run(t.Context()); results.Err() != nil || results.Count(Deleted) != len(results) || len(results) == 0 {
			t.Fatalf("%s, %v", results, results.Err())
		}
		if diff := cmp.Diff(names(want...), p.archived()); diff != "" {
			t.Fatal(diff)
		}
		p.reaches(9 * time.Hour)
	}
	if again := p.plan(within(48 * time.Hour)).Deletions(); len(again) != 0 {
		t.Errorf("%d more: %s", len(again), again[0].Name())
	}
}

var errPulled = errors.New("the plug was pulled")

// TestInterruptedArchive: random histories with merged segments, by two writers, pruned again and again, each time until the plug
// is pulled after a random deletion. Every minute that could be restored can be restored all the time, and in the end nothing is left to do.
func TestInterruptedArchive(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for range 2 {
		p := inDirectory(t)
		p.every(6*time.Hour, 5) // 25 h to 1 h ago
		small := p.segments(30*time.Minute, 48)
		var hours []*repo.Segment
		for at := 0; at+2 < len(small)-2; {
			n := 2 + random.IntN(4)
			hours = append(hours, p.merge(small[at:min(at+n, len(small)-2)]...))
			at += n + random.IntN(2)
			if at+2 < len(small)-2 && random.IntN(2) == 0 {
				p.segmentBy(p.signer, p.now.Sub(small[at].From)+10*time.Minute, p.now.Sub(small[at+1].To), nil)
			}
		}
		for i := 0; i+1 < len(hours); i += 2 {
			if hours[i].To.Equal(hours[i+1].From) {
				p.merge(hours[i : i+2]...)
			}
		}
		p.age(time.Hour)
		keep := time.Duration(2+random.IntN(20)) * time.Hour
		p.reaches(24 * time.Hour)
		p.pruneInPieces(random, within(keep), func() { p.reaches(keep) })
	}
}

func (p *place) pruneInPieces(random *rand.Rand, policy retention.Policy, check func()) {
	p.tb.Helper()
	for range 200 {
		var mu sync.Mutex
		left := 1 + random.IntN(25)
		bucket := &watched{Bucket: p.repo.Bucket(), before: func(string) error {
			mu.Lock()
			defer mu.Unlock()
			if left--; left < 0 {
				return fmt.Errorf("delete: %w: %w", errPulled, storage.ErrDenied)
			}
			return nil
		}}
		plan := p.planOver(p.over(bucket), policy)
		if len(plan.Deletions()) == 0 {
			return
		}
		if err := plan.Run(p.tb.Context()).Err(); err != nil && !errors.Is(err, errPulled) {
			p.tb.Fatal(err)
		}
		check()
		p.age(25 * time.Hour) // what was left half is litter by then
	}
	p.tb.Fatal("there is always more to delete")
}

// TestArchiveLeavesAlone: what is not certainly drd's own, and known, stays.
func TestArchiveLeavesAlone(t *testing.T) {
	p := inDirectory(t)
	p.every(6*time.Hour, 8)
	segments := p.segments(time.Hour, 42)
	stranger := in(t, p.repo.Bucket()).signer
	foreign := p.segmentBy(stranger, 40*time.Hour, 39*time.Hour-time.Minute, nil)
	prefix := p.repo.SegmentsPrefix(timeline)
	kept := []string{
		p.repo.SegmentRecordKey(foreign.Name()), p.repo.SegmentPayloadKey(foreign), // who signed it is not known
		prefix + "notes.txt", prefix + "0000000000000000001-0000000000000000002-0123abcd.zst.age.bak~", // not drd's
		strings.TrimSuffix(prefix, "/") + "x/0000000000000000001-0000000000000000002-0123abcd.zst.age",
		"prod-west/archive/" + timeline + "/0000000000000000001-0000000000000000002-0123abcd.zst.age", // another cluster's
		p.repo.SegmentsPrefix(timeline) + segments[0].Name().String() + ".tar.gz",                     // beside a segment
		p.repo.SegmentRecordKey(segments[0].Name()), p.repo.SegmentPayloadKey(segments[0]),            // the same
		p.repo.SegmentRecordKey(segments[1].Name()),                                        // its payload is gone
		p.repo.SegmentRecordKey(segments[2].Name()), p.repo.SegmentPayloadKey(segments[2]), // unsigned
	}
	for _, key := range kept[2:7] {
		p.plant(key, "x")
	}
	litter := prefix + "0000000000000000001-0000000000000000002-0123abcd.zst.age"
	p.plant(litter, "half")
	p.age(25 * time.Hour)
	young := prefix + "0000000000000000003-0000000000000000004-0123abcd.zst.age"
	p.plant(young, "half")
	p.remove(p.repo.SegmentPayloadKey(segments[1]))
	p.strip(p.repo.SegmentRecordKey(segments[2].Name()))

	plan := p.plan(within(22 * time.Hour))
	if plan.ForeignCount != 3 || len(plan.Foreign) != 3 {
		t.Errorf("%d foreign objects: %q", plan.ForeignCount, plan.Foreign)
	}
	if results := plan.Run(t.Context()); results.Err() != nil || results.Count(Deleted) != len(results) {
		t.Fatalf("%s, %v", results, results.Err())
	}
	left := p.keys()
	for _, key := range append(kept, young) {
		if !slices.Contains(left, key) {
			t.Errorf("%s is gone", key)
		}
	}
	for _, key := range []string{litter, p.repo.SegmentRecordKey(segments[3].Name()), p.repo.SegmentPayloadKey(segments[3])} {
		if slices.Contains(left, key) {
			t.Errorf("%s is still there", key)
		}
	}
	p.reaches(24 * time.Hour)
}

func (p *place) remove(key string) {
	p.tb.Helper()
	if err := p.repo.Bucket().Delete(p.tb.Context(), key); err != nil {
		p.tb.Fatal(err)
	}
}

// strip takes the signature off a commit record.
func (p *place) strip(key string) {
	p.tb.Helper()
	file := filepath.Join(p.root, filepath.FromSlash(key))
	record, err := os.ReadFile(file)
	if err != nil {
		p.tb.Fatal(err)
	}
	manifest, _ := repo.SplitSegmentRecord(record)
	if err := errors.Join(os.Chmod(file, 0o600), os.WriteFile(file, manifest, 0o600)); err != nil {
		p.tb.Fatal(err)
	}
}

// TestArchiveHeld: while no new backup comes, nothing of the archive goes.
func TestArchiveHeld(t *testing.T) {
	p := inDirectory(t)
	p.put(30 * time.Hour)
	p.put(20 * time.Hour)
	small := p.segments(time.Hour, 42)
	p.merge(small[:5]...)
	p.age(25 * time.Hour)
	plan := p.plan(within(10 * time.Hour))
	if n := len(plan.Deletions()); n != 0 {
		t.Errorf("%d would be deleted", n)
	}
	for _, item := range plan.Items {
		if item.Segment == small[0].Name() && !strings.Contains(item.Reasons[0], "producer is late") {
			t.Errorf("%q", item.Reasons)
		}
	}
}

// TestArchiveDenied: of many segments that may not be deleted, one is tried.
func TestArchiveDenied(t *testing.T) {
	p := inDirectory(t)
	p.every(6*time.Hour, 8)
	p.segments(time.Hour, 42)
	tried := 0
	denied := &watched{Bucket: p.repo.Bucket(), before: func(key string) error {
		if strings.Contains(key, "/archive/") {
			tried++
			return fmt.Errorf("delete %s: %w", key, storage.ErrDenied)
		}
		return nil
	}}
	results := p.planOver(p.over(denied), within(22*time.Hour)).Run(t.Context())
	if tried != 1 || results.Count(Failed) != 1 || results.Count(NotTried) != 17 {
		t.Errorf("%d tried: %s", tried, results)
	}
	locked := &watched{Bucket: p.repo.Bucket(), before: func(string) error { return storage.ErrLocked }}
	if results := p.planOver(p.over(locked), within(22*time.Hour)).Run(t.Context()); results.Err() != nil || results.Count(Locked) != 18 {
		t.Errorf("%s", results)
	}
}

// TestSegmentChanged: a segment that another node has deleted, or that is another one now, is left alone; and an upload that goes on
// after all.
func TestSegmentChanged(t *testing.T) {
	p := inDirectory(t)
	p.every(6*time.Hour, 8)
	segments := p.segments(time.Hour, 42)
	late := p.segment(43*time.Hour, 42*time.Hour-time.Minute)
	record := p.repo.SegmentRecordKey(late.Name())
	content, err := os.ReadFile(filepath.Join(p.root, filepath.FromSlash(record)))
	if err != nil {
		t.Fatal(err)
	}
	p.remove(record)
	p.age(25 * time.Hour)
	plan := p.plan(within(22 * time.Hour))
	p.plant(record, string(content))
	p.remove(p.repo.SegmentRecordKey(segments[0].Name()))
	p.strip(p.repo.SegmentRecordKey(segments[1].Name()))
	file := filepath.Join(p.root, filepath.FromSlash(p.repo.SegmentRecordKey(segments[1].Name())))
	if err := os.WriteFile(file, []byte("{}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, r := range plan.Run(t.Context()) {
		want := Deleted
		switch r.Item.Segment {
		case late.Name(), segments[1].Name():
			want = Changed
		case segments[0].Name():
			want = Gone
		}
		if r.Outcome != want {
			t.Errorf("%s: %s, want %s: %v", r.Item.Name(), r.Outcome, want, r.Err)
		}
	}
}

// TestArchiveRequests: what a deletion costs.
func TestArchiveRequests(t *testing.T) {
	p := inDirectory(t)
	p.every(6*time.Hour, 8)
	p.segments(time.Hour, 42)
	faulty := storagetest.NewFaulty(p.repo.Bucket())
	plan := p.planOver(p.over(faulty), within(22*time.Hour))
	plan.Items = slices.DeleteFunc(plan.Items, func(i Item) bool { return !i.Archived() })
	before := func(op storagetest.Op) int { return faulty.Calls(op) }
	opens, stats, lists, deletes := before(storagetest.OpOpen), before(storagetest.OpStat), before(storagetest.OpList), before(storagetest.OpDelete)
	n := len(plan.Run(t.Context()))
	got := []int{faulty.Calls(storagetest.OpOpen) - opens, faulty.Calls(storagetest.OpStat) - stats, faulty.Calls(storagetest.OpList) - lists, faulty.Calls(storagetest.OpDelete) - deletes}
	if diff := cmp.Diff([]int{n, 0, 0, 2 * n}, got); diff != "" || n != 18 {
		t.Errorf("GET, HEAD, LIST and DELETE of %d segments: %s", n, diff)
	}
}

// TestBounds: a prune has its bounds, and says what it leaves for later.
func TestBounds(t *testing.T) {
	r, err := repo.Open(mustDir(t), cluster)
	if err != nil {
		t.Fatal(err)
	}
	p := &Plan{repo: r}
	a := &archived{}
	var decisions []retention.SegmentDecision
	add := func(first int64, by *repo.SegmentEntry) {
		e := &repo.SegmentEntry{Name: repo.SegmentName{Timeline: timeline, First: first, Last: first, Hash: "0123abcd"}, State: repo.StateOK}
		e.Record.Key = r.SegmentRecordKey(e.Name)
		decisions = append(decisions, retention.SegmentDecision{Entry: e, Fate: retention.Delete, Reason: "x", By: by})
	}
	for i := range int64(3) {
		by := &repo.SegmentEntry{Name: repo.SegmentName{First: i}, Payload: storage.Object{Size: mostMerged/2 + 1 - i%2}}
		add(2*i+1, by)
		add(2*i+2, by)
	}
	for i := range int64(mostSegments) {
		add(10+i, nil)
	}
	p.addSegments(decisions, a)
	var last int64
	var left []int64
	for _, item := range p.Items {
		if item.Fate == retention.Delete {
			last = item.Segment.First
		} else if item.Segment.First < 10 {
			left = append(left, item.Segment.First)
		}
	}
	if diff := cmp.Diff([]int64{3, 4, 5, 6}, left); diff != "" || last >= 10+mostSegments-2 || len(p.Deletions()) > mostSegments {
		t.Errorf("%s; %d are deleted, up to %d", diff, len(p.Deletions()), last)
	}
}

func mustDir(t *testing.T) *dir.Bucket {
	t.Helper()
	b, err := dir.Open(t.TempDir(), dir.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestPlantedTimelines: timelines that somebody made up cost a listing of their objects, and two hundred more requests for listings
// at most. What is left alone is told, and the archive is pruned all the same.
func TestPlantedTimelines(t *testing.T) {
	p := inDirectory(t)
	p.every(6*time.Hour, 8)
	p.segments(time.Hour, 42)
	p.age(25 * time.Hour) // what is planted is newer
	for i := range mostTimelines + 50 {
		p.plant(fmt.Sprintf("%s/0000000000000000001-0000000000000000002-0123abcd.signed", strings.TrimSuffix(p.repo.SegmentsPrefix(fmt.Sprintf("%016x", 1000+i)), "/")), "x")
	}
	before := len(p.keys())
	faulty := storagetest.NewFaulty(p.repo.Bucket())
	plan := p.planOver(p.over(faulty), within(22*time.Hour))
	if lists := faulty.Calls(storagetest.OpList); lists > mostTimelines+10 {
		t.Errorf("%d listings", lists)
	}
	if notes := strings.Join(plan.Notes, " "); !strings.Contains(notes, "50 timelines of the archive were not looked at") {
		t.Errorf("notes %q", notes)
	}
	results := plan.Run(t.Context())
	segments := 0
	for _, r := range results {
		if r.Item.Archived() {
			segments++
		}
	}
	if results.Err() != nil || results.Count(Deleted) != len(results) || segments != 18 {
		t.Errorf("%s: %d segments", results, segments)
	}
	if gone := before - len(p.keys()); gone != 2*segments+3*(len(results)-segments) {
		t.Errorf("%d objects are gone", gone)
	}
	p.reaches(24 * time.Hour)
}

// TestUnreadSegments: of segments that are too many to be read no objects are kept in memory.
func TestUnreadSegments(t *testing.T) {
	e := repo.SegmentEntry{Record: storage.Object{Key: "record"}, Payload: storage.Object{Key: "payload"}, State: repo.StateUnread}
	a := &archived{payloads: map[repo.SegmentName][]storage.Object{{}: {{Key: "other"}, {Key: "payload"}}}}
	if got := a.objects(&e); got != nil {
		t.Errorf("%v", got)
	}
	e.State = repo.StateOK
	var keys []string
	for _, o := range a.objects(&e) {
		keys = append(keys, o.Key)
	}
	if diff := cmp.Diff([]string{"record", "payload", "other"}, keys); diff != "" {
		t.Error(diff)
	}
}
