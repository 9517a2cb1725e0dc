package archive

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"

	"filippo.io/age"

	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/seal"
)

// Open is the plain content of a segment, for a Reader. It is checked against the manifest: in place of io.EOF comes an error
// wrapping repo.ErrDamaged when the sealed object or the plain content is not what was recorded. Until io.EOF nothing is
// proved. The caller closes it.
func Open(ctx context.Context, r *repo.Repository, s *repo.Segment, ids []age.Identity) (io.ReadCloser, error) {
	format, err := seal.FormatByName(s.Object.Envelope)
	if err != nil {
		return nil, fmt.Errorf("open segment %s: %w", s.Name(), err)
	}
	object, err := r.SegmentPayload(ctx, s)
	if err != nil {
		return nil, fmt.Errorf("open segment %s: %w", s.Name(), err)
	}
	plain, err := format.Open(object, ids)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open segment %s: %w", s.Name(), err), object.Close())
	}
	return &opened{segment: s, object: object, plain: plain, sum: sha256.New()}, nil
}

// opened is plaintext on its way to a Reader.
type opened struct {
	segment *repo.Segment
	object  io.ReadCloser
	plain   io.ReadCloser
	sum     hash.Hash
	n       int64
	err     error // sticky
}

func (o *opened) Read(p []byte) (int, error) {
	if o.err != nil {
		return 0, o.err
	}
	n, err := o.plain.Read(p)
	o.sum.Write(p[:n])
	o.n += int64(n)
	if err == io.EOF { //nolint:errorlint // the end is io.EOF itself; an error that wraps it is a failure
		err = o.verdict()
	}
	o.err = err
	return n, err
}

// verdict is io.EOF for the content that was recorded. The object is read to its end first: its hash is what was signed.
func (o *opened) verdict() error {
	if _, err := io.Copy(io.Discard, o.object); err != nil {
		return err
	}
	want := o.segment.Plain
	if sum := hex.EncodeToString(o.sum.Sum(nil)); o.n != want.Size || sum != want.SHA256 {
		return hint.New(fmt.Errorf("segment %s: %w: its plain content has %d bytes and SHA-256 %s, recorded are %d and %s",
			o.segment.Name(), repo.ErrDamaged, o.n, sum, want.Size, want.SHA256), "use another target")
	}
	return io.EOF
}

func (o *opened) Close() error { return errors.Join(o.plain.Close(), o.object.Close()) }
