package repo

import (
	"context"
	"math"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/drd-project/drd/internal/storage"
)

const (
	// sweepPage is how many keys a store hands out at a time (S3's own bound). A listing that is shorter is not worth dividing.
	sweepPage = 1000
	// sweepAhead is how many times as far as was listed by now the end is guessed to be, where nothing tells. Each guess that
	// is too far costs one request.
	sweepAhead = 4
)

// ruler numbers the keys of a listing, so that it can be divided: along time, or along revisions. What it says decides how fast a
// sweep is, and never what it finds.
type ruler struct {
	at  func(key string) (x int64, ok bool)
	key func(x int64) string // above all keys at lower numbers, and below those at x and higher ones; "": there is none
}

// stretch is a part of a listing: the keys behind after, up to and including until. "" is no bound.
type stretch[T any] struct {
	after, until string
	end          int64  // number of until
	last         string // key that was listed
	from, to     int64  // first and last number of a key that was listed
	measured     bool   // from and to are known
	seen         int    // keys
	taken, done  bool
	found        T
}

// sweep lists what lies below a prefix, several stretches of it at a time. It divides a stretch at a key when somebody has nothing to do:
// what lies up to there stays with whoever lists it. So each key is listed once, whatever keys there are and however wrong the
// guess.
type sweep[T any] struct {
	bucket storage.Bucket
	prefix string
	ruler  ruler
	begin  func() T // an empty T for a stretch
	add    func(T, storage.Object)

	mu        sync.Mutex
	change    sync.Cond     // of all below
	stretches []*stretch[T] // in order of their keys
	failed    bool
}

// run returns what was found in each stretch, in order of the keys.
func (s *sweep[T]) run(ctx context.Context) ([]T, error) {
	s.change.L = &s.mu
	s.stretches = []*stretch[T]{{found: s.begin()}}
	group, ctx := errgroup.WithContext(ctx)
	for range s.workers() {
		group.Go(func() error { return s.work(ctx) })
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	found := make([]T, len(s.stretches))
	for i, p := range s.stretches {
		found[i] = p.found
	}
	return found, nil
}

func (s *sweep[T]) workers() int {
	p := s.bucket.Properties()
	if _, able := s.bucket.(storage.AfterLister); !able || !p.ListsAfter || s.ruler.at == nil {
		return 1
	}
	return max(1, p.Parallel)
}

func (s *sweep[T]) work(ctx context.Context) error {
	for p := s.next(); p != nil; p = s.next() {
		err := s.list(ctx, p)
		s.mu.Lock()
		p.done, s.failed = true, s.failed || err != nil
		s.change.Broadcast()
		s.mu.Unlock()
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *sweep[T]) list(ctx context.Context, p *stretch[T]) error {
	for o, err := range storage.ListAfter(ctx, s.bucket, s.prefix, p.after) {
		if err != nil {
			return err
		}
		if !s.pass(p, o.Key) {
			return nil
		}
		s.add(p.found, o)
	}
	return nil
}

// pass notes how far a stretch was listed, and reports whether the key is still in it.
func (s *sweep[T]) pass(p *stretch[T], key string) bool {
	x, measured := int64(0), false
	if s.ruler.at != nil {
		x, measured = s.ruler.at(key)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed || p.until != "" && key > p.until {
		return false
	}
	p.last = key
	p.seen++
	if measured {
		if !p.measured {
			p.from, p.measured = x, true
		}
		p.to = x
	}
	if p.seen%sweepPage == 0 {
		s.change.Broadcast() // whoever waits may take a part of it
	}
	return true
}

// next is a stretch that somebody has to list, nil when all are listed. It waits while there may be more to divide.
func (s *sweep[T]) next() *stretch[T] {
	s.mu.Lock()
	defer s.mu.Unlock()
	for !s.failed {
		p := s.waiting()
		if p == nil {
			p = s.divide()
		}
		if p != nil {
			p.taken = true
			return p
		}
		if !slices.ContainsFunc(s.stretches, func(p *stretch[T]) bool { return !p.done }) {
			return nil
		}
		s.change.Wait()
	}
	return nil
}

func (s *sweep[T]) waiting() *stretch[T] {
	for _, p := range s.stretches {
		if !p.taken {
			return p
		}
	}
	return nil
}

// divide takes a part of the stretch that has most left, as far as that can be guessed; nil: none is worth it.
func (s *sweep[T]) divide() *stretch[T] {
	best, most := -1, 2.0*sweepPage // with less, two requests would list what one can
	var x int64
	for i, p := range s.stretches {
		if p.done || !p.measured || p.seen < sweepPage {
			continue
		}
		at, left := s.middle(p)
		if key := s.ruler.key(at); left >= most && key > p.last && (p.until == "" || key < p.until) {
			best, most, x = i, left, at
		}
	}
	if best < 0 {
		return nil
	}
	p := s.stretches[best]
	rest := &stretch[T]{after: s.ruler.key(x), until: p.until, end: p.end, found: s.begin()}
	p.until, p.end = rest.after, x
	s.stretches = slices.Insert(s.stretches, best+1, rest)
	return rest
}

// middle is where a stretch would be divided, and about how many keys are left in it.
func (s *sweep[T]) middle(p *stretch[T]) (at int64, left float64) {
	if p.until == "" {
		far := float64(p.to) + sweepAhead*(float64(p.to)-float64(s.stretches[0].from))
		if far >= math.MaxInt64 {
			return 0, 0
		}
		return int64(far), math.Inf(1)
	}
	width := float64(p.to) - float64(p.from)
	return p.to + (p.end-p.to)/2, float64(p.seen) * float64(p.end-p.to) / max(1, width)
}
