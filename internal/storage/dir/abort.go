package dir

import (
	"context"
	"fmt"

	"github.com/drd-project/drd/internal/storage"
)

const opAbort = "abort upload of"

// Abort implements storage.Incompleter: it removes the temporary file. A Create that is still writing it then finds no
// file to give its name to, and fails. Directories stay, for other writers may be about to use them.
func (b *Bucket) Abort(ctx context.Context, u storage.Upload) error {
	key, ok := finalKey(u.ID)
	if !ok || key != u.Key {
		return fmt.Errorf(opAbort+" %s: %w: %q is not its temporary file", u.Key, storage.ErrInvalidKey, u.ID)
	}
	root, err := b.begin(ctx, key)
	if err != nil {
		return fmt.Errorf(opAbort+" %s: %w", key, err)
	}
	defer root.Close()
	if _, err := lstat(root, u.ID); err != nil {
		return explain(opAbort, key, err)
	}
	if err := root.Remove(u.ID); err != nil {
		return explain(opAbort, key, err)
	}
	return nil
}
