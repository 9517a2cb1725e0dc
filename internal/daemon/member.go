package daemon

import (
	"context"
	"errors"
	"time"

	"github.com/drd-project/drd/internal/backup"
	"github.com/drd-project/drd/internal/etcd"
	"github.com/drd-project/drd/internal/proof"
	"github.com/drd-project/drd/internal/replicate"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/restore"
	"github.com/drd-project/drd/internal/seal"
	"github.com/drd-project/drd/internal/storage/cache"
)

// TakeFrom takes snapshots of the member at cfg. Each has a connection of its own, with certificates and password
// read afresh: distributions rotate them under a running daemon.
func TakeFrom(cfg etcd.Config, r *backup.Runner) func(context.Context, *time.Time) (*backup.Result, error) {
	return func(ctx context.Context, slot *time.Time) (*backup.Result, error) {
		client, err := etcd.Connect(ctx, cfg)
		if err != nil {
			return nil, err
		}
		result, err := r.Take(ctx, client, slot, observerOf(ctx))
		return result, errors.Join(err, client.Close())
	}
}

// RevisionOf asks the member at cfg for its revision, over a new connection each time.
func RevisionOf(cfg etcd.Config) func(context.Context) (int64, error) {
	return func(ctx context.Context) (int64, error) {
		client, err := etcd.Connect(ctx, cfg)
		if err != nil {
			return 0, err
		}
		status, err := client.Status(ctx)
		return status.Revision, errors.Join(err, client.Close())
	}
}

// mostRecords bounds how many drill records of a target are looked at: those of a year of a dozen a day. Of each some hundred
// bytes stay in memory.
const mostRecords = 5000

// ReadersOf reads the catalogues and drill records of targets and judges signatures by trust. What it has read it keeps in the
// directory; "": nowhere. With an archive it reads how far that reaches.
func ReadersOf(targets []replicate.Target, trust *seal.Trust, dir string, archived bool) []Reader {
	readers := make([]Reader, len(targets))
	for i, t := range targets {
		readers[i] = readerOf(t, trust, func(look func(r *repo.Repository) error) error { return remembering(t.Repo, dir, look) })
		if archived {
			readers[i].Window = func(ctx context.Context, c *repo.Catalogue) (w *restore.Window, err error) {
				err = remembering(t.Repo, dir, func(r *repo.Repository) error {
					w, err = restore.ReadWindow(ctx, r, c, trust, time.Now())
					return err
				})
				return w, err
			}
		}
	}
	return readers
}

func readerOf(t replicate.Target, trust *seal.Trust, with func(look func(r *repo.Repository) error) error) Reader {
	known := new(proof.Cache) // a look fetches only the records that are new
	return Reader{
		Target: t.Name, Location: t.Repo.Bucket().Location(),
		Read: func(ctx context.Context) (c *repo.Catalogue, err error) {
			err = with(func(r *repo.Repository) error {
				c, err = r.Catalogue(ctx, trust)
				return err
			})
			return c, err
		},
		Proofs: func(ctx context.Context, c *repo.Catalogue) (h *proof.History, err error) {
			err = with(func(r *repo.Repository) error {
				h, err = proof.Read(ctx, r, trust, proof.ReadOptions{
					Target: proof.Target{Name: t.Name}, Since: proof.Since(c.Entries, c.Read), Limit: mostRecords, Cache: known,
				})
				return err
			})
			return h, err
		},
	}
}

// remembering hands out the repository with what was read of it before. Of a look at ten thousand snapshots nothing stays in memory
// when it is over. That nothing can be kept costs time, and nothing else.
func remembering(r *repo.Repository, dir string, look func(r *repo.Repository) error) error {
	if dir == "" {
		return look(r)
	}
	b := cache.Open(r.Bucket(), dir)
	with, err := repo.Open(b, r.Cluster())
	if err != nil {
		return err
	}
	err = look(with)
	_ = b.Save() // see above
	return err
}
