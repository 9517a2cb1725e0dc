package dir

import (
	"context"
	"fmt"
	"os"

	"github.com/drd-project/drd/internal/storage"
)

const (
	opTry = "write"
	// tried bytes take a block of the file system: a full one may still have room in the inode.
	tried = 4096
)

// TryWrite implements storage.Trier: it writes the temporary file of a Create to the disk and removes it.
func (b *Bucket) TryWrite(ctx context.Context, key string) error {
	root, err := b.begin(ctx, key)
	if err != nil {
		return fmt.Errorf(opTry+" %s: %w", key, err)
	}
	defer root.Close()
	f, temp, err := openTemp(root, key)
	if err != nil {
		return explain(opTry, key, err)
	}
	if err := writeSynced(f); err != nil {
		_ = root.Remove(temp) // one left behind is never listed, and Incomplete tells of it
		return explain(opTry, key, err)
	}
	if err := root.Remove(temp); err != nil {
		return fmt.Errorf("%w: %w", storage.ErrLeft, explain(opTry, key, err))
	}
	return nil
}

func writeSynced(f *os.File) error {
	_, err := f.Write(make([]byte, tried))
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	return err
}
