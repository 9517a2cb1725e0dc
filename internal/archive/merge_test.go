package archive

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/seal"
	"github.com/drd-project/drd/internal/seal/sealtest"
)

// diary is what one writer archived: segments that join, with their streams, and what becomes of them when they are merged.
type diary struct {
	t       *testing.T
	random  *rand.Rand
	keys    *sealtest.Keys
	dir     string
	content plain
	sealed  map[repo.SegmentName]*Sealed
	sources []Source

	next   int64 // revision
	second int64 // of the newest stamp
	at     time.Time
}

func newDiary(t *testing.T, seed uint64) *diary {
	return &diary{
		t: t, random: rand.New(rand.NewPCG(seed, 14)), keys: sealtest.New(t), dir: t.TempDir(), content: plain{},
		sealed: map[repo.SegmentName]*Sealed{}, next: 10, at: instant(0.3),
	}
}

// add writes a segment that goes on where the last one ended, for some seconds.
func (d *diary) add() {
	d.t.Helper()
	var content bytes.Buffer
	w := NewWriter(&content, d.next)
	to := d.at.Add(time.Duration(d.random.IntN(12_000)) * time.Millisecond).Truncate(100 * time.Millisecond)
	to = later(to, d.at)
	second := d.at.Unix()
	for range d.random.IntN(6) - 1 {
		second += d.random.Int64N(max(1, to.Unix()-second+1))
		d.write(w, second)
	}
	if to.Nanosecond() == 0 && d.second >= to.Unix() { // at such an instant two segments may tell different things already
		to = to.Add(300 * time.Millisecond)
	}
	d.take(w, &content, to)
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// write adds one revision to a stream, seen at a second, or late.
func (d *diary) write(w *Writer, second int64) {
	if d.random.IntN(5) == 0 {
		w.LateStamp(time.Unix(second, 0))
	} else {
		w.Stamp(time.Unix(second, 0))
	}
	for sub := range int64(1 + d.random.IntN(3)) {
		lease := d.random.Int64N(4)
		if lease > 0 {
			w.Lease(lease, d.random.Int64N(3)*30)
		}
		if err := w.Append(put(d.next, sub, fmt.Sprintf("k%d", d.random.IntN(9)), "v", lease)); err != nil {
			d.t.Fatal(err)
		}
	}
	d.second = max(d.second, w.second)
	d.next++
}

// take makes a segment of a stream.
func (d *diary) take(w *Writer, content *bytes.Buffer, to time.Time) {
	d.t.Helper()
	first := w.first
	summary, err := w.Close()
	if err != nil {
		d.t.Fatal(err)
	}
	sum := sha256.Sum256(binary.BigEndian.AppendUint64(nil, uint64(len(d.sources))))
	s := &repo.Segment{
		Kind: repo.SegmentKind, Format: repo.SegmentFormat, Cluster: "prod-east", EtcdClusterID: "cdf8", Timeline: line,
		Member: repo.Member{ID: "8e9e", Name: "node-1"}, First: first, Last: d.next - 1, Events: summary.Entries, From: d.at, To: to,
		CompactRevision: first / 2, LastRevisionSHA256: summary.LastRevisionSHA256, Object: repo.Object{SHA256: hex.EncodeToString(sum[:]), Size: summary.Size},
		Base: "20261122T095500Z-r9-8e9e", Drd: repo.Build{Version: "test"},
	}
	if n := len(d.sources); n > 0 {
		before := d.sources[n-1]
		s.Previous = before.Digest
		if s.Silence() {
			s.LastRevisionSHA256 = before.Segment.LastRevisionSHA256
		}
	}
	if d.random.IntN(3) == 0 {
		s.Checkpoints = []repo.Checkpoint{{Revision: max(1, s.Last-d.random.Int64N(3)), CompactRevision: 1, Hash: d.random.Uint32(), Member: "8e9e"}}
	}
	d.content[s.Name()] = bytes.Clone(content.Bytes())
	d.sources = append(d.sources, Source{Segment: s, Digest: hex.EncodeToString(sum[:])})
	d.at = to
}

func (d *diary) open(ctx context.Context, s *repo.Segment) (io.ReadCloser, error) {
	sealed, ok := d.sealed[s.Name()]
	if !ok {
		return d.content.open(ctx, s)
	}
	f, err := os.Open(sealed.Path)
	if err != nil {
		return nil, err
	}
	format, err := seal.FormatByName(s.Object.Envelope)
	if err != nil {
		return nil, err
	}
	return format.Open(f, d.keys.Identities)
}

// merge merges what goes together, as package merge does, and returns all that is left.
func (d *diary) merge(sources []Source) (left []Source) {
	d.t.Helper()
	for len(sources) > 1 {
		n := len(sources)
		s, err := Merge(d.t.Context(), d.dir, d.keys.Recipients, repo.Build{Version: "test"}, sources, d.open)
		var join *JoinError
		if errors.As(err, &join) {
			n = slices.IndexFunc(sources, func(s Source) bool { return s.Segment.Name() == join.Name })
			if n == 1 {
				left, sources = append(left, sources[0]), sources[1:]
				continue
			}
			s, err = Merge(d.t.Context(), d.dir, d.keys.Recipients, repo.Build{Version: "test"}, sources[:n], d.open)
		}
		if err != nil {
			d.t.Fatal(err)
		}
		d.sealed[s.Segment.Name()] = s
		d.check(s.Segment, sources[:n])
		left, sources = append(left, Source{Segment: s.Segment, Digest: strings.Repeat("0", 64)}), sources[n:]
	}
	return append(left, sources...)
}

// check compares a merged segment with its sources, record by record.
func (d *diary) check(s *repo.Segment, of []Source) {
	d.t.Helper()
	first, last := of[0].Segment, of[len(of)-1].Segment
	if s.First != first.First || s.Last != last.Last || !s.From.Equal(first.From) || !s.To.Equal(last.To) || s.Previous != first.Previous ||
		s.Base != first.Base || s.CompactRevision != last.CompactRevision || s.LastRevisionSHA256 != last.LastRevisionSHA256 {
		d.t.Errorf("merged %+v of %+v to %+v", s, first, last)
	}
	var checkpoints []repo.Checkpoint
	for i, source := range of {
		if !s.Replaces(source.Segment.Name()) || s.Merged.Segments[i] != source.Segment.Name().Hash {
			d.t.Errorf("%s does not replace %s", s.Name(), source.Segment.Name())
		}
		checkpoints = append(checkpoints, source.Segment.Checkpoints...)
	}
	if diff := cmp.Diff(checkpoints, s.Checkpoints); diff != "" {
		d.t.Errorf("checkpoints (-want +got):\n%s", diff)
	}
	if err := Prove(d.t.Context(), s, d.open); err != nil {
		d.t.Error(err)
	}
	var want []string
	for _, source := range of {
		want = append(want, d.entries(source.Segment)...)
	}
	if diff := cmp.Diff(want, d.entries(s)); diff != "" {
		d.t.Errorf("changes (-want +got):\n%s", diff)
	}
}

// entries are all changes of a segment, each with the second at which it was seen.
func (d *diary) entries(s *repo.Segment) (out []string) {
	d.t.Helper()
	var stamp Stamp
	err := walk(d.t.Context(), s, d.open, func(r Record) error {
		switch r.Kind {
		case KindStamp:
			stamp = r.Stamp
		case KindEntry:
			out = append(out, fmt.Sprintf("%s %x seen %d %v", r.Entry.Position, r.Entry.Value, stamp.Time.Unix(), stamp.Late))
		}
		return nil
	})
	if err != nil {
		d.t.Fatal(err)
	}
	return out
}

func (d *diary) history(base repo.Entry, of []Source) *History {
	var entries []repo.SegmentEntry
	for _, s := range of {
		entries = append(entries, repo.SegmentEntry{Name: s.Segment.Name(), State: repo.StateOK, Segment: s.Segment})
	}
	return NewHistory(line, []repo.Entry{base}, entries, false)
}

// answer is which revision was there at an instant.
func (d *diary) answer(h *History, t time.Time) string {
	c, err := h.AtTime(t)
	if err != nil {
		return "not to be had"
	}
	m, err := RevisionAt(d.t.Context(), c, d.open)
	if errors.Is(err, repo.ErrNothing) {
		return "not to be had"
	}
	if err != nil {
		d.t.Fatal(err)
	}
	return fmt.Sprint(m)
}

// midway is a snapshot that was taken while something was written, and has nothing from before.
func (d *diary) midway() repo.Entry {
	s := d.sources[d.random.IntN(len(d.sources))].Segment
	return snap(max(1, s.Last-d.random.Int64N(3)), max(1, s.Last), s.To.Sub(instant(0)).Seconds())
}

// sameTimes compares what is known of every second before and after.
func (d *diary) sameTimes(seed uint64, base repo.Entry, merged []Source) {
	d.t.Helper()
	before, after := d.history(base, d.sources), d.history(base, merged)
	d.sameWindow(seed, base, before.Window(), after.Window())
	for at := instant(-2).Truncate(time.Second); at.Before(d.at.Add(3 * time.Second)); at = at.Add(time.Second) {
		if was, is := d.answer(before, at), d.answer(after, at); was != is && !slices.Contains(d.meeting(at), is) {
			d.t.Errorf("seed %d, %d from snapshot %d to %d: at %s the revision is %s, was %s", seed, len(merged), base.Manifest.CompactRevision,
				base.Manifest.Revision, at.Format(time.RFC3339), is, was)
		}
	}
}

// sameWindow compares what can be restored. With a snapshot in the midst of a merged segment the times begin where it was taken:
// when it was that its oldest revision came, only the segment's stamps tell.
func (d *diary) sameWindow(seed uint64, base repo.Entry, was, is []Range) {
	d.t.Helper()
	if n := len(was[0].Times); n > 0 && len(is[0].Times) == 0 && !was[0].Times[n-1].To.After(base.Manifest.CaptureEnd) {
		was[0].Times = nil
	}
	if base.Manifest.CompactRevision > 0 && len(was[0].Times) > 0 && len(is[0].Times) > 0 {
		from := &is[0].Times[0].From
		if from.After(later(was[0].Times[0].From, base.Manifest.CaptureEnd)) {
			d.t.Errorf("seed %d: times from %s on, were from %s", seed, from, was[0].Times[0].From)
		}
		*from = was[0].Times[0].From
	}
	if diff := cmp.Diff(was, is); diff != "" {
		d.t.Errorf("seed %d, snapshot of %d to %d: window (-before +after):\n%s", seed, base.Manifest.CompactRevision, base.Manifest.Revision, diff)
	}
}

// meeting are the answers of the two segments that meet at an instant, none elsewhere: with a whole second between them, either may
// be asked.
func (d *diary) meeting(at time.Time) (answers []string) {
	for _, s := range d.sources {
		if s.Segment.To.Equal(at) || s.Segment.From.Equal(at) {
			m, err := RevisionAt(d.t.Context(), &Chain{Low: 1, Time: at, Clock: &repo.SegmentEntry{Segment: s.Segment}}, d.open)
			if err != nil {
				d.t.Fatal(err)
			}
			answers = append(answers, fmt.Sprint(m))
		}
	}
	return answers
}

// TestMerged: of a merged segment every second, every revision and every record is what it was in its sources.
func TestMerged(t *testing.T) {
	merged, cuts := 0, 0
	for seed := range uint64(40) {
		d := newDiary(t, seed)
		base, _ := made(t, 9)
		for range 3 + d.random.IntN(15) {
			d.add()
		}
		hours := d.merge(slices.Clone(d.sources[:len(d.sources)/2]))
		hours = append(hours, d.merge(slices.Clone(d.sources[len(d.sources)/2:]))...)
		days := d.merge(slices.Clone(hours))
		merged, cuts = merged+len(d.sources)-len(days), cuts+len(days)-1
		d.sameTimes(seed, d.midway(), days)
		for _, of := range [][]Source{hours, days, append(slices.Clone(d.sources), days...)} {
			d.sameTimes(seed, base.Entry, of)
		}
		if seed < 10 {
			d.replayed(base, d.history(base.Entry, d.sources), d.history(base.Entry, days))
		}
		if t.Failed() {
			return
		}
	}
	t.Logf("%d segments went into others, %d cuts", merged, cuts)
	if merged < 250 || cuts < 50 {
		t.Error("that proves little")
	}
}

// replayed compares the stores at every revision.
func (d *diary) replayed(base *store, before, after *History) {
	d.t.Helper()
	for revision := int64(10); revision < d.next; revision++ {
		var hashes [2]uint32
		var leases [2]map[int64]int64
		for i, h := range []*History{before, after} {
			c, err := h.AtRevision(revision)
			if err != nil {
				d.t.Fatal(err)
			}
			db := base.scratch(d.t)
			out, err := c.Apply(d.t.Context(), db, revision, d.open)
			if err != nil {
				d.t.Fatal(err)
			}
			hashes[i], leases[i] = out.Hash.Value, leaseRecords(d.t, db)
		}
		if hashes[0] != hashes[1] || !cmp.Equal(leases[0], leases[1]) {
			d.t.Errorf("revision %d: hash %d, was %d; leases %v, were %v", revision, hashes[1], hashes[0], leases[1], leases[0])
		}
	}
}
