package verify

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"filippo.io/age"

	"github.com/drd-project/drd/internal/drill"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/seal"
)

// Kinds of keys, as drill records name them.
const (
	KindRetained = "retained file key"
	KindIdentity = "identity"
	KindFileKey  = "file key"
)

// Keys are the keys that this host may open objects with. The zero value has none.
type Keys struct {
	// Ring has the file keys of what this node uploaded since it booted; nil: none. They are tried first.
	Ring *seal.KeyRing
	// Identities returns the identities; nil: there are none. It is asked for every drill, so that a file which was
	// replaced counts at once.
	Identities func() ([]age.Identity, error)
	// FileKey opens one object only, and stands in for everything else; zero: not given.
	FileKey seal.FileKey
}

// Find is drill.Config.Keys: what opens the object of m in r, and which kind of key that is. Its error wraps drill.ErrNoKey
// where this host has none.
func (k Keys) Find(_ context.Context, r *repo.Repository, m *repo.Manifest) ([]age.Identity, string, error) {
	if !k.FileKey.IsZero() {
		return []age.Identity{k.FileKey.Identity()}, KindFileKey, nil
	}
	if key, ok := k.retained(r, m); ok {
		return []age.Identity{key.Identity()}, KindRetained, nil
	}
	return k.identities(m.Object.Recipients)
}

// CanOpen says whether Find would return a key, for Config.CanOpen. r is any repository of the cluster. The identities are
// read once for all the manifests that the function is asked about.
func (k Keys) CanOpen(r *repo.Repository) func(*repo.Manifest) bool {
	k = k.once()
	return func(m *repo.Manifest) bool {
		_, _, err := k.Find(context.Background(), r, m)
		return err == nil
	}
}

// FindSegment is drill.Config.SegmentKeys: what opens a segment in r. A single file key opens none.
func (k Keys) FindSegment(_ context.Context, r *repo.Repository, s *repo.Segment) ([]age.Identity, string, error) {
	if !k.FileKey.IsZero() {
		return nil, "", fmt.Errorf("%w: the file key is of another object", drill.ErrNoKey)
	}
	if k.Ring != nil {
		if key, ok := k.Ring.Get(r.SegmentPayloadKey(s)); ok {
			return []age.Identity{key.Identity()}, KindRetained, nil
		}
	}
	return k.identities(s.Object.Recipients)
}

// identities are those of this node, if one of them fits the recipients of an object.
func (k Keys) identities(recipients []string) ([]age.Identity, string, error) {
	if k.Identities == nil {
		return nil, "", drill.ErrNoKey
	}
	ids, err := k.Identities()
	if err != nil {
		return nil, "", fmt.Errorf("%w: %w", drill.ErrNoKey, err)
	}
	if !fits(ids, recipients) {
		return nil, "", fmt.Errorf("%w: it is sealed for others than the identity here", drill.ErrNoKey)
	}
	return ids, KindIdentity, nil
}

// CanOpenSegment is CanOpen for segments.
func (k Keys) CanOpenSegment(r *repo.Repository) func(*repo.Segment) bool {
	k = k.once()
	return func(s *repo.Segment) bool {
		_, _, err := k.FindSegment(context.Background(), r, s)
		return err == nil
	}
}

// once reads the identities the first time that they are asked for only.
func (k Keys) once() Keys {
	if k.Identities != nil {
		k.Identities = sync.OnceValues(k.Identities)
	}
	return k
}

func (k Keys) retained(r *repo.Repository, m *repo.Manifest) (seal.FileKey, bool) {
	if k.Ring == nil {
		return seal.FileKey{}, false
	}
	id, err := repo.ParseID(m.ID)
	if err != nil {
		return seal.FileKey{}, false // no manifest that was read has such an ID
	}
	return k.Ring.Get(r.PayloadKey(id, m.Object.Name))
}

// fits compares the identities with the recipients that a manifest names. One whose recipient is not known, such as a
// plugin's, may fit anything.
func fits(ids []age.Identity, recipients []string) bool {
	return slices.ContainsFunc(ids, func(id age.Identity) bool {
		of := seal.Fingerprint(id)
		return of == "" || slices.Contains(recipients, of)
	})
}
