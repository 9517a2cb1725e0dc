package daemon

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	systemd "github.com/coreos/go-systemd/v22/daemon"

	"github.com/drd-project/drd/internal/replicate"
)

const (
	// slack is how late a loop may be before it counts as hanging: what a machine that swaps, or is paused by its
	// hypervisor, makes of a timer.
	slack = time.Minute
	// longestStep is how long a backup may go without a sign of life. Capture and upload give one with every chunk; to inspect
	// a database reads all of it without any, and an hour is that of 8 GiB at 2 MiB/s.
	longestStep = time.Hour
)

// pulse knows which loops of the daemon still turn. Each promises when it is back, and one that is not hangs. Loops that read and
// write targets promise nothing: a dead network disk holds them in the kernel, and to end the daemon for that would end what
// goes to the other targets.
type pulse struct {
	mu   sync.Mutex
	back map[string]time.Time // by loop, with monotonic reading
}

func newPulse() *pulse { return &pulse{back: make(map[string]time.Time)} }

// within is the promise of a loop to be heard of again after d at most.
func (p *pulse) within(d time.Duration, loop string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.back[loop] = time.Now().Add(d + slack)
}

// away takes the promise back: the loop has ended, or does what may take any time.
func (p *pulse) away(loop string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.back, loop)
}

// late are the loops that did not keep their promise, sorted.
func (p *pulse) late() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	kept := maps.Clone(p.back)
	maps.DeleteFunc(kept, func(_ string, back time.Time) bool { return !now.After(back) })
	return slices.Sorted(maps.Keys(kept))
}

// watchdog tells the service manager that the daemon lives, as often as it wants to hear it, until ctx ends. It is silent while a loop
// hangs, and while probe does, which asks something of each part that has no loop here: then the service manager starts the daemon
// anew. Without a watchdog there it does nothing.
func (n *notifier) watchdog(ctx context.Context, probe func()) {
	limit, err := systemd.SdWatchdogEnabled(false)
	if err != nil {
		n.log.Warn("the watchdog of the service manager is not fed", "error", err)
	}
	if err != nil || limit <= 0 {
		return
	}
	hanging := false
	for ctx.Err() == nil {
		probe()
		late := n.pulse.late()
		switch {
		case len(late) == 0:
			n.alive()
		case !hanging:
			n.log.Error("the daemon hangs: the service manager is not told any more that it lives", "loops", late)
		}
		hanging = len(late) > 0
		sleep(ctx, limit/3)
	}
}

type progressKey struct{}

// withProgress has step called with every sign of life of what runs under the context.
func withProgress(ctx context.Context, step func()) context.Context {
	return context.WithValue(ctx, progressKey{}, step)
}

// observer hands what a backup does on to withProgress. Nobody else watches the backups of a daemon.
type observer struct{ step func() }

func observerOf(ctx context.Context) observer {
	if step, ok := ctx.Value(progressKey{}).(func()); ok {
		return observer{step}
	}
	return observer{func() {}}
}

func (o observer) Step(string)           { o.step() }
func (o observer) Progress(int64, int64) { o.step() }

// probeOf asks the queue something that it answers at once, unless it hangs.
func probeOf(q *replicate.Queue) func() {
	if q == nil {
		return func() {}
	}
	return func() { q.Status() }
}
