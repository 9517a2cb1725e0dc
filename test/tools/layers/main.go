// Command layers checks which packages of drd know which others, by the table in rules.go. Tests may import what
// they like; the program itself must not contain test code.
//
//	go run ./test/tools/layers
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
)

func main() {
	pkgs, err := list()
	if err == nil {
		err = check(pkgs, rules)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Printf("layers: %d packages know only what they may\n", len(pkgs))
}

// pkg is what check needs of `go list -json`.
type pkg struct {
	ImportPath string
	Imports    []string // direct, without those of tests
	Deps       []string // all, without those of tests
	Module     struct{ Path string }
}

// list asks go about every package of the module in the current directory.
func list() ([]pkg, error) {
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports,Deps,Module", "./...")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("list packages: %w", err)
	}
	var pkgs []pkg
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) && len(pkgs) > 0 {
			return pkgs, nil
		} else if err != nil {
			return nil, fmt.Errorf("read the list of packages: %w", err)
		}
		pkgs = append(pkgs, p)
	}
}

// check returns every import that the rules do not allow.
func check(pkgs []pkg, rules []rule) error {
	var wrong []error
	for _, p := range pkgs {
		dir := p.dir(p.ImportPath)
		if dir == "" {
			continue // test, bench: may know everything
		}
		i := slices.IndexFunc(rules, func(r rule) bool { return r.dir == dir })
		if i < 0 {
			wrong = append(wrong, fmt.Errorf("%s has no rule: add a line to test/tools/layers/rules.go", p.ImportPath))
			continue
		}
		wrong = append(wrong, p.violations(rules[i])...)
	}
	return errors.Join(wrong...)
}

func (p pkg) violations(r rule) []error {
	var wrong []error
	for _, imported := range p.Imports {
		dir := p.dir(imported)
		known := r.all || dir == r.dir || slices.Contains(everybody, dir) || slices.Contains(r.knows, dir)
		switch {
		case p.isTest(imported) && !p.isTest(p.ImportPath):
			wrong = append(wrong, fmt.Errorf("%s imports %s: test code must stay out of the program", p.ImportPath, imported))
		case dir != "" && !known:
			wrong = append(wrong, fmt.Errorf("%s imports %s: %s must not know %s", p.ImportPath, imported, r.dir, dir))
		}
	}
	i := slices.IndexFunc(p.Deps, func(dep string) bool { return strings.HasPrefix(dep, "go.etcd.io/") })
	if i >= 0 && !r.etcd {
		wrong = append(wrong, fmt.Errorf("%s depends on %s: %s must not know etcd", p.ImportPath, p.Deps[i], r.dir))
	}
	return wrong
}

// dir is the directory that has a rule for an import path, or "" for other modules and for test code.
func (p pkg) dir(path string) string {
	rest, ours := strings.CutPrefix(path, p.Module.Path+"/")
	if !ours {
		return ""
	}
	first, below, _ := strings.Cut(rest, "/")
	switch first {
	case "internal":
		dir, _, _ := strings.Cut(below, "/")
		return dir
	case "cmd":
		return first
	default:
		return ""
	}
}

// isTest tells code that exists for tests: below test/, or a package like storage/storagetest.
func (p pkg) isTest(path string) bool {
	return strings.HasPrefix(path, p.Module.Path+"/test/") ||
		strings.HasPrefix(path, p.Module.Path+"/") && strings.HasSuffix(path, "test")
}
