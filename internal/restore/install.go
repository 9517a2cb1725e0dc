package restore

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// memberDB is where etcd keeps its store inside a data directory.
func memberDB(dataDir string) string { return filepath.Join(dataDir, "member", "snap", "db") }

// hashFile returns the SHA-256 of a file.
func hashFile(ctx context.Context, path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("hash the store: %w", err)
	}
	defer f.Close()
	sum, buf := sha256.New(), make([]byte, blockSize)
	for {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		n, err := f.Read(buf)
		sum.Write(buf[:n])
		if errors.Is(err, io.EOF) {
			return sum.Sum(nil), nil
		}
		if err != nil {
			return nil, fmt.Errorf("hash the store: %w", err)
		}
	}
}

// appendSynced appends data to a file and makes the whole file durable.
func appendSynced(path string, data []byte) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return fmt.Errorf("append the trailer: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := f.Write(data); err != nil {
		return fmt.Errorf("append the trailer: %w", err)
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("sync the snapshot file: %w", err)
	}
	return nil
}

// installFile gives a finished, synced snapshot file its final name.
func (d destination) installFile(path string) error {
	if err := moveNew(path, d.output); err != nil {
		return err
	}
	if err := syncPath(filepath.Dir(d.output)); err != nil {
		return errors.Join(err, os.Rename(d.output, path))
	}
	return nil
}

// installDirs gives a finished, synced data directory and WAL directory their final names. The WAL
// goes first: an etcd started in between finds a WAL without its store and refuses to start, while a store
// without WAL would be taken for a new cluster. When the data directory fails, the WAL is taken back.
func (d destination) installDirs(data, wal string) error {
	undo := func() error { return nil }
	if wal != "" {
		var err error
		if undo, err = installDir(wal, d.walDir, d.walDirExists); err != nil {
			return err
		}
	}
	if _, err := installDir(data, d.dataDir, d.dataDirExists); err != nil {
		return errors.Join(err, undo())
	}
	return nil
}

// installDir renames made to dir, or, where dir exists and is empty, everything in made into dir, which keeps its
// owner and mode and hands the owner down. It returns how to take that back.
func installDir(made, dir string, exists bool) (undo func() error, err error) {
	var moves [][2]string
	if exists {
		if err := chownLike(made, dir); err != nil {
			return nil, err
		}
		entries, err := os.ReadDir(made)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", made, err)
		}
		for _, e := range entries {
			moves = append(moves, [2]string{filepath.Join(made, e.Name()), filepath.Join(dir, e.Name())})
		}
	} else {
		moves = append(moves, [2]string{made, dir})
	}
	var done [][2]string
	undo = func() error {
		var errs []error
		for _, m := range done {
			errs = append(errs, os.Rename(m[1], m[0]))
		}
		return errors.Join(errs...)
	}
	for _, m := range moves {
		if err := moveNew(m[0], m[1]); err != nil {
			return nil, errors.Join(err, undo())
		}
		done = append(done, m)
	}
	if err := syncPath(besideOrIn(dir, exists)); err != nil {
		return nil, errors.Join(err, undo())
	}
	return undo, nil
}

// chownLike gives everything in tree to the owner of dir, so that an etcd which runs as that user can write.
func chownLike(tree, dir string) error {
	st, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("look at %s: %w", dir, err)
	}
	owner, ok := st.Sys().(*syscall.Stat_t)
	if !ok || (int(owner.Uid) == os.Geteuid() && int(owner.Gid) == os.Getegid()) {
		return nil
	}
	return filepath.WalkDir(tree, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if err := os.Lchown(path, int(owner.Uid), int(owner.Gid)); err != nil {
			return fmt.Errorf("give %s to the owner of %s: %w", path, dir, err)
		}
		return nil
	})
}
