package distro

import (
	"io"
	"os"
	"path/filepath"
	"slices"
)

// maxFile bounds what is read of one file, in bytes: a hundred times a large manifest.
const maxFile = 4 << 20

// host is a file system that begins at root. A file that cannot be read counts as one that is not there.
type host struct{ root string }

func (h host) at(path string) string { return filepath.Join(h.root, path) }

func (h host) read(path string) []byte {
	f, err := os.Open(h.at(path))
	if err != nil {
		return nil
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile))
	if err != nil {
		return nil
	}
	return text
}

func (h host) exists(path string) bool {
	_, err := os.Stat(h.at(path))
	return err == nil
}

// first returns the first path that is there, or "".
func (h host) first(paths ...string) string {
	for _, p := range paths {
		if p != "" && h.exists(p) {
			return p
		}
	}
	return ""
}

// list returns the names in a directory, sorted.
func (h host) list(dir string) []string {
	entries, err := os.ReadDir(h.at(dir))
	if err != nil {
		return nil
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		names = append(names, e.Name())
	}
	slices.Sort(names)
	return names
}

// pair returns the first pair of files that are both there.
func (h host) pair(pairs ...[2]string) (cert, key string) {
	for _, p := range pairs {
		if h.exists(p[0]) && h.exists(p[1]) {
			return p[0], p[1]
		}
	}
	return "", ""
}
