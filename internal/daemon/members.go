package daemon

import (
	"context"
	"fmt"
	"sync"

	"github.com/drd-project/drd/internal/members"
	"github.com/drd-project/drd/internal/metrics"
)

// divergence says how many members differ. What the live members said last counts. Until they have said anything that can be
// compared, and on hosts that do not ask them, the newest snapshot does that was compared with them.
type divergence struct {
	metrics *metrics.Metrics

	mu   sync.Mutex
	live bool // the members have been compared by the last poll
}

func (d *divergence) recorded(differing int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.live {
		d.metrics.SetDiverged(differing)
	}
}

func (d *divergence) polled(r members.Report) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.live = r.Compared() > 0; d.live {
		d.metrics.SetDiverged(len(r.Differing()))
	}
}

// watchMembers makes the watch of cfg, with its reports going to d; its run does nothing where there is none.
func watchMembers(cfg Config, d *divergence) (run func(context.Context), err error) {
	if cfg.Members == nil {
		return func(context.Context) {}, nil
	}
	settings := *cfg.Members
	settings.On.Polled = d.polled
	watch, err := members.New(settings)
	if err != nil {
		return nil, fmt.Errorf("watch the members: %w", err)
	}
	return watch.Run, nil
}
