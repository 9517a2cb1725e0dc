package replicate

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"filippo.io/age"

	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/seal"
)

// Proof says how a copy was proved, from the strongest to the weakest.
type Proof string

// The proofs.
const (
	// ProofPlaintext: every byte was downloaded, has the object's SHA-256, decrypts, and is what was taken.
	ProofPlaintext Proof = "plaintext"
	// ProofCiphertext: every byte was downloaded and has the object's SHA-256. The file key is gone, as after a reboot.
	ProofCiphertext Proof = "ciphertext"
	// ProofChecksum: the target reports the object's size and, where it keeps one, its SHA-256.
	ProofChecksum Proof = "checksum"
)

// Prove reads back what the target holds of a snapshot. Without ReadBack it compares size, and SHA-256 where the store keeps
// one. With the zero FileKey it cannot decrypt, and compares the sealed bytes. A copy that was read whole and is not what
// was sent is an error wrapping repo.ErrDamaged.
func (t Target) Prove(ctx context.Context, m *repo.Manifest, key seal.FileKey) (Proof, error) {
	id, err := repo.ParseID(m.ID)
	if err != nil {
		return "", err
	}
	return t.prove(ctx, sealed{
		name: m.ID, key: t.Repo.PayloadKey(id, m.Object.Name), object: m.Object, size: m.Plain.Size, sum: m.Plain.SHA256, summer: &lastBytes{},
		open: func(ctx context.Context) (io.ReadCloser, error) { return t.Repo.Payload(ctx, m) },
	}, key)
}

// ProveSegment is Prove for a segment.
func (t Target) ProveSegment(ctx context.Context, s *repo.Segment, key seal.FileKey) (Proof, error) {
	return t.prove(ctx, sealed{
		name: s.Name().String(), key: t.Repo.SegmentPayloadKey(s), object: s.Object, size: s.Plain.Size, sum: s.Plain.SHA256, summer: sha256.New(),
		open: func(ctx context.Context) (io.ReadCloser, error) { return t.Repo.SegmentPayload(ctx, s) },
	}, key)
}

// sealed is a copy in a target, and what it should be.
type sealed struct {
	name   string // for errors
	key    string // in the bucket
	object repo.Object
	open   func(ctx context.Context) (io.ReadCloser, error) // the copy, checked against object

	// The plaintext: its size in bytes, and what summer has to say of it in hex.
	size   int64
	sum    string
	summer summer
}

// summer is a hash.Hash, or a part of one.
type summer interface {
	io.Writer
	Reset()
	Sum(b []byte) []byte
}

func (t Target) prove(ctx context.Context, s sealed, key seal.FileKey) (Proof, error) {
	proof, err := ProofChecksum, error(nil)
	switch {
	case !t.ReadBack:
		err = t.compare(ctx, s)
	case key.IsZero():
		proof, err = ProofCiphertext, s.readSealed(ctx)
	default:
		proof, err = ProofPlaintext, s.readBack(ctx, key)
	}
	if err != nil {
		return "", hint.New(fmt.Errorf("read back from %s: %w", t.Name, err), "do not count on this copy; run `drd check`, and take another snapshot")
	}
	return proof, nil
}

func (t Target) compare(ctx context.Context, s sealed) error {
	obj, err := t.Repo.Bucket().Stat(ctx, s.key)
	if err != nil {
		return err
	}
	if obj.Size != s.object.Size || (obj.SHA256 != "" && obj.SHA256 != s.object.SHA256) {
		return fmt.Errorf("%s: %w", obj.Key, repo.ErrDamaged)
	}
	return nil
}

func (s sealed) readSealed(ctx context.Context) error {
	object, err := s.open(ctx)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, object)
	return errors.Join(err, object.Close())
}

// readBack proves the copy. Of a segment, the plaintext has the SHA-256 of the manifest. Of a snapshot, three things together
// say that it is the one that was taken: the object's SHA-256, the checksum that zstd keeps of the plaintext, and the
// snapshot's own length and trailer. Hashing its plaintext once more would say nothing new and cost more than all of them.
func (s sealed) readBack(ctx context.Context, key seal.FileKey) (err error) {
	object, err := s.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, object.Close()) }()
	opened := s.openWith(object, key)
	// The envelope may end before the object does, or break before: only at the object's end is its SHA-256 known.
	// What breaks the transfer is no damage; what does not, and cannot be opened, is.
	if _, err := io.Copy(io.Discard, object); err != nil {
		return err
	}
	return opened
}

// openWith decrypts and decompresses to the last byte.
func (s sealed) openWith(object io.Reader, key seal.FileKey) error {
	format, err := seal.FormatByName(s.object.Envelope)
	if err != nil {
		return err
	}
	plain, err := format.Open(object, []age.Identity{key.Identity()})
	if err != nil {
		return s.unopened(err)
	}
	s.summer.Reset()
	n, err := io.CopyBuffer(s.summer, plain, make([]byte, min(256<<10, max(s.size, 4<<10))))
	if err = errors.Join(err, plain.Close()); err != nil {
		return s.unopened(err)
	}
	if n != s.size || hex.EncodeToString(s.summer.Sum(nil)) != s.sum {
		return fmt.Errorf("%s: %w: its content is not that of the manifest", s.name, repo.ErrDamaged)
	}
	return nil
}

func (s sealed) unopened(err error) error {
	return fmt.Errorf("%s: %w: %w", s.name, repo.ErrDamaged, err)
}

// lastBytes keeps the last 32 bytes written to it: the snapshot's trailer.
type lastBytes struct{ tail []byte }

func (l *lastBytes) Write(p []byte) (int, error) {
	const size = 32
	l.tail = append(l.tail, p[max(0, len(p)-size):]...)
	l.tail = append(l.tail[:0], l.tail[max(0, len(l.tail)-size):]...)
	return len(p), nil
}

// Reset forgets what was written.
func (l *lastBytes) Reset() { l.tail = nil }

// Sum appends what is kept.
func (l *lastBytes) Sum(b []byte) []byte { return append(b, l.tail...) }
