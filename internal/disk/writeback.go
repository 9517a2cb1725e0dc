package disk

import (
	"os"

	"golang.org/x/sys/unix"
)

// writeBehind is how many bytes are written before the kernel is told to move them to the disk: enough for one large
// transfer, little enough that the sync at the end finds hardly anything left to do.
const writeBehind = 8 << 20

// Writeback has the kernel begin to write a growing file to the disk while it is still being written.
// The zero value with File set is ready for use; it is not safe for concurrent use.
type Writeback struct {
	File *os.File
	done int64
}

// Advance says that the first written bytes of the file are there. It never waits for the disk. It is advice: the sync
// at the end is what counts, and a file system that does not take it costs time and nothing else.
func (w *Writeback) Advance(written int64) {
	if n := (written - w.done) / writeBehind * writeBehind; n > 0 {
		_ = unix.SyncFileRange(int(w.File.Fd()), w.done, n, unix.SYNC_FILE_RANGE_WRITE)
		w.done += n
	}
}
