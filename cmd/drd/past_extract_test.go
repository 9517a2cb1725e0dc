package main

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestWriteExtracted: a file of Secrets gets its name when it is whole, is its owner's alone, and replaces nothing. Where the file system
// has files without a name no other one is ever there, so that a kill -9 leaves nothing.
func TestWriteExtracted(t *testing.T) {
	for name, write := range map[string]func(string, func(io.Writer) error) error{"without a name": writeExtracted, "named": writeNamed} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			named := name == "named"
			if f, err := nameless(dir); err != nil { // not every file system has such files
				named = true
			} else if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			left := func() (names []string) {
				t.Helper()
				entries, err := os.ReadDir(dir)
				if err != nil {
					t.Fatal(err)
				}
				for _, e := range entries {
					names = append(names, e.Name())
				}
				return names
			}
			path := filepath.Join(dir, "shop.yaml")
			failed := errors.New("half of it")
			if err := write(path, func(io.Writer) error { return failed }); !errors.Is(err, failed) || len(left()) > 0 {
				t.Errorf("%v, left are %q", err, left())
			}
			while := []string(nil)
			err := write(path, func(w io.Writer) error {
				_, err := io.WriteString(w, "secret")
				while = left()
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			if named && (len(while) != 1 || !strings.HasPrefix(while[0], ".drd-extract-")) || !named && len(while) > 0 {
				t.Errorf("while it was written there was %q", while)
			}
			info, err := os.Stat(path)
			if err != nil || info.Mode() != 0o600 || info.Size() != 6 {
				t.Errorf("%v, %v", info, err)
			}
			err = write(path, func(w io.Writer) error {
				_, err := io.WriteString(w, "other")
				return err
			})
			content, readErr := os.ReadFile(path)
			if err == nil || !strings.Contains(err.Error(), "there already") || readErr != nil || string(content) != "secret" || len(left()) != 1 {
				t.Errorf("%v; %q, %v; left are %q", err, content, readErr, left())
			}
			if err := write(filepath.Join(dir, "nowhere", "x"), func(io.Writer) error { return nil }); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("%v", err)
			}
		})
	}
}

// TestNameFile: a file that cannot get a name, as here one that lost it, is copied.
func TestNameFile(t *testing.T) {
	dir := t.TempDir()
	f, err := os.CreateTemp(dir, "")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	_, err = f.WriteString("secret")
	if err := errors.Join(err, os.Remove(f.Name())); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "shop.yaml")
	if err := nameFile(f, path); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if entries, _ := os.ReadDir(dir); err != nil || string(content) != "secret" || len(entries) != 1 {
		t.Errorf("%q, %v, %d files", content, err, len(entries))
	}
	if err := nameFile(f, path); err == nil || !strings.Contains(err.Error(), "there already") {
		t.Errorf("%v", err)
	}
}
