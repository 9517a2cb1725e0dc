package seal

import "golang.org/x/sys/unix"

// onTmpfs reports whether path is on a file system without a disk.
func onTmpfs(path string) bool {
	var stat unix.Statfs_t
	if err := unix.Statfs(path, &stat); err != nil {
		return false
	}
	return stat.Type == unix.TMPFS_MAGIC || stat.Type == unix.RAMFS_MAGIC
}
