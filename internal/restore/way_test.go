package restore_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/drd-project/drd/internal/archive"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/restore"
	"github.com/drd-project/drd/internal/seal"
	"github.com/drd-project/drd/internal/storage"
)

const archived = "00000000000000a1" // timeline

// names is an archive of which only manifests and signatures are real.
type names struct {
	t        *testing.T
	r        *repo.Repository
	keys     *keys
	stranger *keys
	path     string
	serial   int
	reads    atomic.Int64
}

// readCounter counts what is read.
type readCounter struct {
	storage.Bucket
	reads *atomic.Int64
}

func (c readCounter) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	c.reads.Add(1)
	return c.Bucket.Open(ctx, key, offset, length)
}

func newNames(t *testing.T, k, stranger *keys) *names {
	t.Helper()
	target := newTarget(t)
	n := &names{t: t, keys: k, stranger: stranger, path: target.path}
	var err error
	if n.r, err = repo.Open(readCounter{target.bucket, &n.reads}, cluster); err != nil {
		t.Fatal(err)
	}
	return n
}

// put writes past the bucket, which would wait for the disk each time.
func (n *names) put(key, content string) {
	n.t.Helper()
	file := filepath.Join(n.path, filepath.FromSlash(key))
	err := os.MkdirAll(filepath.Dir(file), 0o700)
	if err == nil {
		err = os.WriteFile(file, []byte(content), 0o600)
	}
	if err != nil {
		n.t.Fatal(err)
	}
}

// date says when an object was stored: that is compared with the times in segments, which are not of this machine's clock.
func (n *names) date(key string, at time.Time) {
	n.t.Helper()
	if err := os.Chtimes(filepath.Join(n.path, filepath.FromSlash(key)), at, at); err != nil {
		n.t.Fatal(err)
	}
}

// clockOf is when a revision was the last one, and how long it stayed so.
func clockOf(revision int64, offset time.Duration) time.Time {
	return captureTime.Add(time.Duration(revision)*10*time.Second + offset)
}

func (n *names) snapshot(revision, compact int64) *repo.Entry {
	n.t.Helper()
	id := repo.ID{Time: clockOf(revision, 0), Revision: revision, Member: 0xa1}
	signed, err := repo.Sign(&repo.Manifest{
		Format: repo.ManifestFormat, ID: id.String(), Cluster: cluster, EtcdClusterID: "c1", Timeline: archived,
		Member: repo.Member{ID: "a1", Name: "node1"}, CaptureStart: id.Time, CaptureEnd: id.Time.Add(time.Second), Revision: revision, CompactRevision: compact,
		DBSize: 1000, Keys: 1, Revisions: 1, EtcdVersion: "3.7.3", HashKV: repo.HashKV{Revision: revision, CompactRevision: compact},
		Plain:  repo.Plain{SHA256: strings.Repeat("ab", 32), Size: 1032},
		Object: repo.Object{Name: "snapshot.db.zst.age", SHA256: strings.Repeat("ab", 32), Size: 6, Envelope: "age-v1", Recipients: []string{"SHA256:x"}},
		Drd:    repo.Build{Version: "test"},
	}, n.keys.signer)
	if err != nil {
		n.t.Fatal(err)
	}
	n.put(n.r.PayloadKey(id, "snapshot.db.zst.age"), "sealed")
	n.put(n.r.SignatureKey(id), string(signed.Signature))
	n.put(n.r.ManifestKey(id), string(signed.Bytes))
	e, err := n.r.Look(n.t.Context(), id, n.keys.trust)
	if err != nil || !e.Restorable(false) {
		n.t.Fatalf("%+v, %v", e, err)
	}
	return e
}

// Faults of a segment, the first of which is none.
const (
	whole = iota
	noRecord
	noPayload
	shortPayload
	unsigned
	strange
	garbage
	crowded // another object is listed before its payload
	faults
)

// segment stores one. It ends a while after its last revision was the last one.
func (n *names) segment(first, last int64, offset time.Duration, fault int) {
	n.t.Helper()
	n.serial++
	sum := sha256.Sum256(fmt.Append(nil, n.serial))
	s := &repo.Segment{
		Kind: repo.SegmentKind, Format: repo.SegmentFormat, Cluster: cluster, EtcdClusterID: "c1", Timeline: archived, Member: repo.Member{ID: "a1", Name: "node1"},
		First: first, Last: last, Events: last - first + 1, From: clockOf(first-1, 0), To: clockOf(last, offset), CompactRevision: -1,
		Plain: repo.SegmentPlain{SHA256: hex.EncodeToString(sum[:]), Size: 2048}, Drd: repo.Build{Version: "test"},
		Object: repo.Object{SHA256: hex.EncodeToString(sum[:]), Size: 6, Envelope: "age-v1", Recipients: []string{"SHA256:x"}},
	}
	if !s.Silence() {
		s.LastRevisionSHA256 = strings.Repeat("cd", 32)
	}
	s.Object.Name = s.Name().String() + ".zst.age"
	signer := n.keys.signer
	if fault == strange {
		signer = n.stranger.signer
	}
	signed, err := repo.SignSegment(s, signer)
	if err != nil {
		n.t.Fatal(err)
	}
	record := string(signed.Record())
	payload := "sealed"
	switch fault {
	case unsigned:
		record = string(signed.Bytes)
	case garbage:
		record = "{" + record
	case shortPayload:
		payload = "seal"
	case crowded:
		n.put(strings.TrimSuffix(n.r.SegmentPayloadKey(s), ".zst.age")+".aaa.age", "something")
	}
	if fault != noPayload {
		n.put(n.r.SegmentPayloadKey(s), payload)
	}
	if fault != noRecord {
		n.put(n.r.SegmentRecordKey(s.Name()), record)
		n.date(n.r.SegmentRecordKey(s.Name()), s.To)
	}
}

