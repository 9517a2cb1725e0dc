package repo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/drd-project/drd/internal/storage"
)

// PutPayload stores the sealed object of a snapshot, which rd opens; it may not open it at all
// when the object is there already. Content other than size and sha256hex say never becomes
// visible: what is stored under a key cannot be repaired.
//
// It may be called again after any failure. An equal object that is there is success, by size and
// SHA-256, from Stat where the store knows it and by reading it back where not. Another one is an error
// wrapping ErrConflict, and both are kept.
func (r *Repository) PutPayload(ctx context.Context, id ID, name string, rd func() (io.ReadCloser, error), size int64, sha256hex string) (storage.Object, error) {
	key := r.PayloadKey(id, name)
	if !payloadPattern.MatchString(name) || !sha256Pattern.MatchString(sha256hex) || size <= 0 {
		return storage.Object{}, fmt.Errorf("store %s: name, size or SHA-256 is not valid", key)
	}
	obj, err := r.putPayload(ctx, key, rd, size, sha256hex)
	if err != nil {
		return storage.Object{}, fmt.Errorf("store %s in %s: %w", key, r.bucket.Location(), err)
	}
	return obj, nil
}

func (r *Repository) putPayload(ctx context.Context, key string, rd func() (io.ReadCloser, error), size int64, sha256hex string) (storage.Object, error) {
	// Asking first saves an upload that would be refused at its end. Where asking is not allowed,
	// the write-once Create decides.
	if obj, err := r.bucket.Stat(ctx, key); err == nil {
		return obj, r.sameContent(ctx, key, obj, size, sha256hex)
	}
	src, err := rd()
	if err != nil {
		return storage.Object{}, fmt.Errorf("open the local copy: %w", err)
	}
	local := newChecked(src, "the local copy", hintLocal, size, sha256hex)
	obj, err := r.bucket.Create(ctx, key, local)
	closeErr := local.Close()
	switch {
	case errors.Is(err, storage.ErrExists): // another writer, or our own lost answer
		return r.statSame(ctx, key, size, sha256hex)
	case err != nil:
		return storage.Object{}, err
	case closeErr != nil:
		return storage.Object{}, fmt.Errorf("close the local copy: %w", closeErr)
	case obj.Size != size:
		return storage.Object{}, fmt.Errorf("%w: the store took %d bytes of %d", ErrDamaged, obj.Size, size)
	}
	return obj, nil
}

func (r *Repository) statSame(ctx context.Context, key string, size int64, sha256hex string) (storage.Object, error) {
	obj, err := r.bucket.Stat(ctx, key)
	if err != nil {
		return storage.Object{}, err
	}
	return obj, r.sameContent(ctx, key, obj, size, sha256hex)
}

// sameContent is nil when an object that is there holds what is expected.
func (r *Repository) sameContent(ctx context.Context, key string, obj storage.Object, size int64, sha256hex string) error {
	switch {
	case obj.Size != size:
		return fmt.Errorf("%w: %d bytes there, %d here; both are kept", ErrConflict, obj.Size, size)
	case obj.SHA256 == sha256hex:
		return nil
	case obj.SHA256 != "":
		return fmt.Errorf("%w: SHA-256 %s there, %s here; both are kept", ErrConflict, obj.SHA256, sha256hex)
	}
	there := r.fetch(ctx, key, size, sha256hex)
	_, err := io.Copy(io.Discard, there)
	if errors.Is(err, ErrDamaged) {
		err = fmt.Errorf("%w: its SHA-256 is not %s; both are kept", ErrConflict, sha256hex)
	}
	return errors.Join(err, there.Close())
}

// Commit makes a snapshot exist: it checks that the payload is there as recorded, writes the
// signature, then the manifest, and reads both back. Like PutPayload it may be called again after
// any failure, with the same bytes; other bytes under the keys are an error wrapping ErrConflict.
// A payload that is missing is an error wrapping storage.ErrNotExist.
func (r *Repository) Commit(ctx context.Context, s *Signed) error {
	m, err := DecodeManifest(s.Bytes) // what will be written counts, not what s.Manifest says
	if err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	id, err := r.owns(m)
	if err != nil {
		return fmt.Errorf("commit %s: %w", m.ID, err)
	}
	if len(s.Signature) == 0 || len(s.Signature) > maxSignature {
		return fmt.Errorf("commit %s: a signature of %d bytes", m.ID, len(s.Signature))
	}
	if err := r.commit(ctx, id, m, s); err != nil {
		return fmt.Errorf("commit %s to %s: %w", m.ID, r.bucket.Location(), err)
	}
	return nil
}

func (r *Repository) commit(ctx context.Context, id ID, m *Manifest, s *Signed) error {
	if err := r.payloadPresent(ctx, id, m); err != nil {
		return err
	}
	if err := r.putSmall(ctx, r.SignatureKey(id), s.Signature); errors.Is(err, ErrVanished) {
		return errors.New(err.Error()) // nobody can have been done with a snapshot that has no manifest yet: this one is lost
	} else if err != nil {
		return err
	}
	return r.putSmall(ctx, r.ManifestKey(id), s.Bytes)
}

// payloadPresent compares what the store says of the payload with the manifest.
func (r *Repository) payloadPresent(ctx context.Context, id ID, m *Manifest) error {
	key := r.PayloadKey(id, m.Object.Name)
	obj, err := r.bucket.Stat(ctx, key)
	if err != nil {
		return fmt.Errorf("payload %s: %w", key, err)
	}
	if obj.Size != m.Object.Size {
		return fmt.Errorf("payload %s: %w: %d bytes, recorded are %d", key, ErrConflict, obj.Size, m.Object.Size)
	}
	if obj.SHA256 != "" && obj.SHA256 != m.Object.SHA256 {
		return fmt.Errorf("payload %s: %w: SHA-256 is %s, recorded is %s", key, ErrConflict, obj.SHA256, m.Object.SHA256)
	}
	return nil
}

// putSmall stores a small object and proves that it is there by reading it back, also when it was
// there before.
func (r *Repository) putSmall(ctx context.Context, key string, content []byte) error {
	_, err := r.bucket.Create(ctx, key, bytes.NewReader(content))
	existed := errors.Is(err, storage.ErrExists)
	if err != nil && !existed {
		return fmt.Errorf("store %s: %w", key, err)
	}
	got, err := r.readSmall(ctx, key, int64(len(content)))
	switch {
	case errors.Is(err, errTooLarge), err == nil && !bytes.Equal(got, content):
		if existed {
			return fmt.Errorf("store %s: %w; both are kept", key, ErrConflict)
		}
		return fmt.Errorf("store %s: read back: %w", key, ErrDamaged)
	case errors.Is(err, storage.ErrNotExist):
		return fmt.Errorf("store %s: %w: %w", key, ErrVanished, err)
	case err != nil:
		return fmt.Errorf("store %s: read back: %w", key, err)
	}
	return nil
}

var errTooLarge = errors.New("object is too large")

// readSmall reads an object of at most limit bytes. It never reads more than one byte beyond.
func (r *Repository) readSmall(ctx context.Context, key string, limit int64) ([]byte, error) {
	src, err := r.bucket.Open(ctx, key, 0, limit+1)
	if err != nil {
		return nil, err
	}
	content, err := io.ReadAll(io.LimitReader(src, limit+1))
	if err = errors.Join(err, src.Close()); err != nil {
		return nil, err
	}
	if int64(len(content)) > limit {
		return nil, fmt.Errorf("%w: more than %d bytes", errTooLarge, limit)
	}
	return content, nil
}
