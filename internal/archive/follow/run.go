package follow

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/drd-project/drd/internal/archive"
	"github.com/drd-project/drd/internal/etcd"
)

// Run follows the member from a position until ctx ends, and returns the position that is archived then. After ctx has
// ended it hands over what had happened until then, in some seconds at most, and returns nil. Other errors are told in the
// package comment; what was whole is handed over before them too, if that is possible.
func (f *Follower) Run(ctx context.Context, member *etcd.Client, from Position) (Position, error) {
	// What is under way when ctx ends may still be finished.
	outliving, stop := outlive(ctx)
	defer stop()
	r := &run{recorder: recorder{f: f, at: from, clock: archive.NewClock(from.Time)}, etcd: member, started: time.Now()}
	if err := r.prepare(ctx, outliving); err != nil {
		r.close()
		if ctx.Err() != nil {
			return from, nil
		}
		return from, fmt.Errorf("follow the cluster: %w", overtaken(err))
	}
	f.cfg.Log.Info("archive follows the cluster", "timeline", r.at.Timeline, "member", r.member.Name, "after_revision", r.at.Revision)
	err := r.follow(ctx, outliving)
	r.close()
	if err = errors.Join(err, r.discard()); err != nil {
		return r.at, fmt.Errorf("follow the cluster: %w", overtaken(err))
	}
	return r.at, nil
}

// outlive is a context that ends some time after ctx.
func outlive(ctx context.Context) (context.Context, context.CancelFunc) {
	out, cancel := context.WithCancel(context.WithoutCancel(ctx))
	release := context.AfterFunc(ctx, func() { time.AfterFunc(grace, cancel) })
	return out, func() {
		release()
		cancel()
	}
}

// overtaken turns a compaction that overtook the watch into an ErrBehind.
func overtaken(err error) error {
	if errors.Is(err, etcd.ErrCompacted) && !errors.Is(err, ErrBehind) {
		return fmt.Errorf("%w: %w", ErrBehind, err)
	}
	return err
}

// run is a Run at work. All of it belongs to one goroutine, which three others serve.
type run struct {
	recorder
	etcd    *etcd.Client
	started time.Time // on this process's clock
	watch   *etcd.Watch
	compare *hasher // of the last archived revision, until it is found to be the same

	caughtUp int64     // revision at the start: what comes up to it was not seen when it happened
	late     time.Time // but before this time
	missed   int64     // bytes of it

	whole    int64     // every change up to this revision has come
	knownAt  time.Time // when the member had nothing after whole
	heard    time.Time // the newest sign of it, on this process's clock
	owes     bool      // at the last look the member had more than it had told
	trailing time.Time // since when it is too far behind, on this process's clock; zero: it is not
}

// received is what the watch brought last: a batch or its end.
type received struct {
	batch etcd.Batch
	err   error
}

// follow takes what the watch and the poll bring until something ends it, and hands the rest over.
func (r *run) follow(ctx, outliving context.Context) error {
	serving, stop := context.WithCancel(outliving)
	var serve sync.WaitGroup
	batches, looks := make(chan received), make(chan look)
	serve.Go(func() { r.receive(serving, batches) })
	serve.Go(func() { r.f.watchMember(serving, r.etcd, looks) })
	serve.Go(func() { r.f.poll(serving, r.etcd) })
	err := r.loop(ctx, outliving, batches, looks)
	if err == nil { // ctx has ended
		err = r.drain(outliving, batches)
	}
	stop()
	r.watch.Close() // or its reader would wait for the member
	serve.Wait()
	return errors.Join(err, r.handRest(outliving))
}

// receive passes on what the watch brings, one at a time: nobody reads ahead.
func (r *run) receive(ctx context.Context, to chan<- received) {
	for {
		batch, err := r.watch.Next()
		select {
		case to <- received{batch, err}:
		case <-ctx.Done():
			return
		}
		if err != nil {
			return
		}
	}
}

// loop goes on until ctx ends, which is no error.
func (r *run) loop(ctx, outliving context.Context, batches <-chan received, looks <-chan look) error {
	// A segment is handed over at the first tick after its time: a tenth late at most, so that the archive is not a second behind what
	// flush_interval promises.
	tick := time.NewTicker(min(time.Second, r.f.cfg.FlushInterval/10))
	defer tick.Stop()
	r.heard = time.Now()
	for {
		var err error
		var begun time.Time
		select {
		case in := <-batches:
			begun = time.Now()
			err = r.receipt(outliving, in)
		case <-tick.C:
			begun = time.Now()
			err = r.tick(outliving)
		case l := <-looks:
			begun = time.Now()
			err = r.compareWith(outliving, l)
		case <-ctx.Done():
			return nil
		}
		if err != nil {
			return err
		}
		r.heard = r.heard.Add(time.Since(begun)) // while we were busy the member was not silent
		if r.f.cfg.Turned != nil {
			r.f.cfg.Turned()
		}
	}
}

// receipt takes what came from the watch, be it its end.
func (r *run) receipt(ctx context.Context, in received) error {
	switch {
	case in.err == nil:
		return r.take(ctx, in.batch)
	case r.compare != nil && errors.Is(in.err, etcd.ErrGap):
		return errors.Join(r.compactedInto(ctx), in.err) // the revision to compare is not there
	}
	return in.err
}

// close ends the watch.
func (r *run) close() {
	if r.watch != nil {
		r.watch.Close()
	}
}
