package stig

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// inspector looks at the node whose file system begins at root.
type inspector struct {
	root string
	// systemd runs there, and can be asked for the units that it has loaded.
	systemd bool
	// uid and gid are those that count as root's. Zero but in tests that do not run as root.
	uid, gid uint32
}

// file is what is asked of a file or directory.
type file struct {
	id, control, path string
	mode              fs.FileMode // it, or fewer bits; anyMode is not compared
	owner             string      // "root:root", or several with " or " between them; "" is not compared
}

const anyMode fs.FileMode = 0o7777

// says writes a mode and an owner, of which only what is compared is said.
func (f file) says(mode, owner string) string {
	switch {
	case f.mode == anyMode:
		return owner
	case f.owner == "":
		return mode
	}
	return mode + ", " + owner
}

func (in inspector) at(path string) string { return filepath.Join(in.root, path) }

func (in inspector) read(path string) []byte {
	text, err := os.ReadFile(in.at(path))
	if err != nil {
		return nil
	}
	return text
}

// list returns the names in a directory, sorted.
func (in inspector) list(dir string) []string {
	entries, err := os.ReadDir(in.at(dir))
	if err != nil {
		return nil
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// file compares one path. What is not there breaks no rule.
func (in inspector) file(f file) Finding {
	finding := Finding{ID: f.id, Control: f.control, Subject: f.path, Expected: f.says(fmt.Sprintf("%04o or stricter", f.mode), f.owner)}
	info, err := os.Stat(in.at(f.path))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		finding.Found, finding.Result = "not there", NotApplicable
		return finding
	case err != nil:
		finding.Found, finding.Result = err.Error(), Fail
		return finding
	}
	owner := in.owner(info)
	finding.Found, finding.Result = f.says(fmt.Sprintf("%04o", permissions(info)), owner), Pass
	if permissions(info)&^f.mode != 0 || f.owner != "" && !slices.Contains(strings.Split(f.owner, " or "), owner) {
		finding.Result = Fail
	}
	return finding
}

// permissions with the bits that make a program run as its owner.
func permissions(info fs.FileInfo) fs.FileMode {
	mode := info.Mode().Perm()
	if info.Mode()&fs.ModeSetuid != 0 {
		mode |= 0o4000
	}
	if info.Mode()&fs.ModeSetgid != 0 {
		mode |= 0o2000
	}
	return mode
}

// maxNamed bounds how many paths of one directory are named: who has more has made one mistake, and not that many.
const maxNamed = 100

// tree compares everything below a directory: files with f.mode, directories with dirMode.
func (in inspector) tree(f file, dirMode fs.FileMode) []Finding {
	whole := Finding{ID: f.id, Control: f.control, Subject: f.path + "/**", Expected: f.says(fmt.Sprintf("files %04o, directories %04o or stricter", f.mode, dirMode), f.owner)}
	return in.below(f, whole, func(one *file, isDir bool) bool {
		if isDir {
			one.mode = dirMode
		}
		return true
	})
}

// below compares what is below the directory f.path with f as asked changes it; what it returns false for is left out, and so is the
// directory itself. Each path that breaks the rule is a finding, and the last one is about all of them.
func (in inspector) below(f file, whole Finding, asked func(one *file, isDir bool) bool) []Finding {
	var bad []Finding
	seen, failed := 0, 0
	_ = filepath.WalkDir(in.at(f.path), func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) || err == nil && (path == in.at(f.path) || entry.Type()&fs.ModeSymlink != 0) {
			return nil // what is gone by now
		}
		one := f
		one.path = f.path + strings.TrimPrefix(path, in.at(f.path))
		if err == nil && !asked(&one, entry.IsDir()) {
			return nil
		}
		got := in.file(one)
		if err != nil { // a directory that cannot be listed
			got.Found, got.Result = err.Error(), Fail
		}
		seen++
		if got.Result != Fail {
			return nil
		}
		if failed++; failed <= maxNamed {
			bad = append(bad, got)
		}
		return nil
	})
	switch {
	case seen == 0:
		whole.Found, whole.Result = "nothing there", NotApplicable
	case failed > 0:
		whole.Found, whole.Result = fmt.Sprintf("%d of %d are not so", failed, seen), Fail
	default:
		whole.Found, whole.Result = fmt.Sprintf("all %d", seen), Pass
	}
	return append(bad, whole)
}

// owner is "user:group", by the node's own tables; numbers where those do not name them.
func (in inspector) owner(info fs.FileInfo) string {
	stat, known := info.Sys().(*syscall.Stat_t)
	if !known {
		return "unknown"
	}
	user, group := in.name("/etc/passwd", stat.Uid), in.name("/etc/group", stat.Gid)
	if stat.Uid == in.uid && user == "" {
		user = "root"
	}
	if stat.Gid == in.gid && group == "" {
		group = "root"
	}
	return orNumber(user, stat.Uid) + ":" + orNumber(group, stat.Gid)
}

func orNumber(name string, id uint32) string {
	if name == "" {
		return strconv.FormatUint(uint64(id), 10)
	}
	return name
}

// name looks an ID up in a table of the form NAME:x:ID:…; "" where it is not there. Directories of a network are not asked.
func (in inspector) name(table string, id uint32) string {
	for line := range bytes.Lines(in.read(table)) {
		fields := strings.Split(strings.TrimSpace(string(line)), ":")
		if len(fields) > 2 && fields[2] == strconv.FormatUint(uint64(id), 10) {
			return fields[0]
		}
	}
	return ""
}

// named says whether a table has an entry of a name.
func (in inspector) named(table, name string) string {
	for line := range bytes.Lines(in.read(table)) {
		if bytes.HasPrefix(line, []byte(name+":")) {
			return "there"
		}
	}
	return "not there"
}
