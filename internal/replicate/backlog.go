package replicate

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/drd-project/drd/internal/repo"
)

// backlog is what the spool has of the archive, and what each target still has to get of it. There may be thousands of segments,
// so it is kept in memory: a listing fills it when the queue starts and now and then after that, and what comes and goes in
// between is added and removed. The lock is held while the spool is listed, so that no listing can miss what is added.
type backlog struct {
	mu    sync.Mutex
	held  map[repo.SegmentName]held
	bytes int64
	lanes []*todo
}

func newBacklog() *backlog { return &backlog{held: make(map[repo.SegmentName]held)} }

// size is that of all segments in the spool, in bytes.
func (b *backlog) size() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.bytes
}

// segments is a copy of what is in the spool.
func (b *backlog) segments() map[repo.SegmentName]held {
	b.mu.Lock()
	defer b.mu.Unlock()
	return maps.Clone(b.held)
}

// enqueued is when a segment was; now, if that is not known.
func (b *backlog) enqueued(n repo.SegmentName) time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	if h, ok := b.held[n]; ok {
		return h.at
	}
	return time.Now()
}

// list fills the backlog from the spool.
func (b *backlog) list(ctx context.Context, s *spool) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	found, _, err := s.segments(ctx)
	if err != nil {
		return err
	}
	b.held, b.bytes = found, 0
	for _, h := range found {
		b.bytes += h.size
	}
	for _, t := range b.lanes {
		t.adopt(found)
	}
	return nil
}

// add enters a segment that has just been enqueued.
func (b *backlog) add(n repo.SegmentName, h held) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, ok := b.held[n]; ok {
		return
	}
	b.held[n] = h
	b.bytes += h.size
	for _, t := range b.lanes {
		t.add(n, h)
	}
}

// remove strikes out a segment that has just been removed from the spool.
func (b *backlog) remove(n repo.SegmentName) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.bytes -= b.held[n].size
	delete(b.held, n)
	for _, t := range b.lanes {
		t.remove(n)
	}
}

// byAge orders segments by the time at which they were enqueued, and within a timeline by revision: there the clock does not
// matter.
func byAge(segments map[repo.SegmentName]held) []repo.SegmentName {
	began := make(map[string]time.Time) // by timeline
	for n, h := range segments {
		if at, ok := began[n.Timeline]; !ok || h.at.Before(at) {
			began[n.Timeline] = h.at
		}
	}
	return slices.SortedFunc(maps.Keys(segments), func(a, b repo.SegmentName) int {
		return cmp.Or(began[a.Timeline].Compare(began[b.Timeline]), cmp.Compare(a.Timeline, b.Timeline), compareRanges(a, b))
	})
}

func compareRanges(a, b repo.SegmentName) int {
	return cmp.Or(cmp.Compare(a.First, b.First), cmp.Compare(a.Last, b.Last), cmp.Compare(a.Hash, b.Hash))
}

// task is a segment that a target has to get.
type task struct {
	name     repo.SegmentName
	at       time.Time // when it was enqueued
	verdict  verdict   // "" while there is none
	busy     bool
	failures int       // attempts in a row that failed while others succeeded
	retry    time.Time // no attempt before, with monotonic reading
	suspect  bool      // it failed, and nothing succeeded since
	until    time.Time // the captured past ends here; known once the target has it
}

// todo is what one target has to get, the oldest first. The lock of the backlog guards it.
type todo struct {
	mu    *sync.Mutex
	judge func(repo.SegmentName) verdict // reads the marks
	known map[repo.SegmentName]*task     // all that is in the spool
	order []*task                        // those before which, and with which, something is left to do
	acked Position
}

// Position is how far a target has the archive: everything of a timeline up to a revision, but for its gaps.
type Position struct {
	Timeline string    // "": not known
	Revision int64     // the last one of the last segment
	At       time.Time // until which that is known to be all that happened
}

func newTodo(b *backlog, judge func(repo.SegmentName) verdict) *todo {
	t := &todo{mu: &b.mu, judge: judge, known: make(map[repo.SegmentName]*task)}
	b.lanes = append(b.lanes, t)
	return t
}

