package replicate

import (
	"context"
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
	// ProofPlaintext: every byte was downloaded, has the object's SHA-256, decrypts, and is the snapshot that was taken.
	ProofPlaintext Proof = "plaintext"
	// ProofCiphertext: every byte was downloaded and has the object's SHA-256. The file key is gone, as after a reboot.
	ProofCiphertext Proof = "ciphertext"
	// ProofChecksum: the target reports the object's size and, where it keeps one, its SHA-256.
	ProofChecksum Proof = "checksum"
)

// Prove reads back what the target holds. Without ReadBack it compares size, and SHA-256 where the store keeps one.
// With the zero FileKey it cannot decrypt, and compares the sealed bytes. A copy that was read whole and is not what
// was sent is an error wrapping repo.ErrDamaged.
func (t Target) Prove(ctx context.Context, m *repo.Manifest, key seal.FileKey) (Proof, error) {
	proof, err := ProofChecksum, error(nil)
	switch {
	case !t.ReadBack:
		err = t.compare(ctx, m)
	case key.IsZero():
		proof, err = ProofCiphertext, t.readSealed(ctx, m)
	default:
		proof, err = ProofPlaintext, t.readBack(ctx, m, key)
	}
	if err != nil {
		return "", hint.New(fmt.Errorf("read back from %s: %w", t.Name, err), "do not count on this copy; run `drd check`, and take another snapshot")
	}
	return proof, nil
}

func (t Target) compare(ctx context.Context, m *repo.Manifest) error {
	id, err := repo.ParseID(m.ID)
	if err != nil {
		return err
	}
	obj, err := t.Repo.Bucket().Stat(ctx, t.Repo.PayloadKey(id, m.Object.Name))
	if err != nil {
		return err
	}
	if obj.Size != m.Object.Size || (obj.SHA256 != "" && obj.SHA256 != m.Object.SHA256) {
		return fmt.Errorf("%s: %w", obj.Key, repo.ErrDamaged)
	}
	return nil
}

func (t Target) readSealed(ctx context.Context, m *repo.Manifest) error {
	object, err := t.Repo.Payload(ctx, m)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, object)
	return errors.Join(err, object.Close())
}

// readBack proves the copy. Three things together say that the plaintext is the snapshot that was taken: the object's
// SHA-256, the checksum that zstd keeps of the plaintext, and the snapshot's own length and trailer. Hashing the
// plaintext once more would say nothing new and cost more than all of them.
func (t Target) readBack(ctx context.Context, m *repo.Manifest, key seal.FileKey) (err error) {
	object, err := t.Repo.Payload(ctx, m)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, object.Close()) }()
	opened := openWith(object, m, key)
	// The envelope may end before the object does, or break before: only at the object's end is its SHA-256 known.
	// What breaks the transfer is no damage; what does not, and cannot be opened, is.
	if _, err := io.Copy(io.Discard, object); err != nil {
		return err
	}
	return opened
}

// openWith decrypts and decompresses to the last byte.
func openWith(object io.Reader, m *repo.Manifest, key seal.FileKey) error {
	format, err := seal.FormatByName(m.Object.Envelope)
	if err != nil {
		return err
	}
	end := &lastBytes{}
	plain, err := format.Open(object, []age.Identity{key.Identity()})
	if err != nil {
		return unopened(m, err)
	}
	n, err := io.CopyBuffer(end, plain, make([]byte, 256<<10))
	if err = errors.Join(err, plain.Close()); err != nil {
		return unopened(m, err)
	}
	if n != m.Plain.Size || hex.EncodeToString(end.tail) != m.Plain.SHA256 {
		return fmt.Errorf("%s: %w: its content is not the snapshot of the manifest", m.ID, repo.ErrDamaged)
	}
	return nil
}

func unopened(m *repo.Manifest, err error) error {
	return fmt.Errorf("%s: %w: %w", m.ID, repo.ErrDamaged, err)
}

// lastBytes keeps the last 32 bytes written to it: the snapshot's trailer.
type lastBytes struct{ tail []byte }

func (l *lastBytes) Write(p []byte) (int, error) {
	const size = 32
	l.tail = append(l.tail, p[max(0, len(p)-size):]...)
	l.tail = append(l.tail[:0], l.tail[max(0, len(l.tail)-size):]...)
	return len(p), nil
}
