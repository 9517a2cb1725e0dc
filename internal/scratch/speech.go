package scratch

import (
	"bytes"
	"encoding/json"
	"strings"
	"sync"
	"unicode"
)

const (
	// maxLine bounds what is kept of a line, in bytes. An etcd logs its configuration in one.
	maxLine = 16 << 10
	// maxWords bounds what is quoted, in bytes: the size of a sentence or two.
	maxWords = 600
)

// speech listens to what the child says, and keeps what explains its end. Nothing of it is stored.
type speech struct {
	mu      sync.Mutex
	n       int64
	line    []byte
	fatal   string // the first message with which it gave up
	crash   string // the first line of a crash of Go's runtime
	plain   string // the first line that is not a log line: a program that cannot start says so in plain words
	trouble string // the last error it logged
	last    string // the last thing it said
}

// Write never fails: nobody's life depends on what it says.
func (s *speech) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.n += int64(len(p))
	for rest := p; len(rest) > 0; {
		line, after, ended := bytes.Cut(rest, []byte("\n"))
		s.line = append(s.line, line[:min(len(line), maxLine-len(s.line))]...)
		if ended {
			s.hear(s.line)
			s.line = s.line[:0]
		}
		rest = after
	}
	return len(p), nil
}

// hear judges one line.
func (s *speech) hear(line []byte) {
	line = bytes.TrimSpace(line)
	if len(line) == 0 {
		return
	}
	var entry struct {
		Level   string `json:"level"`
		Message string `json:"msg"`
		Error   string `json:"error"`
	}
	if json.Unmarshal(line, &entry) != nil {
		if line[0] != '{' { // else a log line that is too long
			s.hearPlain(string(line))
		}
		return
	}
	said := entry.Message
	if entry.Error != "" {
		said += ": " + entry.Error
	}
	s.last = said
	switch entry.Level {
	case "fatal", "panic":
		first(&s.fatal, said)
	case "error":
		s.trouble = said
	}
}

func (s *speech) hearPlain(line string) {
	if strings.HasPrefix(line, "panic: ") || strings.HasPrefix(line, "fatal error: ") {
		first(&s.crash, line)
		return
	}
	first(&s.plain, line)
}

func first(to *string, said string) {
	if *to == "" {
		*to = said
	}
}

// size is how many bytes were said.
func (s *speech) size() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.n
}

// crashed reports whether it gave up, as opposed to ending when it was asked to.
func (s *speech) crashed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fatal != "" || s.crash != ""
}

// words is what explains the end best, on one printable line.
func (s *speech) words() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hear(s.line) // a line that never ended
	s.line = s.line[:0]
	for _, said := range []string{s.fatal, s.crash, s.plain, s.trouble, s.last} {
		if said != "" {
			return printable(said)
		}
	}
	return "it said nothing"
}

// printable keeps what the store holds from moving the cursor of a terminal.
func printable(said string) string {
	said = strings.ToValidUTF8(said, "\uFFFD")
	said = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, said)
	if len(said) > maxWords {
		said = strings.ToValidUTF8(said[:maxWords], "") + "..."
	}
	return said
}
