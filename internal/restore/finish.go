package restore

import (
	"bytes"
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/drd-project/drd/internal/audit"
	"github.com/drd-project/drd/internal/snapshot"
)

// confirm inspects the store at path, which was changed, and meanwhile does something else with it.
func (r *run) confirm(ctx context.Context, path string, meanwhile func(ctx context.Context) error) error {
	return r.step(StepConfirm, 0, func() error {
		g, ctx := errgroup.WithContext(ctx)
		g.Go(func() error { return meanwhile(ctx) })
		g.Go(func() (err error) {
			if r.result.Facts, err = r.insp.Inspect(ctx, path, nil); err != nil {
				return fmt.Errorf("check the finished store: %w", err)
			}
			return nil
		})
		var past snapshot.Hash
		if r.edits.bump > 0 {
			g.Go(func() (err error) {
				past, err = r.hash(ctx, path, r.facts.Revision, r.facts.CompactRevision) // as it was before the bump
				return err
			})
		}
		if err := g.Wait(); err != nil {
			return err
		}
		return compareEdited(r.facts, r.result.Facts, past, r.edits)
	})
}

// finish makes what was asked for.
func (r *run) finish(ctx context.Context) error {
	if r.dest.output != "" {
		return r.finishFile(ctx)
	}
	return r.finishDataDir(ctx)
}

func audited(ctx context.Context, path string, install func() error) error {
	return audit.During(ctx, audit.Event{Name: audit.RestoreInstall, Object: path}, install)
}

// finishFile makes the standard snapshot file: store, trailer, final name. A store without a change keeps the trailer
// that the etcd member sent, and so every byte.
func (r *run) finishFile(ctx context.Context) error {
	path := r.ws.path(scratchDB)
	trailer := bytes.Clone(r.trailer)
	if r.changed {
		err := r.confirm(ctx, path, func(ctx context.Context) (err error) {
			trailer, err = hashFile(ctx, path)
			return err
		})
		if err != nil {
			return err
		}
	}
	return r.step(StepInstall, 0, func() error {
		if err := appendSynced(path, trailer); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		r.result.Path = r.dest.output
		return audited(ctx, r.dest.output, func() error { return r.dest.installFile(path) })
	})
}

// finishDataDir makes a data directory around the store.
func (r *run) finishDataDir(ctx context.Context) error {
	data, wal := r.ws.path(scratchData), r.ws.wal()
	err := r.step(StepMember, 0, func() error {
		return buildMember(ctx, r.request, r.ws.path(scratchDB), r.ws.path(scratchStub), data, wal)
	})
	if err != nil {
		return err
	}
	err = r.confirm(ctx, memberDB(data), func(context.Context) error {
		for _, dir := range []string{data, wal} {
			if dir != "" {
				if err := syncTree(dir); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return r.step(StepInstall, 0, func() error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		r.result.Path = r.dest.dataDir
		return audited(ctx, r.dest.dataDir, func() error { return r.dest.installDirs(data, wal) })
	})
}
