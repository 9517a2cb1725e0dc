// Package disk answers one question before anything is written: is there room?
package disk

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/drd-project/drd/internal/hint"
)

// Free returns the bytes that an unprivileged writer may still use on the file system of path.
func Free(path string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return 0, fmt.Errorf("free space of %s: %w", path, err)
	}
	return int64(st.Bavail) * st.Bsize, nil
}

// Total returns the size of the file system of path, in bytes.
func Total(path string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return 0, fmt.Errorf("size of the file system of %s: %w", path, err)
	}
	return int64(st.Blocks) * st.Bsize, nil
}

// Require returns an error unless at least need bytes are free at path. what names the use, such as "a snapshot of 2.1 GiB".
func Require(path string, need int64, what string) error {
	free, err := Free(path)
	if err != nil {
		return err
	}
	if free < need {
		return hint.New(fmt.Errorf("not enough disk space in %s for %s: %s needed, %s free", path, what, Size(need), Size(free)),
			"free %s there, or choose a directory on a larger file system", Size(need-free))
	}
	return nil
}

// Size writes a number of bytes for people, in IEC units: "512 B", "1.4 GiB".
func Size(n int64) string {
	const units = "KMGTPE"
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	v, u := float64(n)/1024, 0
	for v >= 1023.95 && u < len(units)-1 {
		v /= 1024
		u++
	}
	return fmt.Sprintf("%.1f %ciB", v, units[u])
}
