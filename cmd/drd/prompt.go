package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/term"

	"github.com/drd-project/drd/internal/seal"
)

// terminal asks the person in front of it. It talks to the terminal itself, so that output can be redirected.
type terminal struct {
	ctx context.Context // ends a question that nobody answers
	tty *os.File
}

// waitFor runs ask, which cannot be interrupted itself, until it answers or ctx ends. The process ends soon after that,
// and with it the goroutine that still waits.
func waitFor(ctx context.Context, ask func() (string, error)) (string, error) {
	type reply struct {
		text string
		err  error
	}
	answered := make(chan reply, 1)
	go func() {
		text, err := ask()
		answered <- reply{text, err}
	}()
	select {
	case r := <-answered:
		return r.text, r.err
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}

// prompter returns nil where there is no terminal: then whatever needs a person is an error that says so.
func (a *app) prompter(ctx context.Context) seal.Prompter {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return nil
	}
	return terminal{ctx, tty}
}

// Secret implements seal.Prompter: what is typed is not shown.
func (t terminal) Secret(prompt string) (string, error) {
	fmt.Fprintf(t.tty, "%s: ", printable(prompt))
	fd := int(t.tty.Fd())
	shown, err := term.GetState(fd)
	if err != nil {
		return "", fmt.Errorf("read from the terminal: %w", err)
	}
	secret, err := waitFor(t.ctx, func() (string, error) {
		b, err := term.ReadPassword(fd)
		return string(b), err
	})
	fmt.Fprintln(t.tty)
	if err != nil {
		// The read may still be waiting, and it switched the echo off.
		return "", errors.Join(fmt.Errorf("read from the terminal: %w", err), term.Restore(fd, shown))
	}
	return secret, nil
}

// line asks for something that may be seen.
func (t terminal) line(prompt string) (string, error) {
	fmt.Fprintf(t.tty, "%s: ", printable(prompt))
	line, err := waitFor(t.ctx, func() (string, error) { return bufio.NewReader(t.tty).ReadString('\n') })
	if err != nil {
		return "", fmt.Errorf("read from the terminal: %w", err)
	}
	return strings.TrimRight(line, "\r\n"), nil
}

// Confirm implements seal.Prompter.
func (t terminal) Confirm(prompt, yes, no string) (bool, error) {
	if no == "" {
		_, err := t.line(fmt.Sprintf("%s [%s: press return]", prompt, yes))
		return err == nil, err
	}
	answer, err := t.line(fmt.Sprintf("%s [1: %s, 2: %s]", prompt, yes, no))
	return answer == "1", err
}

// Message implements seal.Prompter.
func (t terminal) Message(text string) error {
	_, err := fmt.Fprintln(t.tty, printable(text))
	return err
}