// tipOfAll is what ReadTip finds, by reading every record.
func tipOfAll(ctx context.Context, r *repo.Repository, snapshot *repo.Entry, trust *seal.Trust) (restore.Tip, error) {
	m := snapshot.Manifest
	tip := restore.Tip{Reached: m.CaptureStart}
	found, err := r.ListSegments(ctx, repo.SegmentQuery{Timeline: m.Timeline}, trust)
	if err != nil {
		return tip, err
	}
	last := int64(0)
	for _, e := range found.Entries {
		if e.Usable(false) {
			last = max(last, e.Segment.Last)
			if e.Segment.To.After(tip.End) {
				tip.End = e.Segment.To
			}
		}
	}
	for _, a := range archive.NewHistory(m.Timeline, []repo.Entry{*snapshot}, found.Entries, false).Window() {
		if a.First > m.Revision || a.Last < m.Revision {
			continue
		}
		for _, s := range a.Times {
			if s.To.After(tip.Reached) {
				tip.Reached = s.To
			}
		}
		if last > a.Last {
			tip.Missing = a.Last + 1
		}
	}
	return tip, nil
}

// TestReadTip: on archives with holes, silences, overlaps, merged segments, and segments that are damaged, unsigned, planted or
// half there, it finds what the reading of every record does.
func TestReadTip(t *testing.T) {
	k, stranger := newKeys(t), newKeys(t)
	moved, spared, holes := 0, 0, 0
	for seed := range uint64(60) {
		random := rand.New(rand.NewPCG(seed, 2))
		n := newNames(t, k, stranger)
		base := 20 + random.Int64N(20)
		snapshot := n.snapshot(base, []int64{-1, 5, base}[random.IntN(3)])
		odds := []int{1000, 20, 5}[random.IntN(3)] // against a fault
		fault := func() int {
			if random.IntN(odds) == 0 {
				return 1 + random.IntN(faults-1)
			}
			return whole
		}
		offset := func(silence bool) time.Duration {
			if silence {
				return time.Duration(3000+random.IntN(6000)) * time.Millisecond
			}
			return time.Duration(random.IntN(3000)) * time.Millisecond
		}
		end := base - 15
		for range random.IntN(40) {
			first := end + 1
			if random.IntN(30) == 0 {
				first++ // a hole
			}
			last := first + random.Int64N(4) - 1
			n.segment(first, last, offset(last < first), fault())
			if random.IntN(4) == 0 { // another writer
				first -= random.Int64N(min(3, first))
				n.segment(first, max(first, last), offset(false), fault())
			}
			end = last
		}
		for range random.IntN(3) { // merged, or planted
			first := max(1, base-10+random.Int64N(20))
			n.segment(first, first+random.Int64N(30), offset(false), fault())
		}
		for range random.IntN(200) * random.IntN(2) {
			n.segment(base+1, base+2+random.Int64N(1000), 0, []int{strange, unsigned, garbage, noPayload}[random.IntN(4)])
		}
		want, err := tipOfAll(t.Context(), n.r, snapshot, k.trust)
		if err != nil {
			t.Fatal(err)
		}
		all := n.reads.Swap(0)
		got, err := restore.ReadTip(t.Context(), n.r, snapshot, k.trust)
		if err != nil || got != want {
			t.Errorf("seed %d: %+v, %v instead of %+v", seed, got, err, want)
		}
		if want.Reached.After(snapshot.Manifest.CaptureStart) {
			moved++
		}
		if want.Missing > 0 {
			holes++
		}
		if n.reads.Load() < all {
			spared++
		}
	}
	if moved < 20 || spared < 20 || holes < 10 {
		t.Errorf("the archive led on %d times, had a hole %d times, and %d times something was not read", moved, holes, spared)
	}
}

// TestReadTipReads: of a day that was merged, and whose segments are still there because nobody may delete them, it reads the
// merged ones. A thousand planted names cost a few rounds.
func TestReadTipReads(t *testing.T) {
	k, stranger := newKeys(t), newKeys(t)
	n := newNames(t, k, stranger)
	snapshot := n.snapshot(1, -1)
	for i := range int64(300) {
		n.segment(2+i, 2+i, 0, whole)
		if i%60 == 59 {
			n.segment(2+i-59, 2+i, 0, whole)
		}
	}
	for i := range int64(10) {
		n.segment(302+i, 302+i, 0, whole)
	}
	for i := range 100 {
		n.segment(312, 311, 3*time.Second+time.Duration(i), whole)
	}
	n.reads.Store(0)
	end := clockOf(311, 3*time.Second+99)
	want := restore.Tip{Reached: end, End: end}
	if got, err := restore.ReadTip(t.Context(), n.r, snapshot, k.trust); err != nil || got != want {
		t.Errorf("%+v, %v, want %+v", got, err, want)
	}
	if read := n.reads.Load(); read > 5+10+100 {
		t.Errorf("%d records were read of 315 and 100 silences", read)
	}
	for i := range int64(1000) {
		n.segment(2, 5000+i, 0, strange)
	}
	if got, err := restore.ReadTip(t.Context(), n.r, snapshot, k.trust); err != nil || got != want {
		t.Errorf("with planted names: %+v, %v", got, err)
	}
}
