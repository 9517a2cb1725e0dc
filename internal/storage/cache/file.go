package cache

import (
	"bufio"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
	"github.com/klauspost/compress/zstd"
)

// magic begins what is in the file, so that the file of another version of drd is ignored.
const magic = "drd records 1\n"

// load returns what a file remembers: nothing, when it is not whole.
func load(name string) map[string]record {
	none := make(map[string]record)
	f, err := os.Open(name)
	if err != nil {
		return none
	}
	defer f.Close()
	// The checksum of the frame is compared when it ends: what is read before counts for nothing.
	plain, err := zstd.NewReader(f, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(2*most))
	if err != nil {
		return none
	}
	defer plain.Close()
	known, err := decode(io.LimitReader(plain, 2*most))
	if err != nil {
		return none
	}
	return known
}

func decode(r io.Reader) (map[string]record, error) {
	in := bufio.NewReaderSize(r, 1<<20)
	begin := make([]byte, len(magic))
	if _, err := io.ReadFull(in, begin); err != nil || string(begin) != magic {
		return nil, errors.New("not a file of this version")
	}
	var known map[string]record
	if err := gob.NewDecoder(in).Decode(&known); err != nil {
		return nil, err
	}
	rest, err := io.Copy(io.Discard, in)
	if err != nil || rest > 0 || known == nil {
		return nil, errors.Join(errors.New("not whole"), err)
	}
	return known, nil
}

// save puts a new file in the place of the old one. Only this user may read it.
func save(name string, known map[string]record) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return fmt.Errorf("remember what was read: %w", err)
	}
	f, err := renameio.NewPendingFile(name, renameio.WithPermissions(0o600), renameio.WithTempDir(filepath.Dir(name)))
	if err != nil {
		return fmt.Errorf("remember what was read: %w", err)
	}
	defer f.Cleanup()
	if err := encode(f, known); err != nil {
		return fmt.Errorf("remember what was read: %w", err)
	}
	if err := f.CloseAtomicallyReplace(); err != nil {
		return fmt.Errorf("remember what was read: %w", err)
	}
	return nil
}

func encode(w io.Writer, known map[string]record) error {
	packed, err := zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return err
	}
	out := bufio.NewWriterSize(packed, 1<<20)
	_, err = out.WriteString(magic)
	return errors.Join(err, gob.NewEncoder(out).Encode(known), out.Flush(), packed.Close())
}
