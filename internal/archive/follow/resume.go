package follow

import (
	"context"
	"fmt"

	"github.com/drd-project/drd/internal/etcd"
	"github.com/drd-project/drd/internal/mvcc"
	"github.com/drd-project/drd/internal/repo"
)

// prepare looks whether the member can continue what is archived, and begins the watch: with the last archived revision where
// that is to be compared. The watch goes on for as long as outliving does.
func (r *run) prepare(ctx, outliving context.Context) error {
	now := r.now() // what the status does not have happens after this
	status, err := r.settled(ctx)
	if err != nil {
		return err
	}
	r.caughtUp, r.late = status.Revision, nextSecond(r.now()) // and what it has happened before that
	if r.member, err = identify(ctx, r.etcd, status.MemberID); err != nil {
		return err
	}
	id := etcd.FormatID(status.ClusterID)
	if r.at.EtcdClusterID != "" && r.at.EtcdClusterID != id {
		return fmt.Errorf("%w: it is of cluster %s, not %s", ErrOtherHistory, id, r.at.EtcdClusterID)
	}
	r.at.EtcdClusterID = id
	if r.fresh = r.at.Revision == 0; r.fresh {
		r.at.Revision, r.at.RevisionSHA256, r.at.Time = status.Revision, "", now
	}
	if r.at.Time.IsZero() {
		r.at.Time = now
	}
	if err := r.reachable(ctx, status); err != nil {
		return err
	}
	r.knownAt = r.at.Time
	if r.caughtUp == r.at.Revision {
		r.knownAt = latest(r.knownAt, now)
	}
	from := r.at.Revision + 1
	if r.at.RevisionSHA256 != "" {
		from = r.at.Revision
		r.compare = newHasher(from)
	}
	r.whole = from - 1
	r.watch, err = r.etcd.Watch(outliving, from)
	return err
}

// settled is the status of the member, when it is as far as the archive. One that has just started may not be, or one that receives a
// snapshot from its leader. It is another history only if it stays behind when it has all that its cluster has.
func (r *run) settled(ctx context.Context) (etcd.Status, error) {
	status, err := r.etcd.Status(ctx)
	if err != nil || status.Revision >= r.at.Revision {
		return status, err
	}
	limited, cancel := context.WithTimeout(ctx, r.f.cfg.Settle)
	defer cancel()
	revision, err := r.etcd.CaughtUp(limited)
	switch {
	case err != nil:
		return etcd.Status{}, fmt.Errorf("the member is at revision %d, behind the archive's %d: %w", status.Revision, r.at.Revision, err)
	case revision < r.at.Revision:
		return etcd.Status{}, fmt.Errorf("%w: it is at revision %d, the archive at %d", ErrOtherHistory, revision, r.at.Revision)
	}
	return r.etcd.Status(ctx)
}

func identify(ctx context.Context, member *etcd.Client, id uint64) (repo.Member, error) {
	all, err := member.Members(ctx)
	if err != nil {
		return repo.Member{}, err
	}
	out := repo.Member{ID: etcd.FormatID(id)}
	for _, m := range all {
		if m.ID == id {
			out.Name = m.Name
		}
	}
	return out, nil
}

// reachable reports an ErrBehind when a watch would be the wrong way to what is missing.
func (r *run) reachable(ctx context.Context, status etcd.Status) error {
	missing := status.Revision - r.at.Revision
	if missing > r.f.cfg.MaxBehind {
		return fmt.Errorf("%w: it ends with revision %d, the member is at %d", ErrBehind, r.at.Revision, status.Revision)
	}
	if size := r.estimate(status, missing); size > r.f.cfg.MaxBehindBytes {
		return fmt.Errorf("%w: the changes from revision %d to %d are about %d MiB", ErrBehind, r.at.Revision+1, status.Revision, size>>20)
	}
	compact, err := r.etcd.CompactRevision(ctx, r.f.compacted.Load())
	if err != nil {
		return err
	}
	r.f.compacted.Store(compact)
	if compact > r.at.Revision {
		return fmt.Errorf("%w: %w", ErrBehind, &etcd.CompactedError{Wanted: r.at.Revision + 1, Compact: compact})
	}
	return nil
}

// estimate is about how many bytes some missing revisions have: as many as the last archived ones did, or as the
// revisions of the whole store do. It is never more than the member holds at all.
func (r *run) estimate(status etcd.Status, missing int64) int64 {
	each := r.at.RevisionBytes
	if each == 0 {
		each = status.DBSizeInUse / max(1, status.Revision)
	}
	return min(status.DBSizeInUse, each*missing)
}

// check takes the changes of the last archived revision out of a batch. It ends with a verdict when all of them are there.
func (r *run) check(ctx context.Context, b etcd.Batch) (rest []etcd.Change, err error) {
	rest = b.Changes
	for len(rest) > 0 && rest[0].Revision() == r.at.Revision {
		if err := r.compare.add(mvcc.FromEvent(rest[0].Event, rest[0].Sub)); err != nil {
			return nil, err
		}
		rest = rest[1:]
	}
	if b.Whole < r.at.Revision {
		return rest, nil
	}
	sum, err := r.compare.sum()
	if err == nil && sum == r.at.RevisionSHA256 {
		r.compare = nil
		return rest, nil
	}
	return nil, r.differs(ctx)
}

// differs says what it means that the last archived revision is not there as it was.
func (r *run) differs(ctx context.Context) error {
	if err := r.compactedInto(ctx); err != nil {
		return err
	}
	return fmt.Errorf("%w: revision %d has other changes", ErrOtherHistory, r.at.Revision)
}

// compactedInto reports an ErrBehind when a compaction has come as far as the last archived revision: its changes may be gone in
// part then, and what is there proves nothing.
func (r *run) compactedInto(ctx context.Context) error {
	compact, err := r.etcd.CompactRevision(ctx, r.f.compacted.Load())
	if err != nil {
		return err
	}
	r.f.compacted.Store(compact)
	if compact >= r.at.Revision {
		return fmt.Errorf("%w: the last archived revision %d cannot be compared: the last compaction was at revision %d", ErrBehind, r.at.Revision, compact)
	}
	return nil
}
