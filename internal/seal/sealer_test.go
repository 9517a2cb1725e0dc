package seal_test

import (
	"bytes"
	"errors"
	"testing"

	"filippo.io/age"

	"github.com/drd-project/drd/internal/seal"
)

var errDiskFull = errors.New("disk full")

// smallDisk takes a number of bytes and then fails.
type smallDisk struct {
	written []byte
	free    int
}

func (d *smallDisk) Write(p []byte) (int, error) {
	if len(p) > d.free {
		return 0, errDiskFull
	}
	d.free -= len(p)
	d.written = append(d.written, p...)
	return len(p), nil
}

// TestDiskFull: wherever the disk fills up, the caller learns it, Close does not pretend otherwise, and
// what was written does not open.
func TestDiskFull(t *testing.T) {
	id, recipients := newIdentity(t, false)
	plain := etcdLike(2 << 20)
	whole := len(sealed(t, recipients, plain))
	for _, free := range []int{0, 1, 150, 199, 200, 1000, 64 << 10, 200 << 10, whole - 70_000, whole - 1} {
		disk := &smallDisk{free: free}
		s, err := seal.Default().Seal(disk, recipients)
		if err == nil {
			_, err = s.Write(plain)
			closeErr := s.Close()
			if !errors.Is(closeErr, errDiskFull) || !errors.Is(s.Close(), errDiskFull) {
				t.Errorf("%d bytes free: Close: %v, then %v", free, closeErr, s.Close())
			}
			err = errors.Join(err, closeErr)
		}
		if !errors.Is(err, errDiskFull) {
			t.Errorf("%d bytes free: %v", free, err)
		}
		if _, err := open(disk.written, id); !errors.Is(err, seal.ErrDamaged) {
			t.Errorf("%d bytes free: what was written: %v", free, err)
		}
	}
}

// TestUnfinished: an envelope that was not closed never opens, however much of it was written.
func TestUnfinished(t *testing.T) {
	id, recipients := newIdentity(t, false)
	for _, size := range []int{0, 1, 1 << 20} {
		var b bytes.Buffer
		s, err := seal.Default().Seal(&b, recipients)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Write(etcdLike(size)); err != nil {
			t.Fatal(err)
		}
		if _, err := open(b.Bytes(), id); !errors.Is(err, seal.ErrDamaged) {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
}

// TestClosed: after Close nothing more goes in or comes out.
func TestClosed(t *testing.T) {
	id, recipients := newIdentity(t, false)
	var b bytes.Buffer
	s, err := seal.Default().Seal(&b, recipients)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	size := b.Len()
	if _, err := s.Write([]byte("more")); err == nil || b.Len() != size {
		t.Errorf("wrote after Close: %v", err)
	}
	if got, err := open(b.Bytes(), id); err != nil || len(got) != 0 {
		t.Errorf("got %q, %v", got, err)
	}
	r, err := seal.Default().Open(bytes.NewReader(sealed(t, recipients, []byte("content"))), []age.Identity{id})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(r.Close(), r.Close()); err != nil {
		t.Error(err)
	}
	if n, err := r.Read(make([]byte, 10)); n != 0 || err == nil {
		t.Errorf("read %d bytes after Close: %v", n, err)
	}
}
