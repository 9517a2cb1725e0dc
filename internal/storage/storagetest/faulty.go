package storagetest

import (
	"context"
	"errors"
	"io"
	"iter"
	"strings"
	"sync"

	"github.com/drd-project/drd/internal/storage"
)

var (
	_ storage.Bucket      = (*Faulty)(nil)
	_ storage.Wrapper     = (*Faulty)(nil)
	_ storage.AfterLister = (*Faulty)(nil)
)

// Op is a method of storage.Bucket.
type Op string

// The methods that can be made to fail.
const (
	OpCreate Op = "create"
	OpOpen   Op = "open"
	OpStat   Op = "stat"
	OpList   Op = "list"
	OpDelete Op = "delete"
)

// ErrInjected is wrapped by every fault that was not given another error.
var ErrInjected = errors.New("injected fault")

// Faulty is a bucket that fails on demand. Without a fault set it passes everything through. It is safe for
// concurrent use; faults may be set while it is used.
type Faulty struct {
	bucket storage.Bucket

	mu    sync.Mutex
	calls map[Op]int
	fail  map[Op]map[int]error // by the number of the call
	lose  map[int]bool         // Create calls whose answer is lost
	down  error
	cut   []readFault
	flip  []readFault
}

// readFault hits objects whose key contains match, at byte at of the object.
type readFault struct {
	match string
	at    int64
	once  bool
}

// NewFaulty returns a bucket over b without faults.
func NewFaulty(b storage.Bucket) *Faulty {
	return &Faulty{bucket: b, calls: map[Op]int{}, fail: map[Op]map[int]error{}, lose: map[int]bool{}}
}

// FailCall makes the nth call of op from now on (1 is the next) return err and leave the bucket alone.
// A nil err is ErrInjected.
func (f *Faulty) FailCall(op Op, n int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err == nil {
		err = ErrInjected
	}
	if f.fail[op] == nil {
		f.fail[op] = map[int]error{}
	}
	f.fail[op][f.calls[op]+n] = err
}

// LoseResponse makes the nth Create from now on store its object and return an error all the same, as when the
// connection breaks just before the answer.
func (f *Faulty) LoseResponse(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lose[f.calls[OpCreate]+n] = true
}

// SetDown makes every call return err until it is called with nil.
func (f *Faulty) SetDown(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.down = err
}

// CutReads makes every read of an object whose key contains match break off before byte at of the object; with once only the
// first such read. Nothing is cut off an object that is shorter.
func (f *Faulty) CutReads(match string, at int64, once bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cut = append(f.cut, readFault{match, at, once})
}

// FlipBit makes reads of objects whose key contains match see the lowest bit of byte at inverted; with once only the first
// read that comes across it. The stored object is not changed.
func (f *Faulty) FlipBit(match string, at int64, once bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.flip = append(f.flip, readFault{match, at, once})
}

// Calls returns how many calls of op there were, failed ones included.
func (f *Faulty) Calls(op Op) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls[op]
}

// call counts one call and returns the fault that is set for it.
func (f *Faulty) call(op Op) (n int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls[op]++
	n = f.calls[op]
	if f.down != nil {
		return n, f.down
	}
	return n, f.fail[op][n]
}

// Unwrap implements storage.Wrapper.
func (f *Faulty) Unwrap() storage.Bucket { return f.bucket }

// Location implements storage.Bucket.
func (f *Faulty) Location() string { return f.bucket.Location() }

// Properties implements storage.Bucket.
func (f *Faulty) Properties() storage.Properties { return f.bucket.Properties() }

// Create implements storage.Bucket.
func (f *Faulty) Create(ctx context.Context, key string, r io.Reader) (storage.Object, error) {
	n, err := f.call(OpCreate)
	if err != nil {
		return storage.Object{}, err
	}
	obj, err := f.bucket.Create(ctx, key, r)
	f.mu.Lock()
	defer f.mu.Unlock()
	if err == nil && f.lose[n] {
		return storage.Object{}, ErrInjected
	}
	return obj, err
}

// Open implements storage.Bucket.
func (f *Faulty) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	if _, err := f.call(OpOpen); err != nil {
		return nil, err
	}
	r, err := f.bucket.Open(ctx, key, offset, length)
	if err != nil {
		return nil, err
	}
	return &faultyReader{ReadCloser: r, faulty: f, key: key, at: offset}, nil
}

// Stat implements storage.Bucket.
func (f *Faulty) Stat(ctx context.Context, key string) (storage.Object, error) {
	if _, err := f.call(OpStat); err != nil {
		return storage.Object{}, err
	}
	return f.bucket.Stat(ctx, key)
}

// List implements storage.Bucket.
func (f *Faulty) List(ctx context.Context, prefix string) iter.Seq2[storage.Object, error] {
	return f.ListAfter(ctx, prefix, "")
}

// ListAfter implements storage.AfterLister. It counts as a List.
func (f *Faulty) ListAfter(ctx context.Context, prefix, after string) iter.Seq2[storage.Object, error] {
	return func(yield func(storage.Object, error) bool) {
		if _, err := f.call(OpList); err != nil {
			yield(storage.Object{}, err)
			return
		}
		storage.ListAfter(ctx, f.bucket, prefix, after)(yield)
	}
}

// Delete implements storage.Bucket.
func (f *Faulty) Delete(ctx context.Context, key string) error {
	if _, err := f.call(OpDelete); err != nil {
		return err
	}
	return f.bucket.Delete(ctx, key)
}

// faultyReader applies the read faults between two positions of an object.
type faultyReader struct {
	io.ReadCloser
	faulty *Faulty
	key    string
	at     int64 // position in the object
}

func (r *faultyReader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	start, end := r.at, r.at+int64(n)
	r.at = end
	if at, hit := take(r.faulty, &r.faulty.cut, r.key, start, end); hit {
		return int(at - start), io.ErrUnexpectedEOF
	}
	if at, hit := take(r.faulty, &r.faulty.flip, r.key, start, end); hit {
		p[at-start] ^= 1
	}
	return n, err
}

// take returns the position of the first fault for key from start up to end, and drops it if it was for once.
func take(f *Faulty, faults *[]readFault, key string, start, end int64) (int64, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, fault := range *faults {
		if fault.at < start || fault.at >= end || !strings.Contains(key, fault.match) {
			continue
		}
		if fault.once {
			*faults = append((*faults)[:i:i], (*faults)[i+1:]...)
		}
		return fault.at, true
	}
	return 0, false
}
