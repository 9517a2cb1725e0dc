package preflight

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/drd-project/drd/internal/hint"
)

// mounted returns an error when path belongs on a file system that fstab names and that is not there: the backups would come to lie
// in the empty directory below it, on another disk. What fstab does not name is not known.
func mounted(path, fstab, mountinfo string) error {
	wanted, err := fieldOf(fstab, 1)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("find out whether %s is mounted: %w", path, err)
	}
	there, err := fieldOf(mountinfo, 4)
	if err != nil {
		return fmt.Errorf("find out whether %s is mounted: %w", path, err)
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	for at := filepath.Clean(path); at != "/"; at = filepath.Dir(at) {
		if there[at] {
			return nil
		}
		if wanted[at] {
			return hint.New(fmt.Errorf("%s is not mounted, and %s is to be on it: what is stored now lies on another disk, in a directory that the mount will hide", at, path),
				"mount %s, then `drd check` again; move away what was stored below it meanwhile", quoted(at))
		}
	}
	return nil
}

// spaces are how fstab and mountinfo write what would end a field.
var spaces = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)

// fieldOf has field n, from 0, of each line of a file that is no comment.
func fieldOf(file string, n int) (map[string]bool, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	found := make(map[string]bool)
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) > n && !strings.HasPrefix(fields[0], "#") {
			found[filepath.Clean(spaces.Replace(fields[n]))] = true
		}
	}
	return found, nil
}
