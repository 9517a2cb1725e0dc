package archiver

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/drd-project/drd/internal/archive"
	"github.com/drd-project/drd/internal/archive/follow"
	"github.com/drd-project/drd/internal/etcd"
	"github.com/drd-project/drd/internal/repo"
)

// vainTimes is how often, at least, the same revision ends an attempt before it is left to a snapshot.
const vainTimes = 5

// vain are attempts that did not come further than a revision.
type vain struct {
	revision int64
	times    int
	since    time.Time // on this process's clock
}

// write follows the member until it cannot, or need not, go on.
func (a *Archiver) write(ctx context.Context, member *etcd.Client, from follow.Position, leads bool) (pause time.Duration, err error) {
	a.cfg.Log.Debug("the archive is written by this node", "timeline", from.Timeline, "after_revision", from.Revision)
	at, err := a.follow(ctx, member, from)
	switch {
	case errors.Is(err, follow.ErrOtherHistory):
		return 0, a.other(ctx, from.Timeline, leads, err)
	case errors.Is(err, follow.ErrClock):
		return 0, a.fork(ctx, from.Timeline, err)
	}
	a.otherSince = time.Time{}
	if a.hopeless(ctx, member, at, err) {
		return a.cfg.pace.shortest, a.skip(at, err)
	}
	return 0, err
}

// hopeless reports whether a watch from there would fail again.
func (a *Archiver) hopeless(ctx context.Context, member *etcd.Client, at follow.Position, err error) bool {
	is := func(known ...error) bool {
		return slices.ContainsFunc(known, func(k error) bool { return errors.Is(err, k) })
	}
	switch {
	case err == nil || ctx.Err() != nil:
		return false
	case is(follow.ErrBehind, follow.ErrUnfit, etcd.ErrGap, etcd.ErrTooLarge):
		return true
	case is(follow.ErrRefused, etcd.ErrUnreachable, etcd.ErrTLS, etcd.ErrPermission, etcd.ErrLearner, etcd.ErrNoQuorum):
		return false // it lies not in what the watch tells
	}
	return a.stuck(ctx, member, at)
}

// stuck counts the attempts that ended where they had begun. After many of them, for a long time, and with a member that is well and has
// more to tell, it is what comes next that ends them, whatever that is: a hole with a name is better than no archive.
func (a *Archiver) stuck(ctx context.Context, member *etcd.Client, at follow.Position) bool {
	if at.Revision == 0 || at.Revision != a.vain.revision || a.vain.times == 0 {
		a.vain = vain{revision: at.Revision, since: time.Now()}
	}
	a.vain.times++
	if a.vain.times < vainTimes || time.Since(a.vain.since) < a.cfg.pace.vain {
		return false
	}
	s, err := member.Status(ctx)
	if err != nil || s.Revision <= at.Revision || s.Leader == 0 || at.Revision == 0 {
		return false
	}
	a.vain = vain{}
	return true
}

// follow runs the follower, and stops it when it need not go on.
func (a *Archiver) follow(ctx context.Context, member *etcd.Client, from follow.Position) (follow.Position, error) {
	ctx, stop := context.WithCancel(ctx)
	var beside sync.WaitGroup
	defer beside.Wait()
	defer stop()
	defer a.turn(time.Time{})
	a.fresh = from.Revision == 0
	beside.Go(func() { a.beside(ctx, stop, from) })
	return a.follower.Run(ctx, member, from)
}

// beside sees to it that a snapshot leads to what is written, and ends the writing when the snapshots lie on another timeline,
// or when another node writes.
func (a *Archiver) beside(ctx context.Context, stop context.CancelFunc, from follow.Position) {
	if from.Revision == 0 { // what lies between the newest snapshot and now is in no segment: a new one reaches beyond it
		if sleep(ctx, a.cfg.pace.overlap); ctx.Err() == nil {
			a.ask()
		}
	}
	look := time.NewTicker(a.cfg.pace.look)
	defer look.Stop()
	for ctx.Err() == nil {
		a.close()
		select {
		case m := <-a.taken:
			if m.Timeline != from.Timeline {
				a.cfg.Log.Info("the newest snapshot lies on another timeline: the archive goes on there", "timeline", m.Timeline)
				stop()
			}
		case <-look.C:
			if a.replaced(ctx, from.Timeline) {
				a.cfg.Log.Info("another node writes the archive: this one stops")
				stop()
			}
		case <-ctx.Done():
		}
	}
}

// ready signs a segment, enqueues it, and remembers where the archive is now: in this order.
func (a *Archiver) ready(ctx context.Context, s *archive.Sealed) (string, error) {
	signed, err := repo.SignSegment(s.Segment, a.cfg.Signer)
	if err != nil {
		return "", err
	}
	if err := a.cfg.Queue.EnqueueSegment(ctx, s.Path, signed, s.Key); err != nil {
		return "", err
	}
	position := follow.After(signed.Segment, signed.Digest())
	err = a.change(func(st *state) {
		if a.fresh {
			st.Open, st.Since = signed.Segment.First-1, time.Time{}
		}
		st.Position = &position
	})
	if err != nil {
		return "", err
	}
	if a.fresh {
		a.fresh = false
		a.close()
	}
	a.worked()
	if a.failing {
		a.failing = false
		a.cfg.Log.Info("the archive is written again", "revision", position.Revision)
	}
	return signed.Digest(), s.Remove()
}

// skip leaves a hole, and goes on behind it. at is where the archive came.
func (a *Archiver) skip(at follow.Position, cause error) error {
	lost := errors.Is(cause, etcd.ErrCompacted)
	err := a.change(func(s *state) {
		switch {
		case lost:
			s.Gaps, s.Behind = s.Gaps+1, 0
		case s.Behind == 0 && !a.fresh:
			s.Behind = at.Revision
		}
		s.Open, s.Since = 0, time.Time{}
		s.Position = &at
		s.Position.Revision, s.Position.RevisionSHA256 = 0, ""
	})
	if !lost {
		a.cfg.Log.Warn("the archive is too far behind to catch up by a watch; a snapshot brings what is missing", "error", cause)
		return err
	}
	a.cfg.Log.Error("the archive has a gap; a snapshot closes it", "error", cause)
	a.gap()
	return err
}

func (a *Archiver) gap() {
	if a.cfg.Gap != nil {
		a.cfg.Gap()
	}
}

// changed asks for a snapshot of what the watch does not see. One that is being taken may not have it: another follows.
func (a *Archiver) changed(string) { a.cfg.Snapshot() }
