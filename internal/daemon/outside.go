package daemon

import (
	"context"
	"sync"
)

// tellOutside tells those who cannot or do not want to ask, until ctx ends.
func tellOutside(ctx context.Context, cfg Config, b *board) {
	file := &textfile{path: cfg.Textfile, now: cfg.Now, metrics: cfg.Metrics, log: cfg.Log}
	beats := newHeartbeat(cfg.HeartbeatFile, b, cfg)
	var wg sync.WaitGroup
	wg.Go(func() { file.run(ctx) })
	wg.Go(func() { beats.run(ctx) })
	wg.Wait()
}
