package repo

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/storage"
)

// probeName is an object that proves that this caller may write and that the store refuses to overwrite. There is one for
// each cluster, for ever: with a key of its own for each probe, a bucket that nobody may delete from would fill up.
const (
	probeName    = "write-check"
	probeContent = "drd writes this once to see that it may write, and that nobody can write it again.\n"
	// tryName is never an object: bytes are written for it and taken back.
	tryName = "write-try"
)

// ErrOverwrites is wrapped by Probe when the store replaces existing objects.
var ErrOverwrites = errors.New("the store overwrites existing objects")

// Probe finds out whether the bucket lists, accepts a new object, and refuses to write one twice, on which everything
// else relies. It leaves one small object behind, <cluster>/write-check. An error that wraps storage.ErrLeft means that all of this
// is so, and that something more was left.
func (r *Repository) Probe(ctx context.Context) error {
	for _, err := range r.bucket.List(ctx, r.snapshots()) {
		if err != nil {
			return fmt.Errorf("list %s: %w", r.bucket.Location(), err)
		}
		break
	}
	key := r.cluster + "/" + probeName
	_, err := r.bucket.Create(ctx, key, strings.NewReader(probeContent))
	if err != nil && !errors.Is(err, storage.ErrExists) {
		return fmt.Errorf("write %s to %s: %w", key, r.bucket.Location(), err)
	}
	_, err = r.bucket.Create(ctx, key, strings.NewReader(probeContent))
	if err == nil {
		return hint.New(fmt.Errorf("%s: %w", r.bucket.Location(), ErrOverwrites),
			"drd needs conditional writes (If-None-Match); use a store that has them, or a newer version of this one")
	}
	if !errors.Is(err, storage.ErrExists) {
		return fmt.Errorf("write %s to %s: %w", key, r.bucket.Location(), err)
	}
	if _, err := r.readSmall(ctx, key, int64(len(probeContent))); err != nil {
		return fmt.Errorf("read %s from %s: %w", key, r.bucket.Location(), err)
	}
	// The object has been there since the first time, so that it tells nothing of a disk that is full or read-only today.
	if err := storage.TryWrite(ctx, r.bucket, r.cluster+"/"+tryName); err != nil {
		return fmt.Errorf("write to %s: %w", r.bucket.Location(), err)
	}
	return nil
}
