// Package cache remembers small objects of a bucket in one file of this host, so that looking at ten thousand backups costs the
// listings and not ten thousand downloads.
//
// It rests on the one rule of a bucket: what is there never changes. An object that a listing tells of is taken from the file when
// key, size and time of the store's clock are those that it was read with. So the listing always says what is there now, and the cache
// only what it said. That the store still hands an object out is asked again after a day at most, at another time for each, and at once by who needs to know.
//
// Beside what was read it remembers digests that its user asks it to: of signatures that were found good, to check which takes longer
// than all else in a look. They too are forgotten within a day. So whoever can write the file can make a look believe what nobody
// signed, and it is used only where that is nobody but the user who looks: a file that belongs to another user, or that others may write
// or read, is as good as none. A process of the same user can do no more with it than without: it could change the program's
// own state, or ask the program what it likes.
//
// The file may be deleted at any time, and one that is damaged, or that cannot be read or written, is as good as none.
package cache

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/drd-project/drd/internal/storage"
)

const (
	// largest bounds an object that is remembered, in bytes: a drill record is the largest thing that is read again and again.
	largest = 256 << 10
	// most bounds what is remembered of a bucket, in bytes: 20,000 snapshots and a day of segments come to a quarter of it.
	most = 256 << 20
	// mostGood bounds how many digests are remembered: those of 20,000 snapshots and ten days of segments. They take 40 bytes each.
	mostGood = 200_000
	// oldest is how long something is taken from the file, and half of it how much earlier some is read or checked again.
	oldest = 24 * time.Hour
)

var (
	_ storage.Bucket      = (*Bucket)(nil)
	_ storage.AfterLister = (*Bucket)(nil)
)

// Bucket is a bucket, the small records of which are read from the store once. It is safe for concurrent use. Create and Delete go
// straight through.
type Bucket struct {
	storage.Bucket
	file string
	now  func() time.Time

	mu      sync.Mutex
	known   map[string]record // by key
	good    map[[sha256.Size]byte]time.Time
	listed  map[string]storage.Object
	scanned []stretch
	size    int64 // bytes of known
	changed bool
}

// stretch is what was listed without a hole: the keys below prefix behind after, up to and including until; "": to the end.
type stretch struct{ prefix, after, until string }

func (s stretch) holds(key string) bool {
	return strings.HasPrefix(key, s.prefix) && key > s.after && (s.until == "" || key <= s.until)
}

// record is the content of an object, and what the listing said of it. All of it is in the file.
type record struct {
	Read     time.Time // from the store, by this machine's clock
	Modified time.Time
	SHA256   string
	Content  []byte
}

// Open returns b with what the file of its location below dir remembers. A file that is of no use is ignored.
func Open(b storage.Bucket, dir string) *Bucket { return open(b, dir, time.Now) }

func open(b storage.Bucket, dir string, now func() time.Time) *Bucket {
	name := sha256.Sum256([]byte(b.Location()))
	file := fmt.Sprintf("%s-%d.records", hex.EncodeToString(name[:8]), os.Geteuid()) // users do not believe each other's, and must not replace it
	c := &Bucket{Bucket: b, file: filepath.Join(dir, file), now: now, listed: make(map[string]storage.Object)}
	c.known, c.good = load(c.file, b.Location())
	for _, r := range c.known {
		c.size += int64(len(r.Content))
	}
	return c
}

// List yields what the store lists now, always.
func (c *Bucket) List(ctx context.Context, prefix string) iter.Seq2[storage.Object, error] {
	return c.ListAfter(ctx, prefix, "")
}

// ListAfter implements storage.AfterLister: it yields what the store lists now, always.
func (c *Bucket) ListAfter(ctx context.Context, prefix, after string) iter.Seq2[storage.Object, error] {
	return func(yield func(storage.Object, error) bool) {
		last, ended := after, true
		for o, err := range storage.ListAfter(ctx, c.Bucket, prefix, after) {
			if err != nil {
				yield(o, err)
				ended = false
				break
			}
			last = o.Key
			if remembered(o) {
				c.mu.Lock()
				c.listed[o.Key] = o
				c.mu.Unlock()
			}
			if !yield(o, nil) {
				ended = false
				break
			}
		}
		if ended {
			c.scan(stretch{prefix, after, ""})
		} else if last != after {
			c.scan(stretch{prefix, after, last})
		}
	}
}

