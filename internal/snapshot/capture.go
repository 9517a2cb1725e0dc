package snapshot

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"time"

	"github.com/drd-project/drd/internal/disk"
	"github.com/drd-project/drd/internal/etcd"
	"github.com/drd-project/drd/internal/seal"
	"github.com/drd-project/drd/internal/storage"
)

// spare is what must stay free beside the snapshot's own files: the manifest, the logs of others, a growing database.
const spare = 64 << 20

// Member is the member that a snapshot is taken of. *etcd.Client is one.
type Member interface {
	Status(ctx context.Context) (etcd.Status, error)
	SnapshotStream(ctx context.Context) (etcd.Stream, error)
}

// Config is how snapshots are taken on a node.
type Config struct {
	// WorkDir holds the nameless plaintext working file; about the size of the database must be free.
	WorkDir string
	// SpoolDir receives the sealed object; the same again must be free, if nothing compresses.
	SpoolDir string
	// Recipients are whom the object is sealed for.
	Recipients *seal.Recipients
	// Inspector reads the facts out of the working file.
	Inspector Inspector
	// StallTimeout is how long the stream may move no byte; DefaultStallTimeout if 0.
	StallTimeout time.Duration
	// Progress, if not nil, is told the bytes received and expected; it is called often and must return at once.
	Progress func(done, total int64)
}

// Sealed is the sealed object on the local disk.
type Sealed struct {
	Path   string // in Config.SpoolDir, under a temporary name, fsynced
	Size   int64  // bytes
	SHA256 string // hex
	Format string // of the envelope, such as "age-v1"
	Name   string // object name, such as "snapshot.db.zst.age"
	Key    seal.FileKey
}

// Taken is a snapshot whose stream is complete and whose trailer was right. It is not a backup yet.
type Taken struct {
	// Status is what the member said of itself just before. Its revision is not the snapshot's.
	Status     etcd.Status
	Start, End time.Time // of the stream, UTC
	Received   Received
	Sealed     Sealed

	work      *os.File
	inspector Inspector
}

// Take streams one snapshot of member into a nameless working file and a sealed object. Any error, the
// end of ctx included, leaves neither. The caller must Close what it gets.
func Take(ctx context.Context, member Member, cfg Config) (*Taken, error) {
	status, err := member.Status(ctx)
	if err != nil {
		return nil, fmt.Errorf("take a snapshot: %w", err)
	}
	if err := cfg.room(status.DBSize); err != nil {
		return nil, fmt.Errorf("take a snapshot: %w", err)
	}
	t := &Taken{Status: status, inspector: cfg.Inspector}
	if err := t.stream(ctx, member, cfg); err != nil {
		return nil, fmt.Errorf("take a snapshot: %w", errors.Join(err, t.Close()))
	}
	return t, nil
}

// Room is what must be free, in bytes, before a snapshot of a database of that size is taken: the working file, a sealed
// object that may not compress, and something to spare.
func Room(dbSize int64) int64 { return 2*dbSize + spare }

// room checks the disk before anything is written. Nothing may compress, and both directories may share a file system.
func (c Config) room(dbSize int64) error {
	what := "a snapshot of " + disk.Size(dbSize)
	if err := disk.Require(c.WorkDir, Room(dbSize), what); err != nil {
		return err
	}
	return disk.Require(c.SpoolDir, dbSize+spare, what)
}

func (t *Taken) stream(ctx context.Context, member Member, cfg Config) (err error) {
	if t.work, err = nameless(cfg.WorkDir); err != nil {
		return err
	}
	object, err := os.CreateTemp(cfg.SpoolDir, storage.TempPrefix)
	if err != nil {
		return fmt.Errorf("create the sealed object: %w", err)
	}
	defer func() { err = errors.Join(err, object.Close()) }()
	t.Sealed.Path = object.Name()

	format := seal.Default()
	count := &countingHash{w: object, sum: sha256.New(), behind: disk.Writeback{File: object}}
	sealer, err := format.Seal(count, cfg.Recipients)
	if err != nil {
		return err
	}
	if err := t.receive(ctx, member, cfg, sealer); err != nil {
		return err // the envelope stays without its end, so nothing can ever open it
	}
	if err := sealer.Close(); err != nil {
		return fmt.Errorf("seal the snapshot: %w", err)
	}
	if err := object.Sync(); err != nil {
		return fmt.Errorf("write the sealed object: %w", err)
	}
	t.Sealed.Size, t.Sealed.SHA256 = count.n, hex.EncodeToString(count.sum.Sum(nil))
	t.Sealed.Format, t.Sealed.Name, t.Sealed.Key = format.Name(), "snapshot.db"+format.Extension(), sealer.FileKey()
	return nil
}

func (t *Taken) receive(ctx context.Context, member Member, cfg Config, sealer io.Writer) (err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	t.Start = time.Now().UTC()
	stream, err := member.SnapshotStream(ctx)
	if err != nil {
		return err
	}
	r := receiver{stall: cfg.StallTimeout, progress: cfg.Progress}
	if r.stall == 0 {
		r.stall = DefaultStallTimeout
	}
	t.Received, err = r.receive(ctx, cancel, stream, t.work, sealer)
	t.End = t.Start.Add(time.Since(t.Start)) // by the monotonic clock: a corrected wall clock makes no negative duration
	return err
}

// nameless creates a file that only this process can reach, and that is gone with it: plaintext never outlives a crash.
func nameless(dir string) (*os.File, error) {
	f, err := os.CreateTemp(dir, "working-")
	if err != nil {
		return nil, fmt.Errorf("create the working file: %w", err)
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(fmt.Errorf("unlink the working file: %w", err), f.Close())
	}
	return f, nil
}

// Inspect reads the facts out of the working file, in a child process. onRevision, if not nil, is told the
// revision long before the rest is known.
func (t *Taken) Inspect(ctx context.Context, onRevision func(int64)) (Facts, error) {
	facts, err := t.inspector.InspectFile(ctx, t.work, onRevision)
	if err != nil {
		return Facts{}, fmt.Errorf("inspect the snapshot: %w", err)
	}
	return facts, nil
}

// Hash computes HashKV of the working file at (Revision, compact), where compact is at least the file's own.
func (t *Taken) Hash(ctx context.Context, revision, compact int64) (uint32, error) {
	h, err := t.inspector.HashFile(ctx, t.work, revision, compact)
	if err != nil {
		return 0, fmt.Errorf("hash the snapshot: %w", err)
	}
	return h.Value, nil
}

// Close gives up the working file and removes the sealed object if it still has its temporary name. It is safe to call twice.
func (t *Taken) Close() error {
	var errs []error
	if t.work != nil {
		errs = append(errs, t.work.Close())
		t.work = nil
	}
	if t.Sealed.Path != "" {
		if err := os.Remove(t.Sealed.Path); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
		t.Sealed.Path = ""
	}
	return errors.Join(errs...)
}

// countingHash hashes and counts what it passes on to a file, which the disk begins to receive at once: the sync that
// ends the capture must not wait for hundreds of megabytes.
type countingHash struct {
	w      io.Writer
	sum    hash.Hash
	n      int64
	behind disk.Writeback
}

func (c *countingHash) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.sum.Write(p[:n])
	c.n += int64(n)
	c.behind.Advance(c.n)
	return n, err
}
