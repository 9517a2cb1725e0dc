package preflight

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestCheckRoom(t *testing.T) {
	here := t.TempDir()
	for name, c := range map[string]struct {
		path   string
		dbSize int64
		status Status
		detail string
		hints  int
	}{
		"room":         {here, 1, OK, " free in " + here, 0},
		"unknown size": {here, 0, OK, " free in " + here, 0},
		"too small":    {here, math.MaxInt64, Warn, "a snapshot of a database of 8.0 EiB may not fit", 1},
		"gone":         {here + "/gone", 1, Warn, "no such file", 0},
	} {
		got := checkRoom("target nas room", c.path, c.dbSize)
		if got.Name != "target nas room" || got.Status != c.status || !strings.Contains(got.Detail, c.detail) || len(got.Hints) != c.hints {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// TestMounted: what fstab wants to be there, and is not.
func TestMounted(t *testing.T) {
	write := func(name, text string) string {
		t.Helper()
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	fstab := write("fstab", "# /mnt/comment\nUUID=1 / ext4 defaults 0 1\nnas:/drd /mnt/nas/ nfs defaults 0 0\n/dev/sdb1 /media/the\\040disk ext4 noauto 0 0\n/dev/sdb2 none swap sw 0 0\n")
	const root = "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
	empty := write("mountinfo", root)
	full := write("mountinfo", root+"50 22 0:44 / /mnt/nas rw shared:1 - nfs nas:/drd rw\n51 22 8:17 / /media/the\\040disk rw - ext4 /dev/sdb1 rw\n")
	for path, at := range map[string]string{
		"/mnt/nas": "/mnt/nas", "/mnt/nas/drd": "/mnt/nas", "/media/the disk/drd": "/media/the disk", "/mnt/nas2": "", "/mnt/comment": "", "/srv/drd": "",
	} {
		err := mounted(path, fstab, empty)
		if (err != nil) != (at != "") || err != nil && !strings.HasPrefix(err.Error(), at+" is not mounted") {
			t.Errorf("%s: %v", path, err)
		}
		if err := mounted(path, fstab, full); err != nil {
			t.Errorf("%s, mounted: %v", path, err)
		}
		if err := mounted(path, fstab+"x", empty); err != nil {
			t.Errorf("%s, without fstab: %v", path, err)
		}
	}
	if err := mounted("/mnt/nas", fstab, empty+"x"); err == nil {
		t.Error("mounts that cannot be read are good enough")
	}
}

func TestWhoDeletes(t *testing.T) {
	here := t.TempDir()
	if got := whoDeletes(here, here); !strings.Contains(got, "same file system as state_dir") {
		t.Error(got)
	}
	if got := whoDeletes("/proc", here); strings.Contains(got, "same") {
		t.Error(got)
	}
}

// TestWithin: a look that hangs does not hold up what comes after it.
func TestWithin(t *testing.T) {
	held := make(chan struct{})
	defer close(held)
	got := within(time.Millisecond, "files", func() []Check { <-held; return nil })
	if len(got) != 1 {
		t.Fatalf("%+v", got)
	}
	wants(t, got[0], Fail, "no answer within 1ms")
	if got := within(time.Minute, "files", func() []Check { return []Check{ok("files", "good")} }); len(got) != 1 || got[0].Status != OK {
		t.Errorf("%+v", got)
	}
}
