package audit

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/drd-project/drd/internal/hint"
)

// Chain is what Verify found.
type Chain struct {
	Files   int
	Records int64
	// First and Last are the sequence numbers of the oldest and the newest record, 0 where there is none. First is more than 1
	// where old files were taken away.
	First, Last int64
	// Since and Until are the times of those two records.
	Since, Until time.Time
	// Hash is that of the newest line, Genesis where there is none: what an Anchor keeps elsewhere.
	Hash string
	// Torn names the lines ("FILE:LINE") in the middle of which a writer was killed. Nothing whole is missing there.
	Torn []string
	// Lost is how many records could not be written, as the next ones say.
	Lost int64
	// Matched counts the anchors whose record is in the log, by who knows them.
	Matched map[Witness]int
	// Older are the anchors of records before First.
	Older []Anchor
}

// String sums it up for people.
func (c Chain) String() string {
	if c.Records == 0 {
		return "no records yet"
	}
	s := fmt.Sprintf("records %d to %d, since %s, chain unbroken", c.First, c.Last, c.Since.Format(time.RFC3339))
	if len(c.Torn) > 0 {
		s += fmt.Sprintf("; %d torn by a crash (%s)", len(c.Torn), c.Torn[0])
	}
	if c.Lost > 0 {
		s += fmt.Sprintf("; %d could not be written", c.Lost)
	}
	return s
}

// maxProblems bounds how much of what is wrong is told.
const maxProblems = 10

// Verify reads the log at path (the newest file; older ones lie beside it) from its oldest record on, and tells of every line that does
// not follow from the one before, and of anchors whose record is not there. An error that wraps ErrTampered names files and lines, and one
// that wraps ErrReplaced where the log begins. No file is no error: nothing was recorded yet, unless an anchor says otherwise.
func Verify(path string, anchors ...Anchor) (Chain, error) {
	files, err := openAll(path)
	if err != nil {
		return Chain{}, fmt.Errorf("verify the audit log: %w", err)
	}
	v := &verifier{comparison: compareWith(anchors), chain: Chain{Hash: Genesis, Matched: make(map[Witness]int)}, begins: true}
	for _, f := range files {
		err = errors.Join(err, v.file(f), f.Close())
	}
	v.problems = append(v.problems, v.conclude(&v.chain, anchors)...)
	return v.chain, errors.Join(append(v.problems, err)...)
}

// part is one file as far as it reached when all were opened.
type part struct {
	*os.File
	size int64
}

// openAll opens all files while nobody writes. What comes afterwards is not looked at.
func openAll(path string) (parts []part, err error) {
	if release, err := locked(path); err == nil {
		defer func() { _ = release() }() // only closes a file that nothing was written to
	} // else it is looked at as it is: on a read-only copy nobody writes
	names, err := rotated(path)
	if err != nil {
		return nil, err
	}
	for _, name := range append(names, path) {
		f, err := os.Open(name)
		if errors.Is(err, fs.ErrNotExist) && name == path {
			break
		}
		var info fs.FileInfo
		if err == nil {
			info, err = f.Stat()
		}
		if err != nil {
			for _, p := range parts {
				err = errors.Join(err, p.Close())
			}
			return nil, err
		}
		parts = append(parts, part{f, info.Size()})
	}
	return parts, nil
}

// verifier goes from line to line.
type verifier struct {
	*comparison
	chain    Chain
	begins   bool // no line was read yet
	inFile   bool // a record of this file was read
	problems []error
}

func (v *verifier) problem(format string, args ...any) {
	if len(v.problems) < maxProblems {
		v.problems = append(v.problems, fmt.Errorf("%w: %s", ErrTampered, fmt.Sprintf(format, args...)))
	}
}

func (v *verifier) file(f part) error {
	v.chain.Files++
	v.inFile = false
	if info, err := f.Stat(); err == nil && info.Mode().Perm()&0o077 != 0 {
		v.problems = append(v.problems, hint.New(fmt.Errorf("%s is open to others (mode %04o)", f.Name(), info.Mode().Perm()), "run `chmod 0600 %s`", f.Name()))
	}
	in := bufio.NewReaderSize(io.LimitReader(f, f.size), tailRoom)
	for n := 1; ; n++ {
		line, err := in.ReadSlice('\n')
		if len(line) > 0 {
			v.line(fmt.Sprintf("%s:%d", f.Name(), n), bytes.TrimSuffix(line, []byte("\n")))
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case errors.Is(err, bufio.ErrBufferFull):
			v.problem("%s:%d is longer than any record", f.Name(), n)
			return nil
		case err != nil:
			return fmt.Errorf("verify the audit log: read %s: %w", f.Name(), err)
		}
	}
}

// line looks at one line. That a line is no record is judged by the next one: if that knows its hash, a writer was killed there.
func (v *verifier) line(place string, line []byte) {
	var r Record
	if json.Unmarshal(line, &r) != nil || r.Sequence < 1 {
		v.chain.Torn = append(v.chain.Torn, place)
		v.next(line)
		return
	}
	if !v.inFile && r.Sequence > 1 && !r.Continues {
		v.problem("%s is record %d, and no file begins with it: what was before it in its file was cut off", place, r.Sequence)
	}
	v.inFile = true
	switch {
	case v.begins && r.Sequence == 1 && r.Previous != Genesis:
		v.problem("%s is the first record, and says that another one was before it", place)
	case v.begins:
	case r.Previous != v.chain.Hash:
		v.problem("%s does not follow from the line before: one of them was changed, moved or taken out", place)
	case v.chain.Last > 0 && r.Sequence != v.chain.Last+1:
		v.problem("%s is record %d, and follows record %d", place, r.Sequence, v.chain.Last)
	}
	if v.chain.First == 0 {
		v.chain.First, v.chain.Since = r.Sequence, r.Time
	}
	v.chain.Records, v.chain.Last, v.chain.Until = v.chain.Records+1, r.Sequence, r.Time
	v.chain.Lost += r.Lost
	v.next(line)
	v.record(&v.chain, place, r.Sequence, v.chain.Hash)
}

func (v *verifier) next(line []byte) { v.chain.Hash, v.begins = hashOf(line), false }
