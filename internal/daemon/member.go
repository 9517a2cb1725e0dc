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
	"github.com/drd-project/drd/internal/seal"
)

// TakeFrom takes snapshots of the member at cfg. Each has a connection of its own, with certificates and password
// read afresh: distributions rotate them under a running daemon.
func TakeFrom(cfg etcd.Config, r *backup.Runner) func(context.Context, *time.Time) (*backup.Result, error) {
	return func(ctx context.Context, slot *time.Time) (*backup.Result, error) {
		client, err := etcd.Connect(ctx, cfg)
		if err != nil {
			return nil, err
		}
		result, err := r.Take(ctx, client, slot, unobserved{})
		return result, errors.Join(err, client.Close())
	}
}

// unobserved is the observer of a daemon, whose backups nobody watches.
type unobserved struct{}

func (unobserved) Step(string)           {}
func (unobserved) Progress(int64, int64) {}

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

// ReadersOf reads the catalogues and drill records of targets and judges signatures by trust.
func ReadersOf(targets []replicate.Target, trust *seal.Trust) []Reader {
	readers := make([]Reader, len(targets))
	for i, t := range targets {
		known := new(proof.Cache) // a look fetches only the records that are new
		readers[i] = Reader{
			Target: t.Name,
			Read:   func(ctx context.Context) (*repo.Catalogue, error) { return t.Repo.Catalogue(ctx, trust) },
			Proofs: func(ctx context.Context, c *repo.Catalogue) (*proof.History, error) {
				return proof.Read(ctx, t.Repo, trust, proof.ReadOptions{
					Target: proof.Target{Name: t.Name}, Since: proof.Oldest(c.Entries), Limit: mostRecords, Cache: known,
				})
			},
		}
	}
	return readers
}