func (c *Bucket) scan(s stretch) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.scanned = append(c.scanned, s)
}

// remembered says whether an object is one of those that are read again and again: manifests, commit records, drill records and
// the signatures of them.
func remembered(o storage.Object) bool {
	if o.Size > largest {
		return false
	}
	for _, suffix := range []string{".json", ".json.sig", ".signed"} {
		if strings.HasSuffix(o.Key, suffix) {
			return true
		}
	}
	return false
}

// Open reads from the file what a listing of this Bucket told of and the file has, and all else from the store, as it does when ctx asks for
// that by storage.Anew.
func (c *Bucket) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	c.mu.Lock()
	o, listed := c.listed[key]
	r, known := c.known[key]
	c.mu.Unlock()
	if !listed || offset != 0 || (length >= 0 && length < o.Size) {
		return c.Bucket.Open(ctx, key, offset, length)
	}
	if known && r.is(o) && !r.stale(key, c.now()) && !storage.IsAnew(ctx) {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return io.NopCloser(bytes.NewReader(r.Content)), nil
	}
	src, err := c.Bucket.Open(ctx, key, offset, length)
	if err != nil {
		return nil, err
	}
	return &reader{ReadCloser: src, of: c, object: o}, nil
}

// is reports whether this was read of the object that is listed.
func (r record) is(o storage.Object) bool {
	return int64(len(r.Content)) == o.Size && r.Modified.Equal(o.Modified) && r.SHA256 == o.SHA256
}

// stale reports whether it is time to read the object again.
func (r record) stale(key string, now time.Time) bool {
	h := fnv.New32a()
	_, _ = h.Write([]byte(key)) // it cannot fail
	return expired(r.Read, now, h.Sum32())
}

// expired reports whether something is too old to be believed: sooner or later, as some bits of it say. A clock that was set back makes
// everything so.
func expired(at, now time.Time, bits uint32) bool {
	age := now.Sub(at)
	return age < 0 || age > oldest-time.Duration(bits%1024)*(oldest/2/1024)
}

// Good reports whether Learn was called with a digest, by a look of this host within a day.
func (c *Bucket) Good(digest [sha256.Size]byte) bool {
	c.mu.Lock()
	at, known := c.good[digest]
	c.mu.Unlock()
	return known && !expired(at, c.now(), binary.BigEndian.Uint32(digest[:]))
}

// Learn remembers a digest: see the comment of the package for who may believe it.
func (c *Bucket) Learn(digest [sha256.Size]byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, known := c.good[digest]; !known && len(c.good) >= mostGood {
		return
	}
	c.good[digest], c.changed = c.now().Round(0), true
}

// reader remembers what was read to the end.
type reader struct {
	io.ReadCloser
	of      *Bucket
	object  storage.Object
	content []byte
}

func (r *reader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	if int64(len(r.content)) <= r.object.Size {
		r.content = append(r.content, p[:n]...)
	}
	if errors.Is(err, io.EOF) && int64(len(r.content)) == r.object.Size {
		r.of.keep(r.object, r.content)
	}
	return n, err
}

func (c *Bucket) keep(o storage.Object, content []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	size := c.size - int64(len(c.known[o.Key].Content)) + o.Size
	if size > most {
		return
	}
	c.known[o.Key] = record{c.now().Round(0), o.Modified, o.SHA256, content}
	c.size, c.changed = size, true
}

// Save writes the file, if something is to be remembered that is not in it, or to be forgotten. It forgets what was listed before and
// is not there any more, and the digests that are too old.
func (c *Bucket) Save() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	before, now := len(c.known)+len(c.good), c.now()
	maps.DeleteFunc(c.known, func(key string, _ record) bool { return c.gone(key) })
	maps.DeleteFunc(c.good, func(_ [sha256.Size]byte, at time.Time) bool { return expired(at, now, 0) })
	if !c.changed && len(c.known)+len(c.good) == before {
		return nil
	}
	c.changed = false
	return save(c.file, c.Location(), c.known, c.good)
}

// gone reports that a listing went over the place of a key and did not find it.
func (c *Bucket) gone(key string) bool {
	if _, there := c.listed[key]; there {
		return false
	}
	return slices.ContainsFunc(c.scanned, func(s stretch) bool { return s.holds(key) })
}
