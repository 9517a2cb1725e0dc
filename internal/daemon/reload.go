package daemon

import (
	"context"
	"log/slog"
	"os"

	"github.com/drd-project/drd/internal/metrics"
)

// Wiring makes what one run of the service needs of a configuration that was read before: it loads the keys, and opens queue and
// targets. An error is about the machine or the keys, with a hint. Each run needs a Config of its own, so it is called for
// every run, and once more to find out whether a run could begin: it must do no harm beside a run under way.
type Wiring func(ctx context.Context, log *slog.Logger) (Config, error)

// Service is a daemon that can be told to read its configuration again.
type Service struct {
	// Load reads the configuration and says everything that is wrong with it.
	Load func() (Wiring, error)
	// Reload has a value for each time that somebody wants it to be read again.
	Reload <-chan os.Signal
	Log    *slog.Logger
	// Notify tells the service manager; nil: systemd by NOTIFY_SOCKET, if it is set. Config.Notify is not used.
	Notify func(state string) error

	metrics *metrics.Metrics // of the last run; nil: there was none
}

// Serve runs the service until ctx ends, as Run does. To load another configuration it ends the run under way as a stop would, which
// brings the last changes to the targets, and begins another one: what a capture or an upload had done so far is
// done again or resumed. Before that the new configuration is read and all that it names is opened. One that is not good, or under
// which no run begins, leaves the old one in force, which the log and the status say.
func Serve(ctx context.Context, s Service) error {
	tell := newNotifier(s.Notify, s.Log)
	wire, err := s.Load()
	if err != nil {
		return err
	}
	var before Wiring // of the last run that was ready, when another one was to follow it
	for {
		next, err := s.round(ctx, wire, tell)
		switch {
		case next != nil:
			if tell.started() {
				before = wire
			}
			wire = next
			tell.begin()
		case err != nil && before != nil && !tell.started() && ctx.Err() == nil:
			tell.begin()
			s.refuse(tell, err)
			wire, before = before, nil
		default:
			return err
		}
	}
}

// round is one run. It ends with what to run next, or, where that is nil, as Run does.
func (s *Service) round(ctx context.Context, wire Wiring, tell *notifier) (Wiring, error) {
	cfg, err := wire(ctx, s.Log)
	if err != nil {
		return nil, err
	}
	if s.metrics != nil {
		cfg.Metrics.CountOn(s.metrics)
	}
	s.metrics = cfg.Metrics
	limited, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- run(limited, cfg, tell) }()
	for {
		select {
		case err := <-ended:
			return nil, err
		case <-s.Reload:
		}
		next, err := s.reload(ctx)
		if err != nil {
			s.refuse(tell, err)
			continue
		}
		s.Log.Info("another configuration is loaded")
		tell.handOver()
		stop()
		if err := <-ended; err != nil {
			s.Log.Error("what ran with the configuration before did not end well", problem(err)...)
		}
		if ctx.Err() != nil { // stopped meanwhile
			tell.giveUp()
			return nil, nil
		}
		return next, nil
	}
}

// reload reads the configuration and tries everything short of a run.
func (s *Service) reload(ctx context.Context) (Wiring, error) {
	next, err := s.Load()
	if err != nil {
		return nil, err
	}
	_, err = next(ctx, slog.New(slog.DiscardHandler)) // the run will say it
	return next, err
}

func (s *Service) refuse(tell *notifier, err error) {
	s.Log.Error("the configuration is not loaded; the one before stays in force", problem(err)...)
	tell.refused("NOT RELOADED, the configuration before is in force: " + firstLine(err))
}
