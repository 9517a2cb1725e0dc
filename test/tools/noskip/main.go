// Command noskip reads the output of `go test -json` and shows it the way `go test` does: one line per package, and
// everything that a failed test wrote. It ends with status 1 when a test failed or was skipped, when a package did
// not finish, or when no test ran at all, so that a check which did not happen cannot pass for one that did.
//
//	go test -json ./... | go run ./test/tools/noskip
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

func main() {
	if err := check(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "noskip:", err)
		os.Exit(1)
	}
}

// event is one line of the stream, described in `go doc test2json`.
type event struct {
	Action  string
	Package string
	Test    string // empty: about the package
	Output  string
}

// test names one test or subtest.
type test struct{ pkg, name string }

// results collects the stream.
type results struct {
	out     io.Writer
	output  map[test][]string // of tests that have not ended
	running map[string]bool   // packages that have not ended
	passed  int
	failed  int
	skipped []test
	broken  []string // packages that failed, be it only to build
}

// check copies what people want to read to out, closes with one line of counts, and says why the run does not count.
func check(in io.Reader, out io.Writer) error {
	r := &results{out: out, output: make(map[test][]string), running: make(map[string]bool)}
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
	fmt.Fprintf(out, "%d passed, %d failed, %d skipped\n", r.passed, r.failed, len(r.skipped))
	return r.verdict()
}

// line takes one line of the stream. What is not JSON comes from go itself and is passed on.
func (r *results) line(line []byte) {
	var e event
	if err := json.Unmarshal(line, &e); err != nil {
		r.print(string(line))
		return
	}
	if e.Test == "" {
		r.packageEvent(e)
	} else {
		r.testEvent(e)
	}
}

func (r *results) packageEvent(e event) {
	switch e.Action {
	case "start":
		r.running[e.Package] = true
	case "output", "build-output":
		if e.Output != "PASS\n" { // only the verbose form prints it, before the line that says ok
			r.print(e.Output)
		}
	case "pass", "skip": // skip: the package has no tests
		delete(r.running, e.Package)
	case "fail":
		delete(r.running, e.Package)
		r.broken = append(r.broken, e.Package)
	}
}

func (r *results) testEvent(e event) {
	t := test{e.Package, e.Test}
	switch e.Action {
	case "output":
		if !strings.HasPrefix(e.Output, "=== ") { // progress marks of the verbose form
			r.output[t] = append(r.output[t], e.Output)
		}
	case "pass":
		r.passed++
		delete(r.output, t)
	case "fail":
		r.failed++
		r.flush(t)
	case "skip":
		r.skipped = append(r.skipped, t)
		r.flush(t)
	}
}

// flush prints what a test wrote.
func (r *results) flush(t test) {
	for _, s := range r.output[t] {
		r.print(s)
	}
	delete(r.output, t)
}

func (r *results) print(s string) { fmt.Fprint(r.out, s) }

// verdict is nil when at least one test passed and nothing else happened.
func (r *results) verdict() error {
	var why []error
	if r.failed > 0 || len(r.broken) > 0 {
		why = append(why, fmt.Errorf("%d tests failed, in %d packages: %s", r.failed, len(r.broken), strings.Join(r.broken, " ")))
	}
	for _, t := range r.skipped {
		why = append(why, fmt.Errorf("skipped: %s in %s", t.name, t.pkg))
	}
	for _, pkg := range r.unfinished() {
		why = append(why, fmt.Errorf("did not finish: %s", pkg))
	}
	if r.passed == 0 {
		why = append(why, errors.New("no test passed"))
	}
	return errors.Join(why...)
}

// unfinished lists the packages whose end was not seen, and prints what their tests wrote until then.
func (r *results) unfinished() []string {
	var pkgs []string
	for pkg := range r.running {
		pkgs = append(pkgs, pkg)
	}
	slices.Sort(pkgs)
	for t := range r.output {
		if r.running[t.pkg] {
			r.flush(t)
		}
	}
	return pkgs
}
