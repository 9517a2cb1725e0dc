package daemon

import (
	"context"
	"sync"
	"time"

	"github.com/drd-project/drd/internal/daemon/page"
	"github.com/drd-project/drd/internal/replicate"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/restore"
	verdict "github.com/drd-project/drd/internal/status"
)

// windowEvery is the shortest time between two readings of the archive of a target: looks may come in quick succession, and
// its listing grows with what is kept.
const windowEvery = lookEvery - time.Minute

// confirmFirst is how soon the archive of a target is read again where the last reading did not show what this node has brought there: at
// its start it has brought nothing yet, and an outage ends between two looks. Each further time takes twice as long.
const confirmFirst = 10 * time.Second

// run reads the archive of each target, after its catalogue, until ctx ends.
func (b *board) run(ctx context.Context, readers []Reader) {
	var wg sync.WaitGroup
	for i, r := range readers {
		if r.Window == nil {
			continue
		}
		wg.Go(func() {
			confirm := time.NewTicker(confirmFirst)
			defer confirm.Stop()
			var c *repo.Catalogue
			for {
				select {
				case c = <-b.views[i].read:
					b.readWindow(ctx, b.views[i], r, c)
				case <-confirm.C:
					if c != nil && b.unconfirmed(b.views[i]) {
						b.readWindow(ctx, b.views[i], r, c)
					}
				case <-ctx.Done():
					return
				}
			}
		})
	}
	wg.Wait()
}

// unconfirmed reports whether it is time to see again whether a target has what this node has brought there.
func (b *board) unconfirmed(v *view) bool {
	if b.acked(v.name).Timeline == "" {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if v.confirmed || v.hole > 0 || time.Since(v.window) < min(confirmFirst<<min(v.vain, 10), windowEvery) {
		return false
	}
	v.vain++
	v.window = time.Time{} // it is due
	return true
}

// readWindow reads how far the archive reaches, if it is time to. When it cannot be read, what was brought there does not count any more:
// nobody has seen it of late.
func (b *board) readWindow(ctx context.Context, v *view, r Reader, c *repo.Catalogue) {
	b.mu.Lock()
	due := v.window.IsZero() || v.hole > 0 || time.Since(v.window) >= windowEvery
	latest, history := v.seen.Latest(), v.history
	b.mu.Unlock()
	if !due || latest == nil {
		return
	}
	limited, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	if history != nil {
		c = history.Counting(c, b.now())
	}
	acked := b.acked(v.name) // before the reading: what comes meanwhile may be seen or not
	w, err := r.Window(limited, c)
	if err == nil && holed(w, latest, acked) {
		w, err = r.Window(limited, c) // segments may just have been merged: what took their place is listed now
	}
	if err == nil && holed(w, latest, acked) {
		_, last := w.Tip(latest.Manifest.Revision)
		err = w.UnreadAt(last + 1)
	}
	if ctx.Err() != nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	v.window, v.unread = time.Now(), err
	if err != nil {
		v.confirmed = false
		b.metrics.SetWindow(v.name, b.past(v.archive.Reached), false)
		return
	}
	b.saw(v, w, latest, acked)
}

// saw takes over a window. What was brought to the target counts from then on, if the window reaches as far.
func (b *board) saw(v *view, w *restore.Window, latest *repo.Entry, acked replicate.Position) {
	tip, last := w.Tip(latest.Manifest.Revision)
	v.archive, v.spans = verdict.Archive(tip), nil
	for _, one := range w.Ranges {
		for _, s := range one.Times {
			v.spans = append(v.spans, page.Span{From: s.From, To: s.To})
		}
	}
	v.confirmed = acked.Timeline != "" && acked.Timeline == w.Timeline && acked.Revision <= last
	if v.confirmed {
		v.vain = 0
	}
	b.metrics.SetWindow(v.name, b.past(tip.Reached), v.confirmed)
	if !holed(w, latest, acked) {
		v.hole = 0
		return
	}
	if tip.Missing == 0 {
		v.archive.Missing = last + 1 // and nothing behind it
	}
	if v.hole != last+1 && b.holed != nil {
		b.holed(v.name, last+1)
	}
	v.hole = last + 1
}

// past is an instant, and the zero time in place of one that has not been yet, which only a wrong clock can have written.
func (b *board) past(at time.Time) time.Time {
	if repo.InFuture(at, b.now()) {
		return time.Time{}
	}
	return at
}

// holed reports whether something is missing of what this node has brought to a target.
func holed(w *restore.Window, latest *repo.Entry, acked replicate.Position) bool {
	_, last := w.Tip(latest.Manifest.Revision)
	return last > 0 && acked.Timeline == w.Timeline && acked.Revision > last
}

// acked is how far this node has brought the archive to a target; zero: it has brought nothing there since it began.
func (b *board) acked(target string) replicate.Position {
	if b.brought == nil {
		return replicate.Position{}
	}
	for _, s := range b.brought() {
		if s.Target == target {
			return s.Segments.Acked
		}
	}
	return replicate.Position{}
}
