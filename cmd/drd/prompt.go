package main

import (
	"bufio"
	"fmt"
	"os"
	"strings"

	"golang.org/x/term"

	"github.com/drd-project/drd/internal/seal"
)

// terminal asks the person in front of it. It talks to the terminal itself, so that output can be redirected.
type terminal struct{ tty *os.File }

// prompter returns nil where there is no terminal: then whatever needs a person is an error that says so.
func (a *app) prompter() seal.Prompter {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return nil
	}
	return terminal{tty}
}

// Secret implements seal.Prompter: what is typed is not shown.
func (t terminal) Secret(prompt string) (string, error) {
	fmt.Fprintf(t.tty, "%s: ", printable(prompt))
	b, err := term.ReadPassword(int(t.tty.Fd()))
	fmt.Fprintln(t.tty)
	if err != nil {
		return "", fmt.Errorf("read from the terminal: %w", err)
	}
	return string(b), nil
}

// line asks for something that may be seen.
func (t terminal) line(prompt string) (string, error) {
	fmt.Fprintf(t.tty, "%s: ", printable(prompt))
	line, err := bufio.NewReader(t.tty).ReadString('\n')
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
