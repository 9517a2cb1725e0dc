package config

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/drd-project/drd/internal/hint"
)

// Error is one problem of a configuration file.
type Error struct {
	File    string
	Line    int    // from 1; 0 when the problem has no place in the file
	Column  int    // from 1, in characters
	Key     string // "targets[0].s3.bucket"; empty when the problem is not about one key
	Problem string // never holds the value of a key that may be secret
	Hint    string // what to do, or empty; hint.Of returns it too
}

// Error returns "file:line:column: key: problem".
func (e *Error) Error() string {
	where := e.File
	if e.Line > 0 {
		where = fmt.Sprintf("%s:%d:%d", e.File, e.Line, e.Column)
	}
	if e.Key == "" {
		return where + ": " + e.Problem
	}
	return where + ": " + e.Key + ": " + e.Problem
}

// place is a position in the file; the zero value is unknown.
type place struct{ line, column int }

// source remembers the file a Config came from, and where in it each key path stands: a single
// value at the value, a section or list at its key.
type source struct {
	file   string
	places map[string]place
}

// problems collects what is wrong with one file.
type problems struct {
	source
	found []*Error
}

// add reports a problem with the value at path.
func (p *problems) add(path, advice, format string, args ...any) {
	p.addAt(p.near(path), path, advice, format, args...)
}

// addAt reports a problem with the value at path that shows at another place.
func (p *problems) addAt(at place, path, advice, format string, args ...any) {
	p.found = append(p.found, &Error{
		File: p.file, Line: at.line, Column: at.column,
		Key: path, Problem: fmt.Sprintf(format, args...), Hint: advice,
	})
}

// addErr reports err, with the hints it carries, as a problem with the value at path.
func (p *problems) addErr(path string, err error) {
	p.add(path, strings.Join(hint.Of(err), "; "), "%s", err)
}

// near returns the place of path or, when it was not written, of the closest section around it.
func (p *problems) near(path string) place {
	for ; path != ""; path = parent(path) {
		if at, ok := p.places[path]; ok {
			return at
		}
	}
	return p.places[""]
}

// broken reports whether path, or a section around it, already has a problem: what the rules would
// say about it on top is noise.
func (p *problems) broken(path string) bool {
	return path != "" && (slices.ContainsFunc(p.found, func(e *Error) bool { return e.Key == path }) || p.broken(parent(path)))
}

// brokenBelow reports whether a key inside the section at path has a problem.
func (p *problems) brokenBelow(path string) bool {
	return slices.ContainsFunc(p.found, func(e *Error) bool { return strings.HasPrefix(e.Key, path+".") })
}

// written reports whether the file has a value at path.
func (p *problems) written(path string) bool {
	_, ok := p.places[path]
	return ok
}

// err returns all problems joined, in the order of the file, or nil.
func (p *problems) err() error {
	slices.SortStableFunc(p.found, func(a, b *Error) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	var all []error
	for _, e := range p.found {
		all = append(all, withHint(e, e.Hint))
	}
	return errors.Join(all...)
}

func withHint(err error, advice string) error {
	if advice == "" {
		return err
	}
	return hint.New(err, "%s", advice)
}
