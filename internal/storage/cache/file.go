package cache

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/google/renameio/v2"
	"github.com/klauspost/compress/zstd"
)

const (
	// magic begins what is packed, so that the file of another version of drd is ignored.
	magic = "drd records 2\n"
	// sizeBytes is the length of the number before the packed part: how many bytes come out of it.
	sizeBytes = 8
)

// load returns what a file remembers of a bucket: nothing, when it is not whole, or when others could have written it.
func load(name, location string) (map[string]record, map[[sha256.Size]byte]time.Time) {
	known, good, err := read(name, location)
	if err != nil {
		return make(map[string]record), make(map[[sha256.Size]byte]time.Time)
	}
	return known, good
}

func read(name, location string) (map[string]record, map[[sha256.Size]byte]time.Time, error) {
	// What somebody put in its place must neither be followed nor waited for.
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, nil, err
	}
	if !own(info) {
		return nil, nil, errors.New("others could have written it")
	}
	plain, err := unpack(f, info.Size())
	if err != nil {
		return nil, nil, err
	}
	return decode(plain, location)
}

// unpack returns what is packed into so many bytes. Its size, which comes first, only spares copying.
func unpack(r io.Reader, size int64) ([]byte, error) {
	begin := make([]byte, sizeBytes)
	if _, err := io.ReadFull(r, begin); err != nil {
		return nil, err
	}
	packed, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(2*most))
	if err != nil {
		return nil, err
	}
	defer packed.Close()
	var plain bytes.Buffer
	plain.Grow(int(min(binary.BigEndian.Uint64(begin), 2*most, 32*uint64(size))) + bytes.MinRead) //nolint:gosec // bounded
	// The checksum of the frame is compared when it ends: nothing counts before.
	if _, err := plain.ReadFrom(io.LimitReader(packed, 2*most)); err != nil {
		return nil, err
	}
	return plain.Bytes(), nil
}

// own reports whether a file is this user's alone.
func own(info os.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && info.Mode().IsRegular() && info.Mode().Perm()&0o077 == 0 && int64(st.Uid) == int64(os.Geteuid())
}

// save puts a new file in the place of the old one. Only this user may read it.
func save(name, location string, known map[string]record, good map[[sha256.Size]byte]time.Time) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return fmt.Errorf("remember what was read: %w", err)
	}
	f, err := renameio.NewPendingFile(name, renameio.WithPermissions(0o600), renameio.WithTempDir(filepath.Dir(name)))
	if err != nil {
		return fmt.Errorf("remember what was read: %w", err)
	}
	defer f.Cleanup()
	if err := pack(f, location, known, good); err != nil {
		return fmt.Errorf("remember what was read: %w", err)
	}
	if err := f.CloseAtomicallyReplace(); err != nil {
		return fmt.Errorf("remember what was read: %w", err)
	}
	return nil
}

func pack(w io.Writer, location string, known map[string]record, good map[[sha256.Size]byte]time.Time) error {
	var size counter
	if err := encode(&size, location, known, good); err != nil {
		return err
	}
	if _, err := w.Write(binary.BigEndian.AppendUint64(nil, uint64(size))); err != nil {
		return err
	}
	packed, err := zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return err
	}
	out := bufio.NewWriterSize(packed, 1<<20)
	return errors.Join(encode(out, location, known, good), out.Flush(), packed.Close())
}

// counter is a writer that only counts.
type counter uint64

func (c *counter) Write(b []byte) (int, error) {
	*c += counter(len(b))
	return len(b), nil
}

// encode writes the mark, the location, the records and the digests, both with their number before them. Texts have their length
// before them, times are seconds and nanoseconds; all numbers are varints.
func encode(w io.Writer, location string, known map[string]record, good map[[sha256.Size]byte]time.Time) error {
	b := appendText([]byte(magic), location)
	b = binary.AppendUvarint(b, uint64(len(known)))
	for key, r := range known {
		b = appendTime(appendTime(appendText(b, key), r.Read), r.Modified)
		b = appendText(appendText(b, r.SHA256), string(r.Content))
		if _, err := w.Write(b); err != nil {
			return err
		}
		b = b[:0]
	}
	b = binary.AppendUvarint(b, uint64(len(good)))
	for digest, at := range good {
		b = appendTime(append(b, digest[:]...), at)
	}
	_, err := w.Write(b)
	return err
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendTime(b []byte, t time.Time) []byte {
	return binary.AppendUvarint(binary.AppendVarint(b, t.Unix()), uint64(t.Nanosecond()))
}

// decode is the reverse of encode, for the bucket of a location. The records keep b.
func decode(b []byte, location string) (map[string]record, map[[sha256.Size]byte]time.Time, error) {
	rest, ok := bytes.CutPrefix(b, []byte(magic))
	if !ok {
		return nil, nil, errors.New("not a file of this version")
	}
	s := &source{left: rest}
	if got := string(s.bytes(s.number())); s.err == nil && got != location {
		return nil, nil, errors.New("of another bucket")
	}
	known := make(map[string]record)
	for n := s.number(); n > 0 && s.err == nil; n-- {
		key := string(s.bytes(s.number()))
		r := record{Read: s.time(), Modified: s.time(), SHA256: string(s.bytes(s.number()))}
		r.Content = s.bytes(s.number())
		known[key] = r
	}
	good := make(map[[sha256.Size]byte]time.Time)
	for n := s.number(); n > 0 && s.err == nil; n-- {
		var digest [sha256.Size]byte
		copy(digest[:], s.bytes(sha256.Size))
		good[digest] = s.time()
	}
	if s.err == nil && len(s.left) > 0 {
		s.err = errNotWhole
	}
	return known, good, s.err
}

var errNotWhole = errors.New("not whole")

// source is what is left to be decoded. After an error all it yields is nothing.
type source struct {
	left []byte
	err  error
}

func (s *source) number() uint64 {
	n, length := binary.Uvarint(s.left)
	if length <= 0 {
		s.left, s.err = nil, errNotWhole
		return 0
	}
	s.left = s.left[length:]
	return n
}

func (s *source) bytes(n uint64) []byte {
	if n > uint64(len(s.left)) {
		s.left, s.err = nil, errNotWhole
		return nil
	}
	b := s.left[:n:n]
	s.left = s.left[n:]
	return b
}

func (s *source) time() time.Time {
	seconds, length := binary.Varint(s.left)
	if length <= 0 {
		s.left, s.err = nil, errNotWhole
		return time.Time{}
	}
	s.left = s.left[length:]
	return time.Unix(seconds, int64(s.number()%uint64(time.Second))).UTC()
}
