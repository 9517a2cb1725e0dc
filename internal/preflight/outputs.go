package preflight

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/drd-project/drd/internal/config"
	"github.com/drd-project/drd/internal/hint"
)

// Outputs are trials of what the daemon tells others by. Nil ones are not made.
type Outputs struct {
	Listen    func(ctx context.Context) error // takes the address of the metrics and leaves it again
	Heartbeat func() error                    // reads the URL
}

// checkOutputs looks where the daemon tells how it is. Without the address of its metrics it does not start; running says that
// it has it.
func checkOutputs(ctx context.Context, o Outputs, m config.Metrics, running bool) []Check {
	var checks []Check
	if o.Listen != nil && m.Listen != "" {
		checks = append(checks, checkListen(m.Listen, o.Listen(ctx), running))
	}
	if o.Heartbeat != nil && m.HeartbeatURLFile != "" {
		const name = "metrics heartbeat"
		if err := o.Heartbeat(); err != nil {
			checks = append(checks, warn(name, fmt.Errorf("none is sent: %w", err)))
		} else {
			checks = append(checks, ok(name, "%s holds a URL", m.HeartbeatURLFile))
		}
	}
	if m.Textfile != "" {
		const name = "metrics textfile"
		if info, err := os.Stat(filepath.Dir(m.Textfile)); err != nil || !info.IsDir() {
			checks = append(checks, warn(name, hint.New(fmt.Errorf("%s is not written: its directory is not there", m.Textfile), "make it, or name the directory that node_exporter reads (--collector.textfile.directory)")))
		} else {
			checks = append(checks, ok(name, "%s has its directory", m.Textfile))
		}
	}
	return checks
}

func checkListen(address string, err error, running bool) Check {
	const name = "metrics listen"
	switch {
	case err == nil:
		return ok(name, "%s is free", address)
	case errors.Is(err, syscall.EADDRINUSE) && running:
		return ok(name, "%s is taken, as it is when the service runs", address)
	case errors.Is(err, syscall.EADDRINUSE): // a daemon that systemd does not know of may have it
		return warn(name, fmt.Errorf("unless drd daemon runs already, it will not start: %w", err))
	}
	return fail(name, fmt.Errorf("drd daemon does not start: %w", err))
}
