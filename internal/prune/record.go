package prune

import (
	"context"
	"fmt"
	"io/fs"

	"github.com/drd-project/drd/internal/audit"
	"github.com/drd-project/drd/internal/hint"
)

// record keeps an event about the target in the audit log. An error is a reason to delete nothing more: an attacker who destroys backups
// must not be able to do it through drd without a trace.
func (p *Plan) record(ctx context.Context, e audit.Event) error {
	e.Target = p.Target
	if e.Object == "" {
		e.Object = p.Cluster
	}
	if err := audit.Require(ctx, e); err != nil {
		return hint.New(fmt.Errorf("nothing is deleted that cannot be recorded: %w", err), "make the audit log in state_dir writable, see docs/audit.md; then prune again")
	}
	return nil
}

// recordBegun names what is about to be deleted.
func (p *Plan) recordBegun(ctx context.Context, items []*Item) error {
	e := audit.Event{Name: audit.PruneDelete, Outcome: audit.Begun, Object: items[0].Name()}
	if n := len(items); n > 1 {
		e.Object, e.Count = e.Object+" to "+items[n-1].Name(), int64(n)
	}
	return p.record(ctx, e)
}

// recordResult records what became of an item that recordBegun has named. Of what was not tried there is nothing to record.
func (p *Plan) recordResult(ctx context.Context, r Result) error {
	e := audit.Event{Name: audit.PruneDelete, Object: r.Item.Name(), Err: r.Err}
	switch r.Outcome {
	case NotTried:
		return nil
	case Gone:
		e.Outcome, e.Err = audit.Refused, fs.ErrNotExist
	case Locked, Changed:
		e.Outcome = audit.Refused
	case Deleted, Failed:
	}
	return p.record(ctx, e)
}

func (p *Plan) noteEnd(ctx context.Context, results Results) {
	audit.Note(ctx, audit.Event{Name: audit.PruneEnd, Object: p.Cluster, Target: p.Target, Count: int64(results.Count(Deleted)), Err: results.Err()})
}
