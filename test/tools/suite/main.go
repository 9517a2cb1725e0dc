// Command suite reads the output of `go test -json` and shows it the way `go test` does: one line per package, and
// everything that a failed test wrote. It ends with status 1 when a test failed or was skipped, when a package did
// not finish, or when no test ran at all, so that a check which did not happen cannot pass for one that did; and when
// anything that a test wrote, shown or not, holds a private key or a secret that a test has planted (test/planted).
//
//	go test -json ./... | go run ./test/tools/suite
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/drd-project/drd/test/planted"
)

func main() {
	if err := check(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "suite:", err)
		os.Exit(1)
	}
}

// event is one line of the stream, described in `go doc test2json`.
type event struct {
	Action     string
	Package    string
	ImportPath string // in the place of Package while a package is built
	Test       string // empty: about the package
	Output     string
	Elapsed    float64 // seconds, of pass and fail
}

// source is what writes: a test or subtest, a package (its name is ""), or go itself (both are "").
type source struct{ pkg, name string }

func (s source) String() string {
	switch {
	case s.pkg == "":
		return "go"
	case s.name == "":
		return s.pkg
	}
	return s.name + " in " + s.pkg
}

// results collects the stream.
type results struct {
	out     io.Writer
	finder  *planted.Finder
	output  map[source]*strings.Builder // of those that have not ended
	running map[string]bool             // packages that have not ended
	passed  int
	failed  int
	skipped []source
	broken  []string // packages that failed, be it only to build
	secrets []string // where they are
	slow    []timed
}

// check copies what people want to read to out, closes with the slowest tests and one line of counts, and says why the run does not count.
func check(in io.Reader, out io.Writer) error {
	r := &results{out: out, finder: planted.New(), output: make(map[source]*strings.Builder), running: make(map[string]bool)}
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			r.line(line)
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("read test output: %w", err)
		}
	}
	r.endAll()
	writeSlow(out, r.slow)
	fmt.Fprintf(out, "%d passed, %d failed, %d skipped\n", r.passed, r.failed, len(r.skipped))
	return r.verdict()
}

// line takes one line of the stream. What is not JSON comes from go itself and is passed on.
func (r *results) line(line []byte) {
	var e event
	switch err := json.Unmarshal(line, &e); {
	case err != nil:
		r.write(source{}, string(line))
		r.end(source{}, true)
	case e.Test == "":
		r.packageEvent(e)
	default:
		r.testEvent(e)
	}
}

func (r *results) packageEvent(e event) {
	s := source{pkg: e.Package}
	switch e.Action {
	case "start":
		r.running[e.Package] = true
	case "build-output":
		r.write(source{pkg: e.ImportPath}, e.Output)
	case "build-fail":
		r.end(source{pkg: e.ImportPath}, true)
	case "output":
		if e.Output != "PASS\n" { // only the verbose form prints it, before the line that says ok
			r.write(s, e.Output)
		}
	case "pass", "skip": // skip: the package has no tests
		delete(r.running, e.Package)
		r.end(s, true)
	case "fail":
		delete(r.running, e.Package)
		r.broken = append(r.broken, e.Package)
		r.end(s, true)
	}
}

func (r *results) testEvent(e event) {
	s := source{e.Package, e.Test}
	switch e.Action {
	case "output":
		if !isMark(e.Output) {
			r.write(s, e.Output)
		}
	case "pass":
		r.passed++
		r.took(s, e.Elapsed)
		r.end(s, false)
	case "fail":
		r.failed++
		r.end(s, true)
	case "skip":
		r.skipped = append(r.skipped, s)
		r.end(s, true)
	}
}

// isMark tells the progress marks of the verbose form from what tests write.
func isMark(line string) bool {
	return slices.ContainsFunc([]string{"RUN", "PAUSE", "CONT", "NAME"}, func(mark string) bool { return strings.HasPrefix(line, "=== "+mark+" ") })
}

func (r *results) write(s source, text string) {
	if r.output[s] == nil {
		r.output[s] = new(strings.Builder)
	}
	r.output[s].WriteString(text)
}

// end looks through what was written as one text, since a secret may be spread over lines and events, and shows it
// without its secrets.
func (r *results) end(s source, show bool) {
	if r.output[s] == nil {
		return
	}
	text := r.output[s].String()
	delete(r.output, s)
	for _, found := range r.finder.Find(text) {
		r.secrets = append(r.secrets, fmt.Sprintf("%s, line %d of its output: %s", s, found.Line, found.Kind))
	}
	if show {
		fmt.Fprint(r.out, r.finder.Redact(text))
	}
}

// endAll ends what was not ended, and shows it where its package has not finished.
func (r *results) endAll() {
	byName := func(a, b source) int { return strings.Compare(a.pkg+" "+a.name, b.pkg+" "+b.name) }
	for _, s := range slices.SortedFunc(maps.Keys(r.output), byName) {
		r.end(s, r.running[s.pkg] || s.name == "")
	}
}

// verdict is nil when at least one test passed and nothing else happened.
func (r *results) verdict() error {
	var why []error
	if r.failed > 0 || len(r.broken) > 0 {
		why = append(why, fmt.Errorf("%d tests failed, in %d packages: %s", r.failed, len(r.broken), strings.Join(r.broken, " ")))
	}
	for _, s := range r.skipped {
		why = append(why, fmt.Errorf("skipped: %s", s))
	}
	for _, pkg := range slices.Sorted(maps.Keys(r.running)) {
		why = append(why, fmt.Errorf("did not finish: %s", pkg))
	}
	for _, where := range r.secrets {
		why = append(why, fmt.Errorf("a secret was printed: %s", where))
	}
	if r.passed == 0 {
		why = append(why, errors.New("no test passed"))
	}
	return errors.Join(why...)
}
