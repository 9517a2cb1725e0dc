package repo

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"iter"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/drd-project/drd/internal/storage"
)

// pages is a bucket that hands out a listing page by page, each after a while, and can begin it anywhere. The while is another one for each
// page, by less than a millisecond: no two come at the same instant, in an order that is up to the scheduler.
type pages struct {
	*memory
	keys    []string // in order, all of them
	takes   time.Duration
	request atomic.Int64
	listed  atomic.Int64 // keys handed out
	fail    int64        // number of the request that fails; 0: none does
}

func (p *pages) Properties() storage.Properties {
	return storage.Properties{Parallel: 4, ListsAfter: true}
}

func (p *pages) List(ctx context.Context, prefix string) iter.Seq2[storage.Object, error] {
	return p.ListAfter(ctx, prefix, "")
}

func (p *pages) ListAfter(ctx context.Context, prefix, after string) iter.Seq2[storage.Object, error] {
	return func(yield func(storage.Object, error) bool) {
		from, found := slices.BinarySearch(p.keys, max(prefix, after))
		if found && after == p.keys[from] {
			from++
		}
		for i := from; ; i++ {
			if (i-from)%sweepPage == 0 {
				time.Sleep(p.takes + time.Duration(crc32.ChecksumIEEE(fmt.Appendf(nil, "%s %d", after, i))%1_000_000))
				if n := p.request.Add(1); n == p.fail {
					yield(storage.Object{}, storage.ErrDenied)
					return
				}
			}
			if i == len(p.keys) || !strings.HasPrefix(p.keys[i], prefix) {
				return
			}
			if ctx.Err() != nil {
				yield(storage.Object{}, ctx.Err())
				return
			}
			p.listed.Add(1)
			if !yield(storage.Object{Key: p.keys[i], Size: 6}, nil) {
				return
			}
		}
	}
}

// alone is a bucket whose listings begin at the beginning.
type alone struct{ storage.Bucket }

// crowd returns the keys of some thousand snapshots and segments, at intervals that differ a thousandfold, with other objects among them,
// before and behind.
func crowd(r *Repository, random *rand.Rand) []string {
	keys := []string{r.snapshots() + "!", r.snapshots() + "2026", r.snapshots() + "~", r.SegmentsPrefix("00000000000000a1") + "~"}
	at, revision := testTime, int64(1)
	for range 2000 + random.IntN(4000) {
		at = at.Add(time.Duration(1+random.ExpFloat64()*float64([]int64{1, 60, 6000}[random.IntN(3)])) * time.Second)
		revision += 1 + random.Int64N([]int64{1, 1000}[random.IntN(2)])
		id := ID{Time: at, Revision: revision, Member: 1 + random.Uint64N(3)}
		n := SegmentName{Timeline: "00000000000000a1", First: revision, Last: revision + random.Int64N(9), Hash: fmt.Sprintf("%08x", random.Uint32())}
		for _, key := range []string{
			r.ManifestKey(id), r.SignatureKey(id), r.PayloadKey(id, payloadName), r.key(id, "other"), r.snapshots() + id.String(), r.snapshots() + at.Format(idTime),
			r.SegmentRecordKey(n), r.SegmentsPrefix(n.Timeline) + n.String() + ".zst.age", r.SegmentsPrefix(n.Timeline) + n.String(),
		} {
			if random.IntN(8) > 0 {
				keys = append(keys, key)
			}
		}
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

// TestSweep: however a listing is divided, it finds what the undivided one does, in the same order, and asks for few pages more.
func TestSweep(t *testing.T) {
	for seed := range uint64(6) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 1))
			b := &pages{memory: newMemory(), takes: 100 * time.Millisecond}
			r := open(t, b)
			b.keys = crowd(r, random)
			whole := open(t, alone{b})
			look := func(r *Repository) (c *Catalogue, s *Segments, took time.Duration, requests, listed int64) {
				begin, r0, l0 := time.Now(), b.request.Load(), b.listed.Load()
				c, err := r.Recent(t.Context(), nil, 0)
				if err != nil {
					t.Fatal(err)
				}
				s, err = r.ListSegments(t.Context(), SegmentQuery{Timeline: "00000000000000a1", Limit: -1}, nil)
				if err != nil {
					t.Fatal(err)
				}
				c.Read = time.Time{}
				return c, s, time.Since(begin), b.request.Load() - r0, b.listed.Load() - l0
			}
			wantC, wantS, slow, fewest, _ := look(whole)
			gotC, gotS, took, requests, listed := look(r)
			opt := cmp.AllowUnexported(Entry{})
			if diff := cmp.Diff(wantC, gotC, opt, cmp.Comparer(sameError)); diff != "" {
				t.Fatalf("seed %d: catalogue (-whole +divided):\n%s", seed, diff)
			}
			if diff := cmp.Diff(wantS, gotS, cmp.Comparer(sameError)); diff != "" {
				t.Fatalf("seed %d: segments (-whole +divided):\n%s", seed, diff)
			}
			if len(gotC.Entries) < 1000 || len(gotS.Entries) < 1000 || gotC.ForeignCount == 0 || gotS.ForeignCount == 0 {
				t.Errorf("seed %d: %d snapshots, %d segments, %d and %d others", seed, len(gotC.Entries), len(gotS.Entries), gotC.ForeignCount, gotS.ForeignCount)
			}
			if took > slow*2/3 || requests > 2*fewest {
				t.Errorf("seed %d: %d keys in %d requests and %s, undivided %d and %s", seed, listed, requests, took, fewest, slow)
			}
		})
	}
}

func sameError(a, b error) bool { return fmt.Sprint(a) == fmt.Sprint(b) }

// TestSweepFails: one request that fails ends the whole, with its error.
func TestSweepFails(t *testing.T) {
	for fail := int64(1); fail < 30; fail++ {
		synctest.Test(t, func(t *testing.T) {
			b := &pages{memory: newMemory(), takes: time.Millisecond, fail: fail}
			r := open(t, b)
			b.keys = crowd(r, rand.New(rand.NewPCG(7, 7)))
			if _, err := r.Recent(t.Context(), nil, 0); b.request.Load() >= fail && !errors.Is(err, storage.ErrDenied) || b.request.Load() < fail && err != nil {
				t.Errorf("request %d of %d failed: %v", fail, b.request.Load(), err)
			}
		})
	}
}

// TestSweepOfLittle: what fits into a page costs one request.
func TestSweepOfLittle(t *testing.T) {
	b := &pages{memory: newMemory()}
	r := open(t, b)
	for i := range 300 {
		b.keys = append(b.keys, r.ManifestKey(at(time.Duration(i)*time.Hour, 7, 1)))
	}
	if c, err := r.Recent(t.Context(), nil, 0); err != nil || len(c.Entries) != 300 || b.request.Load() != 1 {
		t.Errorf("%d requests, %v", b.request.Load(), err)
	}
}
