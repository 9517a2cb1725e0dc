package restore

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/storage"
)

// statementRoom bounds a manifest, and a signature, in bytes: a manifest has at most 64 KiB.
const statementRoom = 64 << 10

// Statement reads the exact bytes of the manifest of the snapshot that a plan chose, and the signature over them, which is empty
// where there is none: what somebody needs who has to judge the snapshot elsewhere.
func Statement(ctx context.Context, plan *Plan) (manifest, signature []byte, err error) {
	var failed []error
	for _, c := range plan.candidates {
		if manifest, signature, err = c.statement(ctx); err == nil {
			return manifest, signature, nil
		}
		failed = append(failed, fmt.Errorf("read manifest from %s: %w", c.source.Name, err))
	}
	if len(failed) == 0 {
		return nil, nil, errors.New("the plan names no source: MakePlan did not make it")
	}
	return nil, nil, errors.Join(failed...)
}

func (c candidate) statement(ctx context.Context) (manifest, signature []byte, err error) {
	r := c.source.Repo
	if manifest, err = readWhole(ctx, r.Bucket(), r.ManifestKey(c.entry.ID)); err != nil {
		return nil, nil, err
	}
	if digest := (&repo.Signed{Bytes: manifest}).Digest(); digest != c.entry.Digest {
		return nil, nil, fmt.Errorf("it is not the one of a moment ago: SHA-256 %s instead of %s", digest, c.entry.Digest)
	}
	signature, err = readWhole(ctx, r.Bucket(), r.SignatureKey(c.entry.ID))
	if errors.Is(err, storage.ErrNotExist) {
		return manifest, nil, nil
	}
	return manifest, signature, err
}

func readWhole(ctx context.Context, b storage.Bucket, key string) ([]byte, error) {
	r, err := b.Open(ctx, key, 0, statementRoom)
	if err != nil {
		return nil, err
	}
	content, err := io.ReadAll(r)
	return content, errors.Join(err, r.Close())
}
