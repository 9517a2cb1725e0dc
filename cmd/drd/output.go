package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// writeJSON writes one indented document. HTML is nobody's concern here: & stays &.
func (a *app) writeJSON(v any) error {
	enc := json.NewEncoder(a.raw)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("write JSON: %w", err)
	}
	return nil
}

// checkedWriter remembers the first failure, so that a result which nobody could read is not called a success.
type checkedWriter struct {
	w   io.Writer
	err error
}

func (c *checkedWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	if err != nil && c.err == nil {
		c.err = fmt.Errorf("write the result: %w", err)
	}
	return n, err
}

// logger writes to standard error. Without --verbose only what a person must know is written.
func (a *app) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(a.err, &slog.HandlerOptions{Level: a.level(slog.LevelWarn)}))
}

// level is the least that is logged: usual, or everything with --verbose.
func (a *app) level(usual slog.Level) slog.Level {
	if a.verbose {
		return slog.LevelDebug
	}
	return usual
}

func isTerminal(w any) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// printing replaces what is not printable, such as the sequences that move the cursor of a terminal: part of what
// commands show comes from servers, and from objects that nobody signed.
type printing struct{ w io.Writer }

func (p printing) Write(b []byte) (int, error) {
	if _, err := io.WriteString(p.w, mask(string(b), "\n\t")); err != nil {
		return 0, err
	}
	return len(b), nil
}

// printable makes one field of a table out of somebody else's text.
func printable(s string) string { return mask(s, "") }

// mask replaces what is neither printable nor in keep.
func mask(s, keep string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) || strings.ContainsRune(keep, r) {
			return r
		}
		return '?'
	}, s)
}

// ago writes how long ago something was, coarsely: "3m", "5h", "12d".
func ago(d time.Duration) string {
	switch {
	case d < 0:
		return "in the future"
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}

// progress shows the steps of a long command: a bar on a terminal, and nothing elsewhere unless verbose.
type progress struct {
	mu   sync.Mutex
	w    io.Writer
	bars bool
	log  *slog.Logger
	bar  *progressbar.ProgressBar
	name string
}

func (a *app) progress() *progress {
	return &progress{w: a.terminal, bars: a.errToTerminal && !a.verbose, log: a.logger()}
}

// Step implements backup.Observer.
func (p *progress) Step(name string) { p.start(name, -1) }

// start begins a step of total bytes; -1 or 0 when that is not known.
func (p *progress) start(name string, total int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.end()
	p.name = name
	p.log.Info(name)
	if p.bars {
		p.bar = p.newBar(name, total)
	}
}

func (p *progress) newBar(name string, total int64) *progressbar.ProgressBar {
	if total <= 0 {
		total = -1
	}
	return progressbar.NewOptions64(total,
		progressbar.OptionSetWriter(p.w),
		progressbar.OptionSetDescription(fmt.Sprintf("%-18s", name)),
		progressbar.OptionShowBytes(true),
		progressbar.OptionUseIECUnits(true),
		progressbar.OptionSetWidth(30),
		progressbar.OptionThrottle(100*time.Millisecond),
		progressbar.OptionClearOnFinish(),
		progressbar.OptionSetElapsedTime(true),
	)
}

// Progress implements backup.Observer.
func (p *progress) Progress(done, total int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bar != nil {
		p.bar.ChangeMax64(total)
		_ = p.bar.Set64(done) // a bar that cannot be drawn is no reason to fail
	}
}

func (p *progress) add(n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bar != nil {
		_ = p.bar.Add64(n) // as above
	}
}

// finish takes the bar off the terminal.
func (p *progress) finish() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.end()
}

func (p *progress) end() {
	if p.bar != nil {
		_ = p.bar.Finish() // as above
		_ = p.bar.Clear()
		p.bar = nil
	}
}
