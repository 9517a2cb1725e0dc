package s3

import (
	"context"
	"fmt"

	"github.com/drd-project/drd/internal/storage"
)

// TryWrite implements storage.Trier: it begins a multipart upload, sends a part, and aborts. Not even a bucket that keeps versions
// keeps anything of it.
func (b *Bucket) TryWrite(ctx context.Context, key string) error {
	if err := begin(ctx, key); err != nil {
		return fmt.Errorf("put %s: %w", b.url(key), err)
	}
	if err := b.readOnly("put", key); err != nil {
		return err
	}
	u := &upload{bucket: b, key: key}
	if _, err := u.start(ctx); err != nil {
		return b.explain(ctx, opPut, key, err)
	}
	content := []byte("tried\n")
	if err := u.sendPart(ctx, u.add(content), content); err != nil {
		return u.abort(ctx, err, abortTries)
	}
	ctx, cancel := cleanup(ctx)
	defer cancel()
	if err := b.Abort(ctx, storage.Upload{Key: key, ID: u.id}); err != nil {
		return fmt.Errorf("%w: %w", storage.ErrLeft, err)
	}
	return nil
}
