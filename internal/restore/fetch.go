package restore

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"

	"filippo.io/age"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/drd-project/drd/internal/disk"
	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/seal"
)

// fetchMode is how closely a fetch looks at what it gets.
type fetchMode struct {
	// hash: the plaintext is hashed and compared with its trailer. Where somebody trusted signed the manifest, the
	// object is the one that was sealed from a stream whose trailer had been checked, and hashing the plaintext again
	// would cost most of a restore's CPU time, on machines without SHA instructions, to learn nothing.
	hash bool
	// toEnd: the object is read to its end even when it cannot be opened, or says too much, so that a wrong SHA-256 of the
	// object itself is what the error tells.
	toEnd bool
}

// fetch writes the plain snapshot, without its trailer, to path, which must not exist, and returns the trailer.
//
// Everything happens in one pass, each stage in its own goroutine: download and hash of the sealed object;
// decryption and decompression; hash of the plaintext; write. When fetch returns nil the object was what
// the manifest says (SHA-256, size), every byte was authentic (age), decompression gave what had been compressed
// (zstd's checksum), and the plaintext ends with the trailer that the manifest names.
func fetch(ctx context.Context, source *repo.Repository, m *repo.Manifest, ids []age.Identity, path string, mode fetchMode, each func(n int64)) (trailer []byte, err error) {
	out, err := newStoreFile(path, m.Plain.Size-sha256.Size, mode)
	if err != nil {
		return nil, err
	}
	defer func() {
		if cerr := out.file.Close(); err == nil && cerr != nil {
			err = local("write the store", cerr)
		}
	}()
	if err := stream(ctx, source, m, ids, out, each); err != nil {
		return nil, err
	}
	return out.check(m)
}

// stream runs the stages and waits for all of them.
func stream(ctx context.Context, source *repo.Repository, m *repo.Manifest, ids []age.Identity, out *storeFile, each func(n int64)) error {
	format, err := seal.FormatByName(m.Object.Envelope)
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	sealed, err := source.Payload(ctx, m)
	if err != nil {
		return err
	}
	ahead := newReadAhead(ctx)
	uses := out.uses()
	fan := newFanOut(ctx, len(uses))
	g.Go(func() error { ahead.fill(sealed); return nil }) // its error reaches the reader of ahead
	for i, use := range uses {
		g.Go(func() error { return fan.consume(i, use) })
	}
	g.Go(func() error {
		defer fan.close()
		err := openAndCopy(format, ahead, ids, fan, each)
		if err != nil && out.mode.toEnd {
			err = readOn(ahead, err)
		}
		return err
	})
	err = g.Wait()
	if cerr := sealed.Close(); err == nil && cerr != nil {
		err = fmt.Errorf("close %s: %w", m.Object.Name, cerr)
	}
	return err
}

func openAndCopy(format seal.Format, ahead *readAhead, ids []age.Identity, fan *fanOut, each func(n int64)) error {
	plain, err := format.Open(ahead, ids)
	if err != nil {
		return err
	}
	defer plain.Close()
	if err := fan.copy(plain, each); err != nil {
		return err
	}
	// The object's own checksum is compared when its last byte is read, which decryption need not ask for.
	if n, err := io.Copy(io.Discard, ahead); err != nil {
		return err
	} else if n > 0 {
		return fmt.Errorf("%d bytes follow the envelope", n)
	}
	return nil
}

// readOn reads the rest of an object that could not be opened. What the object says of itself at its end, that it is not
// the recorded one or that it could not be read, explains err and takes its place.
func readOn(ahead *readAhead, err error) error {
	if _, objectErr := io.Copy(io.Discard, ahead); objectErr != nil {
		return objectErr
	}
	return err
}

// storeFile receives a plain snapshot: the store goes to the file, the trailer is kept.
type storeFile struct {
	file    *os.File
	mode    fetchMode
	size    int64 // bytes of the store, without the trailer
	written int64 // bytes received by write, trailer included
	hashed  int64 // bytes received by hash
	behind  disk.Writeback
	sum     hash.Hash // nil: the plaintext is not hashed
	trailer []byte
}

// uses are what is done with each block of plaintext, at the same time.
func (s *storeFile) uses() []func(data []byte) error {
	if s.sum == nil {
		return []func([]byte) error{s.write}
	}
	return []func([]byte) error{s.write, s.hash}
}

// newStoreFile makes the file and reserves its room, so that a full disk is found before the download.
func newStoreFile(path string, size int64, mode fetchMode) (*storeFile, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, local("make the store file", err)
	}
	err = unix.Fallocate(int(f.Fd()), 0, 0, size)
	if err != nil && !errors.Is(err, unix.EOPNOTSUPP) {
		return nil, local("reserve room for the store", errors.Join(err, f.Close()))
	}
	s := &storeFile{file: f, mode: mode, size: size, behind: disk.Writeback{File: f}}
	if mode.hash {
		s.sum = sha256.New()
	}
	return s, nil
}

func (s *storeFile) hash(data []byte) error {
	s.sum.Write(data[:clampLen(s.size-s.hashed, len(data))])
	s.hashed += int64(len(data))
	return nil
}

func (s *storeFile) write(data []byte) error {
	body := data[:clampLen(s.size-s.written, len(data))]
	if len(body) > 0 {
		if _, err := s.file.WriteAt(body, s.written); err != nil {
			return local("write the store", err)
		}
	}
	rest := data[len(body):]
	s.trailer = append(s.trailer, rest[:clampLen(int64(sha256.Size-len(s.trailer)), len(rest))]...)
	s.written += int64(len(data))
	if s.written > s.size+sha256.Size && !s.mode.toEnd { // with toEnd the excess is counted, and dropped
		return fmt.Errorf("%w: it is longer than %d bytes", ErrPlaintext, s.size+sha256.Size)
	}
	s.behind.Advance(min(s.written, s.size))
	return nil
}

// clampLen is room as a length between 0 and n.
func clampLen(room int64, n int) int {
	return int(max(0, min(room, int64(n))))
}

// check compares what arrived with the manifest and with the trailer of the etcd member.
func (s *storeFile) check(m *repo.Manifest) ([]byte, error) {
	if s.written != m.Plain.Size {
		return nil, fmt.Errorf("snapshot %s: %w: %d bytes of plaintext instead of %d", m.ID, ErrPlaintext, s.written, m.Plain.Size)
	}
	if hex.EncodeToString(s.trailer) != m.Plain.SHA256 {
		return nil, fmt.Errorf("snapshot %s: %w: its trailer says %x instead of %s", m.ID, ErrPlaintext, s.trailer, m.Plain.SHA256)
	}
	if s.sum == nil {
		return s.trailer, nil
	}
	if sum := s.sum.Sum(nil); !bytes.Equal(sum, s.trailer) {
		return nil, fmt.Errorf("snapshot %s: %w: sha-256 of the store is %x, its trailer says %x", m.ID, ErrPlaintext, sum, s.trailer)
	}
	return s.trailer, nil
}

// local marks err as a failure of this machine.
func local(what string, err error) error {
	err = fmt.Errorf("%s: %w", what, err)
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		err = hint.New(err, "free disk space there, or choose another place with --scratch")
	}
	return &LocalError{err}
}
