//go:build bench

package bench

import (
	"context"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"

	"github.com/drd-project/drd/test/servers"
)

const (
	clients       = 4   // connections, as etcd's own benchmark has with this load
	putters       = 128 // puts that may be under way at once
	smallValue    = 1 << 10
	smallOpaque   = 420 // of them; the share is that of the other benches
	archivedKeys  = 50_000
	tolerance     = time.Second // a putter that is later than that gives up what it has missed
	loadedRate    = 5000        // puts a second, unless DRD_BENCH_RATE says otherwise
	answerTimeout = 30 * time.Second
)

// load is a cluster's daily business: puts of 1 KiB at a fixed rate.
type load struct {
	t       *testing.T
	rate    int // puts a second
	clients []*clientv3.Client
	seed    uint64
}

// put is one that was answered.
type put struct {
	revision int64
	answered time.Time
	took     time.Duration // from the call to the answer
}

func newLoad(t *testing.T, e *servers.Etcd) *load {
	l := &load{t: t, rate: setting(t, "DRD_BENCH_RATE", loadedRate)}
	for range clients {
		l.clients = append(l.clients, e.Client(t))
	}
	return l
}

// keysOnce puts every key that the load will write once, as fast as etcd takes it.
func (l *load) keysOnce() {
	l.seed++
	l.each(func(putter int, random *rand.Rand) error {
		for i := putter; i < archivedKeys; i += putters {
			if _, err := l.put(putter, i, random); err != nil {
				return err
			}
		}
		return nil
	})
}

// run puts for so long, and returns what was answered, by revision. Each putter has its own times to put at: one that is slow
// keeps no other waiting, and makes up for what it missed, up to a bound. Then the rate is missed, and is told.
func (l *load) run(d time.Duration) []put {
	l.seed++
	answered := make([][]put, putters)
	interval := time.Second * putters / time.Duration(l.rate)
	begin := time.Now()
	l.each(func(putter int, random *rand.Rand) error {
		due := begin.Add(interval * time.Duration(putter) / putters)
		for ; due.Sub(begin) < d; due = due.Add(interval) {
			time.Sleep(time.Until(due))
			if late := time.Since(due); late > tolerance {
				due = due.Add(late)
			}
			p, err := l.put(putter, random.IntN(archivedKeys), random)
			if err != nil {
				return err
			}
			answered[putter] = append(answered[putter], p)
		}
		return nil
	})
	all := slices.Concat(answered...)
	slices.SortFunc(all, func(a, b put) int { return int(a.revision - b.revision) })
	return all
}

// runAll puts so many, at the rate or as fast as the member takes them.
func (l *load) runAll(puts int) {
	for puts > 0 {
		puts -= len(l.run(max(time.Second, time.Duration(puts)*time.Second/time.Duration(l.rate))))
	}
}

func (l *load) each(f func(putter int, random *rand.Rand) error) {
	var g errgroup.Group
	for putter := range putters {
		g.Go(func() error { return f(putter, rand.New(rand.NewPCG(l.seed, uint64(putter)))) })
	}
	if err := g.Wait(); err != nil {
		l.t.Error(err)
		runtime.Goexit() // as Fatal does, which only the test's own goroutine may call
	}
}

func (l *load) put(putter, key int, random *rand.Rand) (put, error) {
	value := object(random, smallValue, smallOpaque)
	ctx, cancel := context.WithTimeout(context.Background(), answerTimeout)
	defer cancel()
	begin := time.Now()
	out, err := l.clients[putter%clients].Put(ctx, keyOf(key), value)
	if err != nil {
		return put{}, err
	}
	end := time.Now()
	return put{revision: out.Header.Revision, answered: end, took: end.Sub(begin)}, nil
}

// tick changes something, and returns the revision of that.
func (l *load) tick() int64 {
	p, err := l.put(0, 0, rand.New(rand.NewPCG(0, 0)))
	if err != nil {
		l.t.Fatal(err)
	}
	return p.revision
}

// hash is what the member says of itself at its newest revision.
func (l *load) hash(e *servers.Etcd) (revision int64, hash uint32) {
	revision = l.tick()
	out, err := l.clients[0].HashKV(l.t.Context(), e.Endpoint(), revision)
	if err != nil {
		l.t.Fatal(err)
	}
	return revision, out.Hash
}

// compact makes the member forget what came before a revision, and give the room back to itself.
func (l *load) compact(revision int64) {
	if _, err := l.clients[0].Compact(l.t.Context(), revision, clientv3.WithCompactPhysical()); err != nil {
		l.t.Fatal(err)
	}
}

// quantile is the value below which that share of them lies.
func quantile(values []time.Duration, q float64) time.Duration {
	s := slices.Sorted(slices.Values(values))
	return s[min(len(s)-1, int(q*float64(len(s))))]
}

func latencies(puts []put) []time.Duration {
	out := make([]time.Duration, len(puts))
	for i, p := range puts {
		out[i] = p.took
	}
	return out
}

// rateOf is how many puts a second were answered.
func rateOf(puts []put) float64 {
	first, last := puts[0].answered, puts[0].answered
	for _, p := range puts {
		if p.answered.Before(first) {
			first = p.answered
		}
		if p.answered.After(last) {
			last = p.answered
		}
	}
	return float64(len(puts)-1) / last.Sub(first).Seconds()
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
