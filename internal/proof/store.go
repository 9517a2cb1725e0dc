package proof

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/seal"
)

// maxTaken bounds how many IDs, a second apart, are tried before giving up. Drills of a small cluster take a fraction of a second, so a few
// runs of them, or two processes of this host, use up the seconds ahead. They are taken one after the other: the order of the IDs is
// that in which the records were written. What is dated further in the future is not believed (repo.FutureSkew).
const maxTaken = 120

// maxApart is how far the time of an ID may be from the end of the run: maxTaken seconds, and clocks that differ. The format says so.
const maxApart = 310 * time.Second

// Put writes a signed record into the repository that it is about, the signature first. It may be called again after any
// failure, with the same Signed. An ID that is taken by another record is an error wrapping repo.ErrConflict.
func Put(ctx context.Context, r *repo.Repository, s *Signed) error {
	rec, err := Decode(s.Bytes) // what will be written counts, not what s.Record says
	if err != nil {
		return fmt.Errorf("store drill record: %w", err)
	}
	if rec.Cluster != r.Cluster() {
		return fmt.Errorf("store drill record %s: it is of cluster %s, this is the repository of %s", rec.ID, rec.Cluster, r.Cluster())
	}
	return r.PutDrill(ctx, rec.ID, s.Bytes, s.Signature)
}

// Store signs a record and puts it into the repository, as several ones where it is too large for one. An ID that is taken
// is moved on. left are the signed records that are not there because of err: Pending keeps them.
func Store(ctx context.Context, r *repo.Repository, rec *Record, s *seal.Signer) (stored, left []*Signed, err error) {
	var failed []error
	for _, part := range Split(rec) {
		signed, err := storeOne(ctx, r, part, s)
		switch {
		case err == nil:
			stored = append(stored, signed)
		case signed != nil:
			left = append(left, signed)
			fallthrough
		default:
			failed = append(failed, err)
		}
	}
	return stored, left, errors.Join(failed...)
}

// storeOne returns with its error what was to be written; nil when it could not even be signed.
func storeOne(ctx context.Context, r *repo.Repository, rec *Record, s *seal.Signer) (*Signed, error) {
	next := *rec
	for try := 1; ; try++ {
		signed, err := Sign(&next, s)
		if err != nil {
			return nil, err
		}
		if err = Put(ctx, r, signed); err == nil || !errors.Is(err, repo.ErrConflict) || try == maxTaken {
			return signed, err
		}
		at, host, err := repo.ParseDrillID(next.ID)
		if err != nil {
			return nil, err // it was put, so it has one
		}
		next.ID = NewID(at.Add(time.Second), host)
	}
}
