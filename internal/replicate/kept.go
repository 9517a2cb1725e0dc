package replicate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/drd-project/drd/internal/repo"
)

// finished says whether no configured target has anything left to do for a snapshot or segment of the spool.
func (q *Queue) finished(r ref) bool {
	for _, w := range q.workers {
		if v := w.judged(r); v != done && v != superseded {
			return false
		}
	}
	return len(q.workers) > 0
}

// copies are the snapshots of the spool that no target waits for, in the order in which they are worth keeping: the newest
// first, and those dated in the future last. By their date alone these would push out every new copy until their time
// comes. Where the clock runs behind all are in the future, and none is lost for that.
func (q *Queue) copies(entries []entry) []entry {
	var found []entry
	for _, e := range entries {
		if q.finished(snapshotRef(e.id)) {
			found = append(found, e)
		}
	}
	latest := time.Now().Add(repo.FutureSkew)
	slices.SortFunc(found, func(a, b entry) int {
		if ahead := a.id.Time.After(latest); ahead != b.id.Time.After(latest) {
			if ahead {
				return 1
			}
			return -1
		}
		return b.id.Compare(a.id)
	})
	return found
}

// trim removes the copies that no target waits for, but for the newest Config.Keep of them, and these too while the spool
// is larger than it may be. Nothing is lost with them. One that is not whole is no copy.
func (q *Queue) trim(ctx context.Context) error {
	entries, err := q.spool.entries()
	if err != nil {
		return err
	}
	total, kept := sizeOf(entries)+q.backlog.size(), 0
	copies := q.copies(entries)
	var leave []entry
	for _, c := range copies {
		if _, err := q.spool.load(snapshotRef(c.id)); errors.Is(err, errGone) || kept >= q.cfg.Keep {
			leave = append(leave, c)
			total -= c.size
			continue
		}
		copies[kept] = c
		kept++
	}
	for ; kept > 0 && total > q.cfg.SpoolMax; kept-- {
		leave = append(leave, copies[kept-1])
		total -= copies[kept-1].size
	}
	for _, c := range leave {
		if err := q.remove(ctx, snapshotRef(c.id)); err != nil {
			return err
		}
	}
	q.keeps(kept)
	return nil
}

// keeps remembers how many copies are kept.
func (q *Queue) keeps(n int) {
	q.mu.Lock()
	same := q.kept == n
	q.kept = n
	q.mu.Unlock()
	if !same {
		q.tell()
	}
}

// Yield makes room for a capture: it removes kept copies, the oldest first, until size bytes are free that were not before. If
// all of them are not enough, none goes. What waits for a target is not touched.
func (q *Queue) Yield(ctx context.Context, size int64) error {
	entries, err := q.spool.entries()
	if err != nil {
		return fmt.Errorf("make room in the spool: %w", err)
	}
	kept := q.copies(entries)
	if sizeOf(kept) < size {
		return nil
	}
	for i := len(kept) - 1; i >= 0 && size > 0; i-- {
		if err := q.remove(ctx, snapshotRef(kept[i].id)); err != nil {
			return fmt.Errorf("make room in the spool: %w", err)
		}
		q.cfg.Log.Info("a kept copy makes room for a snapshot", "snapshot", kept[i].id.String())
		q.keeps(i)
		size -= kept[i].size
	}
	return nil
}
