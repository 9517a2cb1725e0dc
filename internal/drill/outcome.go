package drill

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"syscall"

	bolt "go.etcd.io/bbolt/errors"

	"github.com/drd-project/drd/internal/disk"
	"github.com/drd-project/drd/internal/proof"
	"github.com/drd-project/drd/internal/restore"
	"github.com/drd-project/drd/internal/scratch"
	"github.com/drd-project/drd/internal/snapshot"
	"github.com/drd-project/drd/internal/storage"
	"github.com/drd-project/drd/internal/survey"
)

// skipped is the error of a check that does not apply: why not.
type skipped string

func (s skipped) Error() string { return string(s) }

// unsure is the error of a check that could not be made, by no fault of the backup.
type unsure struct{ error }

func (u unsure) Unwrap() error { return u.error }

// unsuref is fmt.Errorf for what could not be found out.
func unsuref(format string, args ...any) error { return unsure{fmt.Errorf(format, args...)} }

// judge says what a check came to. Whatever is not known to be the fault of something else is the backup's.
func (a *attempt) judge(ctx context.Context, err error) proof.Outcome {
	var skip skipped
	switch {
	case err == nil:
		return proof.Passed
	case errors.As(err, &skip):
		return proof.Skipped
	case ctx.Err() != nil || saysNothing(err) || a.diskFull():
		return proof.Inconclusive
	}
	return proof.Failed
}

// saysNothing reports whether an error says nothing about the backup: the target, this machine or its keys are at fault.
func saysNothing(err error) bool {
	for _, known := range []error{
		context.Canceled, context.DeadlineExceeded, ErrNoKey,
		storage.ErrDenied, storage.ErrNoBucket, storage.ErrStalled,
		snapshot.ErrKilled, survey.ErrKilled, scratch.ErrKilled, scratch.ErrStalled,
		bolt.ErrTimeout, // a lock: only this process has had the file, and what it was just starting may hold it for a moment
	} {
		if errors.Is(err, known) {
			return true
		}
	}
	var (
		open    unsure
		local   *restore.LocalError
		system  syscall.Errno // whatever the kernel refuses: no room, no memory, no such program, an unreachable host
		program *exec.Error
	)
	return errors.As(err, &open) || errors.As(err, &local) || errors.As(err, &system) || errors.As(err, &program)
}

// nearlyFull is the room, in bytes, below which a failure is put down to the scratch disk. Libraries and programs do
// not always say that they found no room, and none of them writes less than this at a time.
const nearlyFull = 4 << 20

func (a *attempt) diskFull() bool {
	if a.dir == "" {
		return false
	}
	free, err := disk.Free(a.dir)
	return err == nil && free < nearlyFull
}
