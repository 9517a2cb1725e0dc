package audit

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Newest is the newest record of a log, for who keeps it elsewhere.
type Newest struct {
	Host     string // whose log it is: this one
	Sequence int64
	Hash     string // of its line, as an Anchor has it
}

// NewestOf returns the newest record in the log of ctx; nil where there is no log, or nothing in it. The record is on the disk then: what is
// kept elsewhere must not be lost here in a crash.
func NewestOf(ctx context.Context) (*Newest, error) {
	l := from(ctx)
	if l == nil {
		return nil, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.begin()
	if l.file == "" {
		return nil, nil
	}
	n, err := newestIn(l.file)
	if err != nil {
		return nil, fmt.Errorf("read the end of the audit log: %w", err)
	}
	if n != nil {
		n.Host = bounded(l.host, maxHost)
	}
	return n, nil
}

// newestIn looks into the file at path, and where nothing is in that, into the one before.
func newestIn(path string) (n *Newest, err error) {
	names, err := rotated(path)
	if _, missing := os.Lstat(path); err != nil || len(names) == 0 && errors.Is(missing, fs.ErrNotExist) {
		return nil, err // and no lock is left where there is no log
	}
	release, err := locked(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, release()) }()
	last, err := lastOf(path)
	if err == nil && last.sequence == 0 {
		last, err = lastBefore(path)
	}
	if err == nil {
		err = syncDir(filepath.Dir(path)) // which has the name of the file
	}
	if err != nil || last.sequence == 0 {
		return nil, err
	}
	return &Newest{Sequence: last.sequence, Hash: last.record}, nil
}

// lastOf is where the file at path ends, once all of it is on the disk: not every record is waited for when it is written.
func lastOf(path string) (last end, err error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return end{}, nil // it was just moved away
	}
	if err != nil {
		return end{}, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if last, _, err = endOf(f); err != nil {
		return end{}, err
	}
	return last, unix.Fdatasync(int(f.Fd()))
}

// lastBefore is lastOf the file that was moved away last.
func lastBefore(path string) (end, error) {
	names, err := rotated(path)
	if err != nil || len(names) == 0 {
		return end{}, err
	}
	return lastOf(names[len(names)-1])
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
