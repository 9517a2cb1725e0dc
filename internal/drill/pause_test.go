package drill_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/drd-project/drd/internal/drill"
	"github.com/drd-project/drd/internal/proof"
)

// The requests of ioctl_fsfreeze(2).
const (
	fiFreeze = 0xC0045877
	fiThaw   = 0xC0045878
)

// onOwnDisk gives the drills a scratch directory on a file system of its own, and returns that.
func (p *place) onOwnDisk(t *testing.T) *os.File {
	t.Helper()
	image, disk := filepath.Join(t.TempDir(), "image"), t.TempDir()
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, 512<<20); err != nil {
		t.Fatal(err)
	}
	for _, line := range [][]string{{"mkfs.ext4", "-q", image}, {"mount", "-o", "loop", image, disk}} {
		if out, err := exec.CommandContext(t.Context(), line[0], line[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%s (this test needs root): %v: %s", line[0], err, out)
		}
	}
	root, err := os.Open(disk)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = unix.IoctlSetInt(int(root.Fd()), fiThaw, 0) // it is refused where nothing is frozen
		if err := root.Close(); err != nil {
			t.Error(err)
		}
		if err := unix.Unmount(disk, 0); err != nil {
			t.Error(err)
		}
	})
	p.config.ScratchDir, p.config.TakeLastRoom = filepath.Join(disk, "scratch"), true
	return root
}

// TestPause: a disk that stands still for longer than etcd waits for it is waited for.
func TestPause(t *testing.T) {
	const pause = 8 * time.Second // etcd gives up on a write after five
	s, p := ordinary(t, "3.7"), newPlace(t)
	_, id := p.publish(t, s, captureTime)
	disk := p.onOwnDisk(t)
	var begin time.Time
	d := p.drill(t, id, proof.LevelDrill, nil, atStep{drill.CheckWrite, func() {
		begin = time.Now()
		if err := unix.IoctlSetInt(int(disk.Fd()), fiFreeze, 0); err != nil {
			t.Errorf("freeze the disk: %v", err)
		}
		later(t, pause, func() error { return unix.IoctlSetInt(int(disk.Fd()), fiThaw, 0) })
	}})
	wantPassed(t, d, drill.CheckChain, drill.CheckMembers, drill.CheckAuth)
	if took := time.Since(begin); took < pause {
		t.Errorf("it took %s: the disk did not stand still", took)
	}
}
