// Command manual writes a manual page for each command of drd, out of what the program says with --help.
//
//	go run ./test/tools/manual PROGRAM DIRECTORY
//
// So the pages say what the program says, and the program carries nothing to make them.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: manual PROGRAM DIRECTORY")
		os.Exit(2)
	}
	host, err := os.Hostname()
	if err == nil {
		err = write(os.Args[1], os.Args[2], host, entry{})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "manual:", err)
		os.Exit(1)
	}
}

// write makes the page of a command, and those of the commands below it. The zero entry is the program itself.
func write(program, dir, host string, e entry) error {
	command := strings.Fields(e.name)
	text, err := exec.Command(program, append(command, "--help")...).Output()
	if err != nil {
		return fmt.Errorf("%s --help: %w", strings.Join(command, " "), err)
	}
	// Defaults that name this machine are no defaults of another.
	h, err := parse(strings.ReplaceAll(string(text), `"`+host+`"`, `"HOST"`))
	if err != nil {
		return fmt.Errorf("%s --help: %w", strings.Join(command, " "), err)
	}
	name := strings.Join(append([]string{"drd"}, command...), "-")
	if err := os.WriteFile(filepath.Join(dir, name+".1"), []byte(h.page(name, e.about)), 0o644); err != nil {
		return err
	}
	var errs []error
	for _, sub := range h.commands {
		if sub.name != "help" && sub.name != "completion" { // cobra's own
			errs = append(errs, write(program, dir, host, entry{strings.TrimSpace(e.name + " " + sub.name), sub.about}))
		}
	}
	return errors.Join(errs...)
}

// help is what --help says.
type help struct {
	about    string
	sections []section
	commands []entry
}

// section is a part with a heading, such as "Flags".
type section struct {
	title string
	lines []string
}

// entry is a command or a flag, and what it is for.
type entry struct{ name, about string }

var (
	heading = regexp.MustCompile(`^([A-Z][A-Za-z ]+):$`)
	listed  = regexp.MustCompile(`^ {2,}(\S.*?) {2,}(\S.*)$`)
)

func parse(text string) (help, error) {
	var h help
	about, rest, found := strings.Cut(text, "\nUsage:\n")
	if !found {
		return h, errors.New("there is no line with Usage")
	}
	h.about = strings.TrimSpace(about)
	for _, line := range strings.Split("Usage:\n"+rest, "\n") {
		if m := heading.FindStringSubmatch(line); m != nil {
			h.sections = append(h.sections, section{title: m[1]})
			continue
		}
		last := &h.sections[len(h.sections)-1]
		if strings.HasPrefix(line, "  ") {
			last.lines = append(last.lines, line)
		}
	}
	for _, s := range h.sections {
		if s.title == "Available Commands" {
			h.commands = s.entries()
		}
	}
	return h, nil
}

// entries are the lines of a section that lists things. A line without a name goes on with the one before.
func (s section) entries() []entry {
	var all []entry
	for _, line := range s.lines {
		if m := listed.FindStringSubmatch(line); m != nil {
			all = append(all, entry{m[1], m[2]})
		} else if len(all) > 0 {
			all[len(all)-1].about += " " + strings.TrimSpace(line)
		}
	}
	return all
}

// page is the manual page, in the macros of man(7). Words are not hyphenated: people search for them.
func (h help) page(name, short string) string {
	var b strings.Builder
	if short == "" {
		short = "disaster recovery for etcd"
	}
	fmt.Fprintf(&b, ".TH %s 1\n.nh\n.SH NAME\n%s \\- %s\n", escape(strings.ToUpper(name)), escape(name), escape(short))
	for _, s := range h.sections {
		switch s.title {
		case "Usage":
			b.WriteString(".SH SYNOPSIS\n.nf\n")
			for _, line := range s.lines {
				b.WriteString(escape(strings.TrimSpace(line)) + "\n")
			}
			b.WriteString(".fi\n.SH DESCRIPTION\n" + paragraphs(h.about))
		case "Examples":
			b.WriteString(".SH EXAMPLES\n.nf\n" + escape(strings.Join(s.lines, "\n")) + "\n.fi\n")
		default:
			fmt.Fprintf(&b, ".SH %s\n", strings.ToUpper(s.title))
			for _, e := range s.entries() {
				fmt.Fprintf(&b, ".TP\n.B %s\n%s\n", escape(e.name), escape(e.about))
			}
		}
	}
	b.WriteString(".SH SEE ALSO\n.BR drd (1)")
	for _, c := range h.commands {
		if c.name != "help" && c.name != "completion" {
			fmt.Fprintf(&b, ",\n.BR %s (1)", escape(name+"-"+c.name))
		}
	}
	return b.String() + "\n.PP\nhttps://github.com/drd\\-project/drd\n"
}

// paragraphs keeps lines that are indented or a list as they are.
func paragraphs(text string) string {
	var b strings.Builder
	for _, p := range strings.Split(text, "\n\n") {
		if strings.Contains(p, "\n  ") || strings.HasPrefix(p, "  ") {
			b.WriteString(".PP\n.nf\n" + escape(p) + "\n.fi\n")
		} else {
			b.WriteString(".PP\n" + escape(p) + "\n")
		}
	}
	return b.String()
}

// escape keeps roff from reading text as anything else.
func escape(text string) string {
	text = strings.NewReplacer(`\`, `\e`, `-`, `\-`).Replace(text)
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") {
			lines[i] = `\&` + line
		}
	}
	return strings.Join(lines, "\n")
}
