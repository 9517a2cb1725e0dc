package members

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
)

// slack is how many lines more than it needs the file may have before it is written anew.
const slack = 2_500

// read takes in what is in the file. Of lines that say the same the last counts.
func (l *Log) read() error {
	text, err := os.ReadFile(l.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read the log of the members' hashes: %w", err)
	}
	var read []entry
	for line := range bytes.Lines(text) {
		l.lines++
		var e entry
		if json.Unmarshal(line, &e) == nil && e.Member != "" && e.EtcdClusterID != "" && e.Revision > 0 {
			e.written = e.Seen
			read = append(read, e)
		}
	}
	slices.Reverse(read)
	slices.SortStableFunc(read, func(a, b entry) int { return b.Seen.Compare(a.Seen) })
	seen := make(map[answer]bool)
	for _, e := range read { // newest first
		if !seen[e.answer()] {
			seen[e.answer()] = true
			l.entries = append(l.entries, e)
		}
	}
	slices.Reverse(l.entries)
	return nil
}

// write brings new lines into the file, or all of them into a new file when the old one has become long.
func (l *Log) write(lines []entry) error {
	if l.lines+len(lines) > len(l.entries)+slack {
		return l.rewrite()
	}
	return l.append(lines)
}

// append writes the entries in one piece. It does not wait for the disk, which may be etcd's own: what a crash
// takes is not missed.
func (l *Log) append(entries []entry) error {
	if len(entries) == 0 {
		return nil
	}
	text, err := encode(entries)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(l.path, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("write the log of the members' hashes: %w", err)
	}
	if torn(f) {
		text = append([]byte{'\n'}, text...)
	}
	_, err = f.Write(text)
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write the log of the members' hashes: %w", err)
	}
	l.lines += len(entries)
	return nil
}

// torn says whether the file ends within a line.
func torn(f *os.File) bool {
	info, err := f.Stat()
	if err != nil || info.Size() == 0 {
		return false
	}
	var last [1]byte
	_, err = f.ReadAt(last[:], info.Size()-1)
	return err == nil && last[0] != '\n'
}

// rewrite puts a new file with what is remembered in the place of the old one.
func (l *Log) rewrite() error {
	text, err := encode(l.entries)
	if err != nil {
		return err
	}
	temporary := l.path + ".new"
	err = os.WriteFile(temporary, text, 0o600)
	if err == nil {
		err = os.Rename(temporary, l.path)
	}
	if err != nil {
		return fmt.Errorf("write the log of the members' hashes: %w", errors.Join(err, os.RemoveAll(temporary)))
	}
	l.lines = len(l.entries)
	return nil
}

func encode(entries []entry) ([]byte, error) {
	var text bytes.Buffer
	enc := json.NewEncoder(&text) // a line each
	for _, e := range entries {
		if err := enc.Encode(e); err != nil {
			return nil, fmt.Errorf("encode a member's hash: %w", err)
		}
	}
	return text.Bytes(), nil
}
