package main

import (
	"context"
	"log/slog"

	"github.com/drd-project/drd/internal/audit"
	"github.com/drd-project/drd/internal/daemon"
)

// auditedService is daemon.Serve, recorded: its start, its end, and what becomes of each configuration.
func (a *app) auditedService(ctx context.Context, s daemon.Service) error {
	r := &reloads{ctx: ctx, file: a.configFile, load: s.Load}
	s.Load = r.next
	err := daemon.Serve(ctx, s)
	if r.inForce > 0 {
		r.note(audit.DaemonStop, "", err)
	}
	return err
}

// reloads follows what the service does with its configurations, of which number 1 is that of the start. A wiring is called to try it, then
// for the run; that of the start for its run only, and one that was in force before once more when the run after it does not begin.
type reloads struct {
	ctx     context.Context // the service's, which has the audit log
	file    string
	load    func() (daemon.Wiring, error)
	loaded  int // number of the newest
	inForce int // 0: none yet
}

func (r *reloads) note(name audit.Name, outcome audit.Outcome, err error) {
	audit.Note(r.ctx, audit.Event{Name: name, Outcome: outcome, Object: r.file, Err: err})
}

// next is daemon.Service.Load.
func (r *reloads) next() (daemon.Wiring, error) {
	r.loaded++
	number := r.loaded
	wire, err := r.load()
	if err != nil {
		r.refused(number, err)
		return nil, err
	}
	calls := 0
	return func(ctx context.Context, log *slog.Logger) (daemon.Config, error) {
		calls++
		cfg, err := wire(ctx, log)
		switch {
		case err != nil:
			r.refused(number, err)
		case number == 1 && r.inForce == 0:
			r.inForce = 1
			r.note(audit.DaemonStart, audit.Done, nil)
		case number < r.inForce: // the run after it did not begin
			r.refused(r.inForce, nil)
			r.inForce = number
		case calls > 1 && number > r.inForce:
			r.inForce = number
			r.note(audit.ConfigReload, audit.Done, nil)
		}
		return cfg, err
	}, nil
}

func (r *reloads) refused(number int, err error) {
	if number == 1 {
		r.note(audit.DaemonStart, audit.Refused, err)
		return
	}
	r.note(audit.ConfigReload, audit.Refused, err)
}