// adopt takes over a listing of the spool. Only what is new is looked up.
func (t *todo) adopt(found map[repo.SegmentName]held) {
	for n := range t.known {
		if _, ok := found[n]; !ok {
			t.remove(n)
		}
	}
	fresh := make(map[repo.SegmentName]held)
	for n, h := range found {
		if t.known[n] == nil {
			fresh[n] = h
		}
	}
	for _, n := range byAge(fresh) {
		t.enter(&task{name: n, at: fresh[n].at, verdict: t.judge(n)})
	}
	t.settle()
}

// add enters a segment that nobody has judged yet.
func (t *todo) add(n repo.SegmentName, h held) {
	if t.known[n] == nil {
		t.enter(&task{name: n, at: h.at})
	}
}

// enter puts a task into its place: mostly the last one. A timeline goes on where it is; a new one follows the others.
func (t *todo) enter(k *task) {
	t.known[k.name] = k
	i := len(t.order)
	for i > 0 && t.order[i-1].name.Timeline != k.name.Timeline {
		i--
	}
	if i == 0 {
		i = len(t.order)
	}
	for i > 0 && t.order[i-1].name.Timeline == k.name.Timeline && compareRanges(t.order[i-1].name, k.name) > 0 {
		i--
	}
	t.order = slices.Insert(t.order, i, k)
}

func (t *todo) remove(n repo.SegmentName) {
	k := t.known[n]
	if k == nil {
		return
	}
	delete(t.known, n)
	if k.verdict == "" && !k.busy {
		k.verdict = superseded // nothing is left to do
	}
	t.settle()
}

// judgeAgain looks a segment up whose mark has changed.
func (t *todo) judgeAgain(n repo.SegmentName) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if k := t.known[n]; k != nil {
		k.verdict = t.judge(n)
	}
}

// settle moves the position up to the first segment that is not judged yet.
func (t *todo) settle() {
	for len(t.order) > 0 && t.order[0].verdict != "" {
		if k := t.order[0]; k.verdict == done && !k.until.IsZero() {
			t.acked = Position{k.name.Timeline, k.name.Last, k.until}
		}
		t.order[0] = nil
		t.order = t.order[1:]
	}
}

// take hands out up to limit tasks that are due, from the skip-th on.
func (t *todo) take(limit, skip int) []*task {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	var due []*task
	for _, k := range t.order {
		if len(due) == limit {
			break
		}
		if k.verdict != "" || k.busy || k.retry.After(now) {
			continue
		}
		if skip--; skip >= 0 {
			continue
		}
		k.busy = true
		due = append(due, k)
	}
	return due
}

// giveBack ends the work on a task. v is what was found out, "" if that is nothing; wait is how long it is left alone.
func (t *todo) giveBack(k *task, v verdict, until time.Time, failures int, wait time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	k.busy, k.failures, k.retry = false, failures, time.Now().Add(wait)
	if v == "" && t.known[k.name] != k {
		v = superseded // it went meanwhile
	}
	k.verdict, k.until = v, until
	t.settle()
}

// suspect notes that a task, if any, failed when nothing succeeded: the target may be to blame for that, or the task.
func (t *todo) suspect(k *task) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if k != nil {
		k.suspect = true
	}
}

// blame counts a failure for each suspect, now that the target has taken something else.
func (t *todo) blame() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, k := range t.order {
		if k.verdict == "" && k.suspect {
			k.suspect = false
			k.failures++
		}
	}
}

// count is what is left to do: how many wait, how many of the spool the target will never have, when the oldest of these
// was enqueued, and how long until the next one is due.
func (t *todo) count() (waiting, failed int, oldest time.Time, due time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	due = untilWoken
	for _, k := range t.known {
		switch k.verdict {
		case "":
			waiting++
			due = min(due, max(0, time.Until(k.retry)))
		case damaged, conflict:
			failed++
		default:
			continue
		}
		if oldest.IsZero() || k.at.Before(oldest) {
			oldest = k.at
		}
	}
	return waiting, failed, oldest, due
}

// position is how far the target has come in this process.
func (t *todo) position() Position {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.acked
}
