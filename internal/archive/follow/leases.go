package follow

import (
	"context"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/drd-project/drd/internal/etcd"
)

const (
	// leaseAge is how old an answer may be: whoever chooses lease IDs may grant one again, for another time.
	leaseAge = 10 * time.Minute
	// leaseQuestions are asked at the same time. One takes some ms under load, most of them spent waiting for the leader, which answers those that
	// come together at once.
	leaseQuestions = 32
	// leaseTries is how often a member that is busy is asked, with a pause before each further time that begins with leasePause and doubles.
	leaseTries = 5
	leasePause = 250 * time.Millisecond
	// maxLeases bounds the memory of answers, some 10 MB. What is forgotten is asked again.
	maxLeases = 250_000
	// maxAhead bounds how many leases that no change has named yet are asked about in one poll.
	maxAhead = 1000
)

// leases are the answers of the cluster about its leases. It is safe for concurrent use.
type leases struct {
	mu    sync.Mutex
	known map[int64]granted
}

type granted struct {
	ttl   int64     // seconds; 0: nobody could tell
	asked time.Time // zero: to be asked again
	gone  time.Time // when it was seen no more; zero: it was not missed
}

func newLeases() *leases { return &leases{known: make(map[int64]granted)} }

// ttl is the answer about a lease, if it is still good.
func (l *leases) ttl(id int64) (seconds int64, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	g, ok := l.known[id]
	return g.ttl, ok && time.Since(g.asked) < leaseAge
}

// remember takes an answer in, 0 for a lease that is gone, which does not unsay what it was granted for. It returns what is
// known now, and whether it is news that nobody can tell.
func (l *leases) remember(id, seconds int64) (ttl int64, lost bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	old, known := l.known[id]
	if seconds == 0 {
		seconds = old.ttl
	}
	if !known && len(l.known) >= maxLeases {
		clear(l.known)
	}
	l.known[id] = granted{ttl: seconds, asked: time.Now()}
	return seconds, !known && seconds == 0
}

// keep makes sure that leases that are not alive are asked about again when they are named: they were granted anew
// then, or the change is an old one. After a while they are forgotten.
func (l *leases) keep(alive []int64) {
	living := make(map[int64]bool, len(alive))
	for _, id := range alive {
		living[id] = true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, g := range l.known {
		switch {
		case living[id]:
		case g.gone.IsZero():
			l.known[id] = granted{ttl: g.ttl, gone: time.Now()}
		case time.Since(g.gone) > leaseAge:
			delete(l.known, id)
		}
	}
}

// askLeases returns for how many seconds each lease was granted, and asks the member where that is not known.
func (f *Follower) askLeases(ctx context.Context, member *etcd.Client, ids []int64) (map[int64]int64, error) {
	out := make(map[int64]int64, len(ids))
	var unknown []int64
	for _, id := range ids {
		if _, twice := out[id]; twice {
			continue
		}
		seconds, known := f.leases.ttl(id)
		if out[id] = seconds; !known {
			unknown = append(unknown, id)
		}
	}
	if len(unknown) == 0 { // nearly always
		return out, nil
	}
	var mu sync.Mutex
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(leaseQuestions)
	for _, id := range unknown {
		group.Go(func() error {
			seconds, err := askLease(ctx, member, id)
			if err != nil {
				return err
			}
			seconds, lost := f.leases.remember(id, seconds)
			if lost {
				f.unknown.Add(1)
			}
			mu.Lock()
			defer mu.Unlock()
			out[id] = seconds
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, fmt.Errorf("learn how long leases were granted for: %w", err)
	}
	return out, nil
}

// askLease asks about one lease. A member under load may refuse to answer in time, and does so for a moment only.
func askLease(ctx context.Context, member *etcd.Client, id int64) (seconds int64, err error) {
	for try, pause := 1, leasePause; ; try, pause = try+1, 2*pause {
		seconds, _, err = member.LeaseTTL(ctx, id)
		if err == nil || try == leaseTries || ctx.Err() != nil {
			return seconds, err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

// orUnknown is what is written for an answer.
func (f *Follower) orUnknown(seconds int64) int64 {
	if seconds == 0 {
		return f.cfg.UnknownTTL
	}
	return seconds
}
