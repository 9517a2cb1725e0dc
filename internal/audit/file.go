package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/lock"
)

const (
	// FileName is that of the newest file, in the state directory.
	FileName = "audit.jsonl"
	// rotateAt is the size in bytes from which the next record begins another file: some 30,000 records, a year of a quiet node.
	rotateAt = 16 << 20
	// tailRoom is how much of the end of a file is read to find its last record, in bytes; the longest has less than 5 KiB.
	tailRoom = 64 << 10
	// lockWait bounds the wait for another writer, who needs a millisecond: one that was stopped must not stop a restore.
	lockWait = 2 * time.Second
	lockPoll = 2 * time.Millisecond
	// lockTries are counted instead of looking at the clock: while the machine stands still, the other writer does too.
	lockTries = int(lockWait / lockPoll)
)

// end is where a log goes on.
type end struct {
	sequence int64  // of the last whole record; 0: there is none
	record   string // hash of that record's line
	hash     string // of the last line, be it torn
	torn     bool   // the last line has no newline
	bare     bool   // the file has no whole record, and goes on from the one before
}

// appendRecord gives r its place in the chain, writes it, and brings it to the disk if sync is set. It returns the line.
func appendRecord(path string, r *Record, sync bool) (line []byte, err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	f, line, err := appendLine(path, r)
	if f != nil {
		defer func() { err = errors.Join(err, f.Close()) }()
	}
	if err == nil && sync { // a slow disk keeps nobody else waiting
		err = unix.Fdatasync(int(f.Fd()))
	}
	return line, err
}

// appendLine writes r while no other process does. The caller closes the file, if there is one.
func appendLine(path string, r *Record) (f *os.File, line []byte, err error) {
	release, err := locked(path)
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, release()) }()
	f, last, err := openEnd(path)
	if err != nil {
		return nil, nil, err
	}
	r.Sequence, r.Previous, r.Continues = last.sequence+1, last.hash, last.bare
	if line, err = r.line(); err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	text := append(bytes.Clone(line), '\n')
	if last.torn {
		text = append([]byte{'\n'}, text...)
	}
	if err := write(f, text); err != nil {
		return nil, line, errors.Join(err, f.Close())
	}
	return f, line, nil
}

// locked keeps other processes from writing at the same time.
func locked(path string) (release func() error, err error) {
	for range lockTries {
		release, err = lock.Try(strings.TrimSuffix(path, ".jsonl") + ".lock")
		if err != nil || release != nil {
			return release, err
		}
		time.Sleep(lockPoll)
	}
	return nil, fmt.Errorf("another process has had %s locked for %v", path, lockWait)
}

// openEnd opens the file to append to, beginning another one when it is full.
func openEnd(path string) (*os.File, end, error) {
	f, err := openFile(path)
	if err != nil {
		return nil, end{}, err
	}
	last, size, err := endOf(f)
	if err == nil && size >= rotateAt && !last.torn {
		// What goes into the next file must not be on the disk without what it goes on from: not all of this one need be there yet.
		if err := errors.Join(unix.Fdatasync(int(f.Fd())), f.Close(), rotate(path, last)); err != nil {
			return nil, end{}, err
		}
		f, err = openFile(path)
		last.bare = true
		return f, last, err
	}
	if err == nil && last.sequence == 0 {
		last, err = last.after(endOfRotated(path))
		last.bare = last.sequence > 0
	}
	if err != nil {
		return nil, end{}, errors.Join(err, f.Close())
	}
	return f, last, nil
}

// after is e, of a file without a record, as it goes on from the end of the file before.
func (e end) after(before end, err error) (end, error) {
	if e.hash == Genesis {
		return before, err
	}
	e.sequence, e.record = before.sequence, before.record // a crash tore its only line
	return e, err
}

// openFile opens for appending, and makes the file 0600. A symbolic link is refused: root would follow it anywhere.
func openFile(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_CREATE|os.O_RDWR|os.O_APPEND|unix.O_NOFOLLOW, 0o600)
}

// endOf reads the end of a file.
func endOf(f *os.File) (last end, size int64, err error) {
	info, err := f.Stat()
	if err != nil {
		return last, 0, err
	}
	if size = info.Size(); size == 0 {
		return end{hash: Genesis}, 0, nil
	}
	text := make([]byte, min(size, tailRoom))
	if _, err := f.ReadAt(text, size-int64(len(text))); err != nil && !errors.Is(err, io.EOF) {
		return last, 0, err
	}
	last.torn = text[len(text)-1] != '\n'
	lines := bytes.Split(bytes.TrimSuffix(text, []byte("\n")), []byte("\n"))
	if size > tailRoom {
		lines = lines[1:] // of which the beginning is missing
	}
	if len(lines) == 0 {
		return last, 0, hint.New(fmt.Errorf("%s is no audit log: its last line is longer than any record", f.Name()), "move it away; a new one begins by itself")
	}
	last.hash = hashOf(lines[len(lines)-1])
	for i := len(lines) - 1; i >= 0 && last.sequence == 0; i-- {
		var r Record
		if json.Unmarshal(lines[i], &r) == nil {
			last.sequence, last.record = r.Sequence, hashOf(lines[i])
		}
	}
	return last, size, nil
}

// rotatedName sorts as the sequence does.
func rotatedName(path string, sequence int64) string {
	return fmt.Sprintf("%s-%012d.jsonl", strings.TrimSuffix(path, ".jsonl"), sequence)
}

// rotate moves a full file away. It replaces none: the caller has the lock.
func rotate(path string, last end) error {
	name := rotatedName(path, last.sequence)
	if _, err := os.Lstat(name); !errors.Is(err, fs.ErrNotExist) {
		return hint.New(errors.Join(fmt.Errorf("%s is full, and %s is there already", path, name), err), "move one of them away")
	}
	return os.Rename(path, name)
}

// movedAway matches what rotatedName puts behind "audit".
var movedAway = regexp.MustCompile(`^-[0-9]{12}\.jsonl$`)

// rotated are the files that were moved away, the oldest first. A state directory may have any name, so that no pattern has it.
func rotated(path string) (names []string, err error) {
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, e := range entries {
		if rest, ok := strings.CutPrefix(e.Name(), strings.TrimSuffix(filepath.Base(path), ".jsonl")); ok && movedAway.MatchString(rest) {
			names = append(names, filepath.Join(filepath.Dir(path), e.Name()))
		}
	}
	return names, nil
}

// endOfRotated is where a new file goes on.
func endOfRotated(path string) (end, error) {
	names, err := rotated(path)
	if err != nil || len(names) == 0 {
		return end{hash: Genesis}, err
	}
	f, err := os.Open(names[len(names)-1])
	if err != nil {
		return end{}, err
	}
	last, _, err := endOf(f)
	last.torn = false // the newline would be in another file
	return last, errors.Join(err, f.Close())
}

// write appends text as a whole or, as far as the disk lets it, not at all.
func write(f *os.File, text []byte) error {
	n, err := f.Write(text)
	if err == nil || n == 0 {
		return err
	}
	if info, statErr := f.Stat(); statErr == nil && n < len(text) {
		err = errors.Join(err, f.Truncate(info.Size()-int64(n)))
	}
	return err
}
