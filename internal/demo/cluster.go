package demo

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"
)

const (
	// writers is how many requests are under way while the cluster is filled: etcd puts what arrives together into
	// one write to its log, so that a slow disk costs a tenth as much.
	writers = 16
	// eventTTL is how long a Kubernetes API server keeps events, in seconds.
	eventTTL = 3600
	// eventsPerLease: an API server lets events of the same minute share a lease.
	eventsPerLease = 250
	// writePause lies between two writes of the load that goes on: at most 200 a second, which leaves most of a
	// small machine to the rest.
	writePause = 5 * time.Millisecond
)

// cluster writes into etcd what a Kubernetes API server would, the way it does: every object is created in a
// transaction that demands it be new, and each change is a revision of its own.
type cluster struct {
	client *clientv3.Client
	kinds  []kind
	gen    *generator

	objects []object // that exist
	bytes   int64    // of their values when they were created
	events  int
	lease   clientv3.LeaseID // of the newest events

	mu   sync.Mutex
	last int64 // newest revision that etcd acknowledged
}

// acknowledge notes the revision of an answer.
func (c *cluster) acknowledge(revision int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = max(c.last, revision)
}

// generate makes the next object, and for an event sees to it that there is a lease.
func (c *cluster) generate(ctx context.Context, k kind) (object, []clientv3.OpOption, error) {
	o := k.make(c.gen)
	if !o.event {
		return o, nil, nil
	}
	if c.events%eventsPerLease == 0 {
		granted, err := c.client.Grant(ctx, eventTTL)
		if err != nil {
			return object{}, nil, fmt.Errorf("grant a lease: %w", err)
		}
		c.lease = granted.ID
	}
	c.events++
	return o, []clientv3.OpOption{clientv3.WithLease(c.lease)}, nil
}

func (c *cluster) create(ctx context.Context, o object, opts []clientv3.OpOption) error {
	answer, err := c.client.Txn(ctx).
		If(clientv3.Compare(clientv3.ModRevision(o.key), "=", 0)).
		Then(clientv3.OpPut(o.key, string(o.value), opts...)).
		Commit()
	if err != nil {
		return fmt.Errorf("create %s: %w", o.key, err)
	}
	if !answer.Succeeded {
		return fmt.Errorf("create %s: it exists", o.key)
	}
	c.acknowledge(answer.Header.Revision)
	return nil
}

// load fills the cluster.
func (c *cluster) load(ctx context.Context) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(writers)
	failed := c.generateAll(gctx, func(o object, opts []clientv3.OpOption) {
		g.Go(func() error { return c.create(gctx, o, opts) })
	})
	// A failed create ends gctx, which may be why generateAll failed: its own error comes first.
	return errors.Join(g.Wait(), failed)
}

func (c *cluster) generateAll(ctx context.Context, each func(object, []clientv3.OpOption)) error {
	for _, k := range c.kinds {
		for range k.count {
			o, opts, err := c.generate(ctx, k)
			if err != nil {
				return err
			}
			c.objects = append(c.objects, o)
			c.bytes += int64(len(o.value))
			each(o, opts)
		}
	}
	return nil
}

// age gives the store a past: updates, deletions, and a compaction that forgets the first part of it.
func (c *cluster) age(ctx context.Context, changes int) error {
	for i := range changes {
		if err := c.change(ctx); err != nil {
			return err
		}
		if i != changes/2 {
			continue
		}
		if _, err := c.client.Compact(ctx, c.last, clientv3.WithCompactPhysical()); err != nil {
			return fmt.Errorf("compact: %w", err)
		}
	}
	return nil
}

// change does one thing that happens in a living cluster: mostly an update, sometimes an object comes or goes.
func (c *cluster) change(ctx context.Context) error {
	switch n := c.gen.IntN(10); {
	case n < 6:
		return c.update(ctx)
	case n < 8:
		return c.remove(ctx)
	}
	o, opts, err := c.generate(ctx, c.kinds[2+c.gen.IntN(len(c.kinds)-2)]) // no namespaces, no nodes
	if err != nil {
		return err
	}
	c.objects = append(c.objects, o)
	return c.create(ctx, o, opts)
}

func (c *cluster) update(ctx context.Context) error {
	o := &c.objects[c.gen.IntN(len(c.objects))]
	o.value = c.gen.revise(o.value)
	var opts []clientv3.OpOption
	if o.event {
		opts = append(opts, clientv3.WithIgnoreLease())
	}
	answer, err := c.client.Put(ctx, o.key, string(o.value), opts...)
	if err != nil {
		return fmt.Errorf("update %s: %w", o.key, err)
	}
	c.acknowledge(answer.Header.Revision)
	return nil
}

func (c *cluster) remove(ctx context.Context) error {
	i := c.gen.IntN(len(c.objects))
	key := c.objects[i].key
	answer, err := c.client.Delete(ctx, key)
	if err != nil {
		return fmt.Errorf("delete %s: %w", key, err)
	}
	c.acknowledge(answer.Header.Revision)
	c.objects[i] = c.objects[len(c.objects)-1]
	c.objects = c.objects[:len(c.objects)-1]
	return nil
}

// keepWriting changes the cluster in a goroutine until stop is called, which waits for it and says how many changes there
// were. A request under way is finished: whether an abandoned one took effect, nobody could say.
func (c *cluster) keepWriting(ctx context.Context) (stop func() (changes int, err error)) {
	enough, done := make(chan struct{}), make(chan struct{})
	var changes int
	var failed error
	go func() {
		defer close(done)
		tick := time.NewTicker(writePause)
		defer tick.Stop()
		for {
			select {
			case <-enough:
				return
			case <-ctx.Done():
				failed = context.Cause(ctx)
				return
			case <-tick.C:
			}
			if failed = c.change(ctx); failed != nil {
				return
			}
			changes++
		}
	}()
	end := sync.OnceFunc(func() { close(enough) })
	return func() (int, error) {
		end()
		<-done
		return changes, failed
	}
}
