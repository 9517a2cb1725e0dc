package seal

import (
	"fmt"
	"io"

	"filippo.io/age"
	"github.com/klauspost/compress/zstd"
)

// encoderConcurrency is the number of zstd blocks in work at once. 1 compresses in the caller's
// goroutine. 2 was measured no faster on two busy cores, for more CPU time: there the other core
// belongs to etcd.
const encoderConcurrency = 1

// Sealer compresses and encrypts what is written to it. It is not safe for concurrent use.
//
// Close completes the envelope. When the input fails half way, do not call it: an envelope without
// its end can never be opened, and that is what an incomplete object should be.
type Sealer struct {
	frame    *zstd.Encoder
	envelope io.WriteCloser
	key      FileKey
	closed   bool
	closeErr error
}

// Write seals p. An error is final: the envelope cannot be continued.
func (s *Sealer) Write(p []byte) (int, error) {
	n, err := s.frame.Write(p)
	if err != nil {
		return n, fmt.Errorf("seal: %w", err)
	}
	return n, nil
}

// Close writes what is still buffered and the end of the envelope. It does not close the underlying
// writer. A second call returns what the first one did.
func (s *Sealer) Close() error {
	if !s.closed {
		s.closed = true
		s.closeErr = s.finish()
	}
	return s.closeErr
}

func (s *Sealer) finish() error {
	if err := s.frame.Close(); err != nil {
		return fmt.Errorf("end zstd frame: %w", err)
	}
	if err := s.envelope.Close(); err != nil {
		return fmt.Errorf("end age envelope: %w", err)
	}
	return nil
}

// FileKey opens this one object, without any identity. It is known from the start.
func (s *Sealer) FileKey() FileKey { return s.key }

// capturing returns the recipients for one call of age.Encrypt, of which the first one notes the
// file key that age made.
func (r *Recipients) capturing() ([]age.Recipient, *capture) {
	to := make([]age.Recipient, 0, len(r.list))
	for _, one := range r.list {
		to = append(to, one.Recipient)
	}
	first := &capture{Recipient: to[0]}
	to[0] = first
	return to, first
}

// capture keeps a copy of the file key that passes through it. age offers no other way to learn it,
// and with it a node can read back what it wrote while it holds public keys only.
type capture struct {
	age.Recipient
	key FileKey
}

var _ age.RecipientWithLabels = (*capture)(nil)

// WrapWithLabels hands the labels of the wrapped recipient on: age compares them between recipients.
func (c *capture) WrapWithLabels(fileKey []byte) ([]*age.Stanza, []string, error) {
	if len(fileKey) != fileKeySize {
		return nil, nil, fmt.Errorf("age made a file key of %d bytes instead of %d", len(fileKey), fileKeySize)
	}
	c.key = newFileKey(fileKey)
	if labelled, ok := c.Recipient.(age.RecipientWithLabels); ok {
		return labelled.WrapWithLabels(fileKey)
	}
	stanzas, err := c.Wrap(fileKey)
	return stanzas, nil, err
}
