package seal

import (
	"errors"
	"fmt"
	"io"

	"filippo.io/age"
	"github.com/klauspost/compress/zstd"
)

// ageV1 is age(zstd(plaintext)): one age file holding one zstd frame.
type ageV1 struct{}

func (ageV1) Name() string      { return "age-v1" }
func (ageV1) Extension() string { return ".zst.age" }

// maxWindow bounds the memory that a zstd frame can ask of its reader, in bytes. It is the limit of
// the zstd program itself; what drd writes needs 4 MiB.
const maxWindow = 128 << 20

func (ageV1) Seal(w io.Writer, to *Recipients) (*Sealer, error) {
	if err := refuseApprovedOnly(); err != nil {
		return nil, err
	}
	if to == nil || to.Len() == 0 {
		return nil, errors.New("start age envelope: no recipients")
	}
	recipients, captured := to.capturing()
	envelope, err := age.Encrypt(w, recipients...)
	if err != nil {
		return nil, fmt.Errorf("start age envelope: %w", err)
	}
	frame, err := zstd.NewWriter(envelope,
		zstd.WithEncoderLevel(zstd.SpeedFastest), // higher levels gain 2-8 % on etcd data for 1.6-14 times the CPU
		zstd.WithEncoderConcurrency(encoderConcurrency),
		zstd.WithEncoderCRC(true),
		zstd.WithZeroFrames(true)) // the zstd program refuses to read empty input
	if err != nil {
		return nil, fmt.Errorf("start zstd frame: %w", err)
	}
	return &Sealer{frame: frame, envelope: envelope, key: captured.key}, nil
}

func (ageV1) Open(r io.Reader, ids []age.Identity) (io.ReadCloser, error) {
	if err := refuseApprovedOnly(); err != nil {
		return nil, err
	}
	src := &source{r: r}
	plain, err := decrypt(src, ids)
	if err != nil {
		return nil, err
	}
	frame, err := zstd.NewReader(plain,
		zstd.WithDecoderConcurrency(decoderConcurrency),
		zstd.WithDecoderMaxWindow(maxWindow))
	if err != nil {
		return nil, fmt.Errorf("read zstd frame: %w", err)
	}
	return &opened{src: src, plain: plain, frame: frame}, nil
}
