package integration

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"

	"github.com/drd-project/drd/test/servers"
)

// liveLoad is clients that change a cluster in every way there is while it is backed up: puts, transactions, deletions of
// one key and of all, leases that are granted, run out and are revoked, and compactions.
type liveLoad struct {
	t       *testing.T
	members []*servers.Etcd
	value   string // begins every value

	done [opKinds]atomic.Int64 // what was done, by kind
}

// op is a kind of change.
type op int

const (
	opPut op = iota
	opTxn
	opDelete
	opDeleteMany
	opDeleteAll
	opGrant
	opRevoke
	opCompact
	opKinds
)

var opNames = [opKinds]string{"puts", "transactions", "deletions", "deletions of many", "deletions of all", "leases granted", "leases revoked", "compactions"}

// loadKeys is how many keys there can be: few enough that most writes replace or delete something.
const loadKeys = 400

// startLoad changes the cluster until the end of the test, or until stop.
func startLoad(t *testing.T, members []*servers.Etcd, value string, seed uint64) (l *liveLoad, stop func()) {
	t.Helper()
	l = &liveLoad{t: t, members: members, value: value}
	ctx, cancel := context.WithCancel(t.Context())
	var clients errgroup.Group
	for i, m := range members {
		client := m.Client(t)
		random := rand.New(rand.NewPCG(seed, uint64(i)))
		clients.Go(func() error { return l.change(ctx, client, random) })
	}
	compactor := members[0].Client(t)
	clients.Go(func() error { return l.compact(ctx, compactor, rand.New(rand.NewPCG(seed, 1<<32))) })
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := clients.Wait(); err != nil {
			t.Errorf("the load: %v", err)
		}
	}
	t.Cleanup(stop)
	return l, stop
}

// String says what was done.
func (l *liveLoad) String() string {
	var counts []string
	for kind := range l.done {
		counts = append(counts, fmt.Sprintf("%d %s", l.done[kind].Load(), opNames[kind]))
	}
	return strings.Join(counts, ", ")
}

// total is how many changes were made.
func (l *liveLoad) total() int64 {
	sum := int64(0)
	for kind := range l.done {
		sum += l.done[kind].Load()
	}
	return sum
}

// wantAll fails the test unless there was every kind of change.
func (l *liveLoad) wantAll() {
	l.t.Helper()
	for kind := range l.done {
		if l.done[kind].Load() == 0 {
			l.t.Errorf("the load had no %s: %v", opNames[kind], l)
		}
	}
}

// misses is how many requests in a row may fail while members elect a leader or the machine is busy.
const misses = 50

// repeat makes requests until ctx ends, each after a pause of at most pauseMax.
func repeat(ctx context.Context, random *rand.Rand, pauseMax time.Duration, request func(context.Context) error) error {
	for missed := 0; ctx.Err() == nil; {
		limited, cancel := context.WithTimeout(ctx, 10*time.Second)
		err := request(limited)
		cancel()
		switch {
		case err == nil, errors.Is(err, rpctypes.ErrLeaseNotFound), errors.Is(err, rpctypes.ErrCompacted):
			missed = 0 // a lease that has run out, a compaction that was overtaken
		case ctx.Err() != nil:
			return nil
		default:
			if missed++; missed == misses {
				return err
			}
		}
		time.Sleep(rand.N(pauseMax))
	}
	return nil
}

// change is one client.
func (l *liveLoad) change(ctx context.Context, client *clientv3.Client, random *rand.Rand) error {
	var leases []clientv3.LeaseID
	return repeat(ctx, random, 16*time.Millisecond, func(ctx context.Context) error {
		kind, err := opPut, error(nil)
		switch n := random.IntN(1000); {
		case n < 500:
			_, err = client.Put(ctx, l.key(random), l.content(random))
		case n < 700:
			kind, err = opTxn, l.txn(ctx, client, random)
		case n < 850:
			kind = opDelete
			_, err = client.Delete(ctx, l.key(random))
		case n < 870:
			kind = opDeleteMany
			_, err = client.Delete(ctx, fmt.Sprintf("/registry/pods/default/%d", random.IntN(4)), clientv3.WithPrefix())
		case n < 875:
			kind = opDeleteAll
			_, err = client.Delete(ctx, "\x00", clientv3.WithFromKey())
		case n < 950 || len(leases) == 0:
			kind = opGrant
			leases, err = l.grant(ctx, client, random, leases)
		default:
			kind = opRevoke
			i := random.IntN(len(leases))
			_, err = client.Revoke(ctx, leases[i])
			leases = append(leases[:i], leases[i+1:]...)
		}
		if err == nil {
			l.done[kind].Add(1)
		}
		return err
	})
}

func (l *liveLoad) key(random *rand.Rand) string {
	n := random.IntN(loadKeys)
	if n%2 == 0 {
		return fmt.Sprintf("/registry/pods/default/%03d", n)
	}
	return fmt.Sprintf("app/%03d", n)
}

// content is 0.1 to 8 KiB, so that pages are split and merged.
func (l *liveLoad) content(random *rand.Rand) string {
	return fmt.Sprintf("%s %0*d", l.value, 100+random.IntN(8<<10), random.Int64())
}

// txn makes several changes in one revision.
func (l *liveLoad) txn(ctx context.Context, client *clientv3.Client, random *rand.Rand) error {
	first, second := random.IntN(loadKeys/2), random.IntN(loadKeys/2) // different keys: etcd takes no key twice
	_, err := client.Txn(ctx).
		If(clientv3.Compare(clientv3.CreateRevision(l.key(random)), ">", 0)).
		Then(
			clientv3.OpPut(fmt.Sprintf("txn/a/%d", first), l.content(random)),
			clientv3.OpPut(fmt.Sprintf("txn/b/%d", second), l.content(random)),
			clientv3.OpDelete("txn/c/", clientv3.WithPrefix()),
		).
		Else(clientv3.OpPut(fmt.Sprintf("txn/c/%d", first), l.content(random)), clientv3.OpDelete(fmt.Sprintf("txn/a/%d", second))).
		Commit()
	return err
}

// grant makes a lease with a few keys. Many of them run out while a drill works.
func (l *liveLoad) grant(ctx context.Context, client *clientv3.Client, random *rand.Rand, leases []clientv3.LeaseID) ([]clientv3.LeaseID, error) {
	ttl := []int64{1, 2, 5, 60, 3600}[random.IntN(5)]
	lease, err := client.Grant(ctx, ttl)
	if err != nil {
		return leases, err
	}
	for range random.IntN(4) {
		if _, err := client.Put(ctx, l.key(random), l.content(random), clientv3.WithLease(lease.ID)); err != nil {
			return leases, err
		}
	}
	if random.IntN(2) == 0 {
		_, err = client.KeepAliveOnce(ctx, lease.ID)
	}
	return append(leases, lease.ID), err
}

// compact compacts now near the newest revision and now far behind, and sometimes waits for the members to be done.
func (l *liveLoad) compact(ctx context.Context, client *clientv3.Client, random *rand.Rand) error {
	return repeat(ctx, random, 600*time.Millisecond, func(ctx context.Context) error {
		newest, err := client.Get(ctx, "newest", clientv3.WithCountOnly())
		if err != nil {
			return err
		}
		behind := []int64{0, 10, 200, 500}[random.IntN(4)]
		var options []clientv3.CompactOption
		if random.IntN(3) == 0 {
			options = append(options, clientv3.WithCompactPhysical())
		}
		if _, err := client.Compact(ctx, max(1, newest.Header.Revision-behind), options...); err != nil {
			return err
		}
		l.done[opCompact].Add(1)
		return nil
	})
}
