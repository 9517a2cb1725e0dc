package restore

import (
	"context"
	"errors"
	"fmt"

	"filippo.io/age"

	"github.com/drd-project/drd/internal/seal"
)

// headerRoom bounds how much of an object is asked for to find its header, in bytes: the 2 MiB that a header may have.
const headerRoom = 2 << 20

// Header reads the header of the object that a plan chose, from the first of its targets that delivers it. It is what
// seal.Unlock needs to recover the object's key on a machine that has the identity and not the object. It is no secret.
func Header(ctx context.Context, plan *Plan) ([]byte, error) {
	var failed []error
	for _, c := range plan.candidates {
		header, err := c.header(ctx)
		if err == nil {
			return header, nil
		}
		failed = append(failed, fmt.Errorf("read header from %s: %w", c.source.Name, err))
	}
	if len(failed) == 0 {
		return nil, errNoPlan
	}
	return nil, errors.Join(failed...)
}

func (c candidate) header(ctx context.Context) ([]byte, error) {
	m := c.entry.Manifest
	r, err := c.source.Repo.Bucket().Open(ctx, c.source.Repo.PayloadKey(c.entry.ID, m.Object.Name), 0, min(m.Object.Size, headerRoom))
	if err != nil {
		return nil, err
	}
	header, err := seal.Header(r)
	return header, errors.Join(err, r.Close())
}

// CanOpen reports whether ids open the objects that a plan chose, by their headers alone, so that a wrong identity is found before
// anybody confirms anything. It wraps seal.ErrNoIdentity when none does. Plugins may ask for a touch.
func CanOpen(ctx context.Context, plan *Plan, ids []age.Identity) error {
	if err := canOpenCopy(ctx, plan, ids); err != nil {
		return err
	}
	for _, e := range sealedFor(plan.aim) {
		header, err := plan.found.header(ctx, e, plan.request.InsecureSkipSignature)
		if err != nil {
			continue // Run looks for another way; that nobody can read it now says nothing about the keys
		}
		if _, err := seal.Unlock(header, ids); err != nil {
			return fmt.Errorf("segment %s: %w", e.Name, err)
		}
	}
	return nil
}

// canOpenCopy wants one of the copies of the snapshot to be opened: a target whose copy was changed must not keep anybody
// from restoring the sound one of the next.
func canOpenCopy(ctx context.Context, plan *Plan, ids []age.Identity) error {
	var failed []error
	for _, c := range plan.candidates {
		header, err := c.header(ctx)
		if err == nil {
			if _, err = seal.Unlock(header, ids); err == nil {
				return nil
			}
		}
		failed = append(failed, fmt.Errorf("snapshot %s in %s: %w", plan.Snapshot.ID, c.source.Name, err))
	}
	if len(failed) == 0 {
		return errNoPlan
	}
	return errors.Join(failed...)
}
