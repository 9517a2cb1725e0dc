package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strconv"

	"github.com/drd-project/drd/internal/seal"
)

// Values of the path tag.
const (
	pathDir     = "dir"
	pathFile    = "file"
	pathSecret  = "secret"
	pathProgram = "program"
	pathOutput  = "output"
)

// Path is a file or a directory that the configuration names.
type Path struct {
	Key  string // where it stands: "targets[0].dir"
	Name string // absolute
	kind string
}

// Written says that the daemon writes it, or to it where it is a directory; else it only reads it.
func (p Path) Written() bool { return p.kind == pathDir || p.kind == pathOutput }

// Directory says that it is one.
func (p Path) Directory() bool { return p.kind == pathDir }

// Executed says that it is a program.
func (p Path) Executed() bool { return p.kind == pathProgram }

// Paths are all files and directories that the configuration names, or has by default, in its order.
func (c *Config) Paths() []Path {
	var all []Path
	walk(reflect.ValueOf(c).Elem(), "", func(f field, at string) {
		if kind := f.Tag.Get("path"); kind != "" && f.value.String() != "" {
			all = append(all, Path{Key: at, Name: f.value.String(), kind: kind})
		}
	})
	return all
}

// CheckFiles checks that each file the configuration names exists and that no other user can read
// a secret one or change a public one. Directories and targets are left to those who use them: an
// unmounted disk must not stop the copies to the other targets. Problems come as a join of *Error.
func (c *Config) CheckFiles() error {
	p := &problems{source: c.source}
	walk(reflect.ValueOf(c).Elem(), "", func(f field, at string) {
		kind := f.Tag.Get("path")
		if name := f.value.String(); name != "" && (kind == pathFile || kind == pathSecret || kind == pathProgram) {
			p.checkFile(at, name, kind)
		}
	})
	if file := c.Seal.RecipientsFile; file != "" && !p.broken("seal.recipients_file") {
		if _, err := seal.ParseRecipients(c.Seal.Recipients, file); err != nil {
			p.addErr("seal.recipients_file", err)
		}
	}
	return p.err()
}

func (p *problems) checkFile(at, name, kind string) {
	info, err := os.Stat(name)
	if err != nil {
		var short *fs.PathError
		if errors.As(err, &short) {
			err = short.Err
		}
		p.add(at, "", "%s: %s", name, err)
		return
	}
	if problem, advice := modeProblem(info, name, kind); problem != "" {
		p.add(at, advice, "%s %s", name, problem)
	}
}

// modeProblem returns what is wrong with the mode of a file of that kind and how to mend it, or "".
func modeProblem(info fs.FileInfo, name, kind string) (problem, advice string) {
	mode := info.Mode()
	switch {
	case !mode.IsRegular():
		return "is not a regular file", ""
	case kind == pathSecret && mode.Perm()&0o077 != 0:
		return fmt.Sprintf("is open to other users (mode %o)", mode.Perm()), "run `chmod 600 " + shellQuote(name) + "`"
	case kind == pathProgram && mode.Perm()&0o111 == 0:
		return fmt.Sprintf("is not executable (mode %o)", mode.Perm()), ""
	case mode.Perm()&0o022 != 0:
		return fmt.Sprintf("can be changed by other users (mode %o)", mode.Perm()), "run `chmod go-w " + shellQuote(name) + "`"
	}
	return "", ""
}

// absolute refuses relative paths: a daemon has no working directory that anybody knows.
func (r rules) absolute(c *Config) {
	walk(reflect.ValueOf(c).Elem(), "", func(f field, at string) {
		if f.Tag.Get("path") == "" {
			return
		}
		if name := f.value.String(); name != "" && !filepath.IsAbs(name) {
			r.fail(at, "begin it with /", "must be an absolute path")
		}
	})
}

// walk calls visit for every single value and list of single values in the struct v, with its path.
func walk(v reflect.Value, path string, visit func(f field, at string)) {
	for _, f := range fields(v) {
		walkField(f, child(path, f.key()), visit)
	}
}

func walkField(f field, at string, visit func(f field, at string)) {
	switch v := f.value; {
	case v.Kind() == reflect.Pointer:
		if !v.IsNil() {
			walkField(field{f.StructField, v.Elem()}, at, visit)
		}
	case v.Kind() == reflect.Struct:
		walk(v, at, visit)
	case v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Struct:
		for i := range v.Len() {
			walk(v.Index(i), at+"["+strconv.Itoa(i)+"]", visit)
		}
	default:
		visit(f, at)
	}
}
