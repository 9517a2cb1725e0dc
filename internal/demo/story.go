package demo

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// columns is the width of the story on paper. Commands are written to fit into it; everything else is broken at spaces.
const columns = 100

// Sequences of a terminal (ECMA-48, "select graphic rendition").
const (
	bold  = "\x1b[1m"
	green = "\x1b[32m"
	plain = "\x1b[0m"
)

// story writes for people. The first write that fails is remembered, and nothing is written after it.
type story struct {
	w        io.Writer
	color    bool
	columns  int
	place    place
	chapters int
	err      error
}

func (s *story) line(text string) {
	if s.err == nil {
		if _, err := fmt.Fprintln(s.w, text); err != nil {
			s.err = fmt.Errorf("write the story: %w", err)
		}
	}
}

// paint adds colour where it is wanted.
func (s *story) paint(how, text string) string {
	if !s.color {
		return text
	}
	return how + text + plain
}

// chapter begins a numbered part.
func (s *story) chapter(title string) {
	s.chapters++
	s.line("")
	s.line(s.paint(bold, fmt.Sprintf("%d  %s", s.chapters, title)))
}

// say writes a sentence of the narrator.
func (s *story) say(format string, args ...any) { s.wrapped("   ", "", fmt.Sprintf(format, args...)) }

// command writes what an operator would type here. It may have several lines.
func (s *story) command(text string) {
	for i, l := range strings.Split(text, "\n") {
		prompt := "   $ "
		if i > 0 {
			prompt = "       "
		}
		s.line(s.paint(bold, prompt+l))
	}
}

// output writes what a command answers, each line wrapped by itself.
func (s *story) output(format string, args ...any) {
	for l := range strings.Lines(fmt.Sprintf(format, args...)) {
		s.wrapped("     ", "  ", strings.TrimRight(l, " \n"))
	}
}

// wrapped breaks a line at spaces. What follows is indented by hang beyond the first.
func (s *story) wrapped(indent, hang, text string) {
	text = s.relative(text)
	for {
		head, rest := cut(text, s.columns-len(indent))
		s.line(indent + head)
		if rest == "" {
			return
		}
		indent, hang, text = indent+hang, "", rest
	}
}

// cut divides text at the last space that leaves at most width characters before it. A longer word stays whole.
func cut(text string, width int) (head, rest string) {
	if utf8.RuneCountInString(text) <= width {
		return text, ""
	}
	body := strings.TrimLeft(text, " ")
	indent := text[:len(text)-len(body)]
	fits := string([]rune(body)[:width-len(indent)+1])
	at := strings.LastIndexByte(fits, ' ')
	if at < 0 {
		at = strings.IndexByte(body, ' ')
	}
	if at < 0 {
		return text, ""
	}
	return indent + strings.TrimRight(body[:at], " "), strings.TrimLeft(body[at:], " ")
}

// relative writes paths as they are typed by somebody who stands in the demo's directory.
func (s *story) relative(text string) string {
	text = strings.ReplaceAll(text, "file://"+string(s.place)+"/", "file://$PWD/")
	return strings.ReplaceAll(text, string(s.place)+"/", "")
}

// table writes rows in columns: the first to the left, the others to the right as numbers stand, except where
// left says so.
func (s *story) table(left []bool, rows [][]string) {
	widths := make([]int, len(left))
	for _, r := range rows {
		for i, cell := range r {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for _, r := range rows {
		var b bytes.Buffer
		for i, cell := range r {
			if left[i] {
				fmt.Fprintf(&b, "%-*s  ", widths[i], cell)
			} else {
				fmt.Fprintf(&b, "%*s  ", widths[i], cell)
			}
		}
		s.line("   " + strings.TrimRight(b.String(), " "))
	}
}
