package restore

import (
	"bytes"
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"
)

// confirm inspects the store at path, which was changed, and meanwhile does something else with it.
func (r *run) confirm(ctx context.Context, path string, meanwhile func(ctx context.Context) error) error {
	return r.step(StepConfirm, 0, func() error {
		g, ctx := errgroup.WithContext(ctx)
		g.Go(func() error { return meanwhile(ctx) })
		g.Go(func() error {
			after, err := r.insp.Inspect(ctx, path, nil)
			if err != nil {
				return fmt.Errorf("check the finished store: %w", err)
			}
			r.result.Facts = after
			return compareEdited(r.facts, after, r.edits)
		})
		return g.Wait()
	})
}

// finishFile makes the standard snapshot file: store, trailer, final name. A store without a change keeps the trailer
// that the etcd member sent, and so every byte.
func (r *run) finishFile(ctx context.Context) error {
	path := r.ws.path(scratchDB)
	trailer := bytes.Clone(r.trailer)
	if !r.edits.none() {
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
		return r.dest.installFile(path)
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
		return r.dest.installDirs(data, wal)
	})
}
