package daemon

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/drd-project/drd/internal/backup"
	"github.com/drd-project/drd/internal/metrics"
	"github.com/drd-project/drd/internal/replicate"
	"github.com/drd-project/drd/internal/repo"
)

// Archive is the continuous archive of this node. *archiver.Archiver is one.
type Archive interface {
	// Run writes it until ctx ends, and hands over the tail then.
	Run(ctx context.Context)
	// Snapshotted tells of a snapshot of this node.
	Snapshotted(m *repo.Manifest)
	// Whole reports whether what is written now can be restored, and from when on a target must have a snapshot for that.
	Whole() (since time.Time, ok bool)
	// Failing is why nothing is written, and since when; nil: all is well.
	Failing() (since time.Time, err error)
	// Turned is when its loop last turned, with a monotonic reading; zero while it does not run.
	Turned() time.Time
}

const (
	// archiveExtra bounds the snapshots that the archive asks for: what closes a gap is wanted at once, and an archive that
	// has one gap after the other must not keep the member busy with snapshots.
	archiveExtra = time.Minute
	// archiveTold is how often the metrics say how far the archive is behind.
	archiveTold = 5 * time.Second
	// archiveStill is how long the loop that writes the archive may be busy with one thing: a revision of a million changes takes seconds.
	archiveStill = 10 * time.Minute
	// archiveTail is how long the daemon goes on at its end to bring the last seconds of the archive to the targets: far below
	// systemd's patience of 90 s.
	archiveTail = 5 * time.Second
)

// archiveLoop is what the pulse calls the loop that writes the archive.
const archiveLoop = "archive"

// archiving runs the archive, and takes the snapshots that it asks for.
type archiving struct {
	archive Archive
	take    func(context.Context, *time.Time) (*backup.Result, error)
	queue   *replicate.Queue
	metrics *metrics.Metrics
	log     *slog.Logger
	now     func() time.Time
	told    *notifier
	wanted  chan struct{} // holds a wish
	ended   chan struct{} // closed when the tail is in the spool
}

// newArchiving makes the archive of cfg and has every snapshot told to it; nil where there is none.
func newArchiving(ctx context.Context, cfg *Config, tell *notifier) (*archiving, error) {
	if cfg.Archive == nil {
		return nil, nil
	}
	a := &archiving{queue: cfg.Queue, metrics: cfg.Metrics, log: cfg.Log, now: cfg.Now, told: tell, wanted: make(chan struct{}, 1), ended: make(chan struct{})}
	archive, err := cfg.Archive(ctx, a.want, cfg.Metrics.ArchiveGap)
	if err != nil {
		return nil, err
	}
	take := cfg.Backup
	a.archive = archive
	a.take = func(ctx context.Context, slot *time.Time) (*backup.Result, error) {
		result, err := take(ctx, slot)
		if taken(result) {
			archive.Snapshotted(result.Manifest)
		}
		return result, err
	}
	cfg.Backup = a.take
	return a, nil
}

// run writes the archive until ctx ends.
func (a *archiving) run(ctx context.Context) {
	defer close(a.ended)
	a.archive.Run(ctx)
}

// runQueue runs the queue until ctx ends and the tail of the archive is in every target that takes it, or some seconds are over.
// Without an archive, a is nil.
func (a *archiving) runQueue(ctx context.Context, q *replicate.Queue) {
	if a == nil {
		q.Run(ctx)
		return
	}
	outliving, stop := context.WithCancel(context.WithoutCancel(ctx))
	var tail sync.WaitGroup
	tail.Go(func() {
		defer stop()
		<-ctx.Done()
		<-a.ended
		for end := time.Now().Add(archiveTail); time.Now().Before(end) && slices.ContainsFunc(q.Status(), underWay); {
			time.Sleep(archiveTail / 100)
		}
	})
	q.Run(outliving)
	tail.Wait()
}

// underWay reports whether a target takes segments and has not got all.
func underWay(s replicate.Status) bool {
	return s.Segments.Queued > s.Segments.Failed && s.Segments.Attempts == 0
}

func (a *archiving) want() {
	select {
	case a.wanted <- struct{}{}:
	default: // it is asked for already
	}
}

// snapshots takes one for each wish, until ctx ends.
func (a *archiving) snapshots(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-a.wanted:
		}
		result, err := a.take(ctx, nil)
		if err != nil && ctx.Err() == nil {
			a.metrics.Error(metrics.StageSnapshot)
			a.log.Error("the snapshot that the archive asked for was not taken", problem(err)...)
		}
		if !taken(result) && !errors.Is(err, context.Canceled) {
			a.want()
		}
		sleep(ctx, archiveExtra)
	}
}

// tell keeps the metrics and the status until ctx ends, and has a snapshot taken for a target that lost a part of the archive.
func (a *archiving) tell(ctx context.Context) {
	defer a.told.pulse.away(archiveLoop)
	gaps := make(map[string]int) // by target: how many a snapshot was wanted for
	for _, s := range a.queue.Status() {
		gaps[s.Target] = s.Segments.Gaps
	}
	for ; ctx.Err() == nil; sleep(ctx, archiveTold) {
		a.promise()
		since, whole := a.archive.Whole()
		var newest time.Time
		for _, s := range a.queue.Status() {
			if acked := s.Segments.Acked; acked.Timeline != "" {
				a.metrics.SetArchive(s.Target, acked.Revision, acked.At, a.now())
				if whole {
					newest = later(newest, a.point(s.Target, acked.At, since))
				}
			}
			a.refill(s, gaps)
		}
		a.told.archived(newest)
		a.told.unarchived(a.archive.Failing())
	}
}

// promise says that the loop which writes the archive turns. Between its attempts, and while another node writes, it is away at the targets.
func (a *archiving) promise() {
	if at := a.archive.Turned(); at.IsZero() || time.Since(at) < archiveStill {
		a.told.pulse.within(archiveTold, archiveLoop)
	}
}

// point tells to when the archive brings a target back, and returns that, as far as it was seen there. No clock has shown a time of
// the future: an archive that ends in one was written by a wrong one.
func (a *archiving) point(target string, at, since time.Time) time.Time {
	if repo.InFuture(at, a.now()) {
		at = time.Time{}
	}
	return a.metrics.SetArchivePoint(target, at, since)
}

// holed wants a snapshot for a target that lacks what was brought there, which the queue cannot know: somebody has deleted it.
func (a *archiving) holed(target string, revision int64) {
	a.metrics.ArchiveGap()
	a.log.Error("the archive of a target has a hole; a snapshot closes it", "target", target, "revision", revision, "hint", "find out who else deletes there")
	a.want()
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// refill wants a snapshot for a target that lost segments: they were dropped, or damaged there. While it is away it would not
// get that either, and what waits for it may be dropped too.
func (a *archiving) refill(s replicate.Status, gaps map[string]int) {
	if s.Segments.Gaps <= gaps[s.Target] || s.Segments.Attempts > 0 {
		return
	}
	for range s.Segments.Gaps - gaps[s.Target] {
		a.metrics.ArchiveGap()
	}
	gaps[s.Target] = s.Segments.Gaps
	a.log.Error("the archive of a target has a gap; a snapshot closes it", "target", s.Target)
	a.want()
}
