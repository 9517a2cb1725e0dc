// Package lock keeps two processes of one node from doing the same thing at once: the daemon and a command that a
// person runs. The kernel drops a lock when its process dies, so a lock can delay a backup but never stop one.
package lock

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// poll is how often a busy lock is tried again; a person who waits does not notice it.
const poll = 200 * time.Millisecond

// File locks the file at path, made 0600 if it is missing, until release is called. A symbolic link is refused: it would have
// another file made. It waits for another holder as
// long as ctx lasts, and calls busy once if it has to.
func File(ctx context.Context, path string, busy func()) (release func() error, err error) {
	for waited := false; ; waited = true {
		release, err := Try(path)
		if err != nil || release != nil {
			return release, err
		}
		if !waited {
			busy()
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(poll):
		}
	}
}

// Try is File without the wait: release is nil where another holds the lock.
func Try(path string) (release func() error, err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	for err = unix.EINTR; errors.Is(err, unix.EINTR); {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	}
	if err == nil {
		return f.Close, nil
	}
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, f.Close()
	}
	return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
}
