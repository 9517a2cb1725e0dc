package repo

import (
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/drd-project/drd/internal/storage/storagetest"
)

func merged(n int) *Merged {
	m := &Merged{Last: strings.Repeat("ab", 32)}
	for i := range n {
		m.Segments = append(m.Segments, fmt.Sprintf("%08x", i))
	}
	return m
}

// TestLargestMerged: with the most of everything a manifest can still be read.
func TestLargestMerged(t *testing.T) {
	by, trust := signer(t)
	s := sampleSegment(1, math.MaxInt64, []byte("payload"))
	s.Events, s.Merged = math.MaxInt64, merged(MaxMerged)
	s.CompactRevision, s.ClockSkewNote = math.MaxInt64-1, strings.Repeat("x", maxNote)
	for len(s.Checkpoints) < maxCheckpoints {
		s.Checkpoints = append(s.Checkpoints, Checkpoint{Revision: math.MaxInt64, CompactRevision: math.MaxInt64, Hash: math.MaxUint32, Member: s.Member.ID})
	}
	for len(s.Object.Recipients) < maxRecipients {
		s.Object.Recipients = append(s.Object.Recipients, s.Object.Recipients[0])
	}
	signed := signSegment(t, s, by)
	if diff := cmp.Diff(s, signed.Segment); diff != "" {
		t.Errorf("read back differs:\n%s", diff)
	}
	if _, err := trust.Verify(signed.Bytes, signed.Signature, s.To); err != nil {
		t.Error(err)
	}
	t.Logf("%d bytes of %d", len(signed.Bytes), maxSegment)
}

func TestReplaces(t *testing.T) {
	s := sampleSegment(100, 199, []byte("payload"))
	name := func(first, last int64, hash string) SegmentName {
		return SegmentName{Timeline: s.Timeline, First: first, Last: last, Hash: hash}
	}
	if s.Replaces(name(100, 149, "00000000")) {
		t.Error("one that is not merged replaces something")
	}
	s.Merged = merged(3)
	other := name(100, 149, "00000000")
	other.Timeline = "00000000000000a2"
	for n, want := range map[SegmentName]bool{
		name(100, 149, "00000000"): true,
		name(100, 199, "00000001"): true,
		name(100, 99, "00000002"):  true, // silences at both ends
		name(200, 199, "00000002"): true,
		name(150, 150, "00000003"): false,
		name(99, 150, "00000000"):  false,
		name(150, 200, "00000000"): false,
		other:                      false,
		s.Name():                   false,
	} {
		if s.Replaces(n) != want {
			t.Errorf("%s: %v", n, !want)
		}
	}
	s.Merged.Segments[0] = s.Name().Hash
	if s.Replaces(s.Name()) {
		t.Error("it replaces itself")
	}
}

// TestReadSegments: what a look left unread is judged later, the same.
func TestReadSegments(t *testing.T) {
	by, trust := signer(t)
	r := open(t, mustDir(t))
	payload := []byte("payload")
	for first := int64(100); first < 130; first += 10 {
		if err := r.PutSegment(t.Context(), signSegment(t, sampleSegment(first, first+9, payload), by), source(payload)); err != nil {
			t.Fatal(err)
		}
	}
	bad := signSegment(t, sampleSegment(130, 139, payload), by)
	bad.Signature = []byte("-----BEGIN SSH SIGNATURE-----\n")
	if err := r.PutSegment(t.Context(), bad, source(payload)); err != nil {
		t.Fatal(err)
	}
	if err := r.PutSegmentPayload(t.Context(), sampleSegment(140, 149, payload), source(payload)); err != nil {
		t.Fatal(err)
	}
	want, err := r.ListSegments(t.Context(), SegmentQuery{}, trust)
	if err != nil {
		t.Fatal(err)
	}
	got, err := r.ListSegments(t.Context(), SegmentQuery{Limit: 1}, trust)
	if err != nil {
		t.Fatal(err)
	}
	var entries []*SegmentEntry
	for i := range got.Entries {
		entries = append(entries, &got.Entries[i])
	}
	if err := r.ReadSegments(t.Context(), entries, trust); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want.Entries, got.Entries, cmp.Comparer(func(a, b error) bool { return fmt.Sprint(a) == fmt.Sprint(b) })); diff != "" {
		t.Errorf("read later (-at once +later):\n%s", diff)
	}
	if last := got.Entries[4]; last.State != StateIncomplete {
		t.Errorf("a payload alone: %s", last.State)
	}
}

func TestPutSegmentPayload(t *testing.T) {
	faulty := storagetest.NewFaulty(mustDir(t))
	r := open(t, faulty)
	payload := []byte("payload")
	s := sampleSegment(100, 109, payload)
	faulty.FailCall(storagetest.OpCreate, 1, nil)
	if err := r.PutSegmentPayload(t.Context(), s, source(payload)); !errors.Is(err, storagetest.ErrInjected) {
		t.Errorf("%v", err)
	}
	for range 2 {
		if err := r.PutSegmentPayload(t.Context(), s, source(payload)); err != nil {
			t.Fatal(err)
		}
	}
	src, err := r.SegmentPayload(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(src); err != nil || string(got) != "payload" || src.Close() != nil {
		t.Errorf("%q, %v", got, err)
	}
	other := sampleSegment(100, 109, payload)
	other.Cluster = "other"
	if err := r.PutSegmentPayload(t.Context(), other, source(payload)); err == nil {
		t.Error("a payload of another cluster was stored")
	}
	if err := r.PutSegmentPayload(t.Context(), sampleSegment(200, 209, payload), source([]byte("damaged"))); !errors.Is(err, ErrDamaged) {
		t.Errorf("a damaged copy: %v", err)
	}
}
