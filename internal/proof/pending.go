package proof

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/seal"
	"github.com/drd-project/drd/internal/storage"
	"github.com/drd-project/drd/internal/storage/dir"
)

const (
	// maxPending bounds how many records wait on a host: those of a year of a target that is never there, drilled
	// twice a day. Of more the oldest go.
	maxPending = 1000
	// maxPendingFile bounds a waiting record's file in bytes: base64 makes four of three.
	maxPendingFile = 2 * (repo.MaxDrillRecord + 64<<10)
	// abandoned is how old a half written file is before it goes: no write takes so long.
	abandoned = 24 * time.Hour
)

// Pending are signed records that could not be written to their target yet: files of mode 0600 in a directory of this
// host, each written whole or not at all. Several processes may use the directory at once. Nothing else is kept there; a
// record that its target has is forgotten.
type Pending struct {
	bucket storage.Bucket // a write-once bucket is how a file is written that a crash cannot tear

	mu sync.Mutex
}

// waiting is the content of a file.
type waiting struct {
	Target    string `json:"target"`
	Record    []byte `json:"record"`
	Signature []byte `json:"signature"`
}

// OpenPending opens the directory drills below the daemon's state directory, and makes it if need be.
func OpenPending(stateDir string) (*Pending, error) {
	b, err := dir.Open(filepath.Join(stateDir, "drills"), dir.Options{Create: true})
	if err != nil {
		return nil, fmt.Errorf("open the drill records that wait: %w", err)
	}
	p := &Pending{bucket: b}
	if err := p.sweep(context.Background()); err != nil {
		return nil, fmt.Errorf("open the drill records that wait: %w", err)
	}
	return p, nil
}

// sweep removes what killed processes left half written.
func (p *Pending) sweep(ctx context.Context) error {
	uploads, err := storage.Incomplete(ctx, p.bucket, "")
	if err != nil {
		return err
	}
	for _, u := range uploads {
		if time.Since(u.Started) < abandoned {
			continue
		}
		if err := storage.Abort(ctx, p.bucket, u); err != nil && !errors.Is(err, storage.ErrNotExist) {
			return err
		}
	}
	return nil
}

// Add keeps a record for its target. Where 1,000 wait already the oldest go: dropped says how many, and they are lost.
func (p *Pending) Add(s *Signed) (dropped int, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	ctx := context.Background() // the run may be over because its context is, and what it found must not be lost
	content, err := json.Marshal(waiting{s.Record.Target.Name, s.Bytes, s.Signature})
	if err != nil {
		return 0, fmt.Errorf("keep drill record %s: %w", s.Record.ID, err)
	}
	key := s.Record.ID + "-" + s.Digest()[:16] // targets may have records of the same ID
	if _, err = p.bucket.Create(ctx, key, bytes.NewReader(content)); err != nil && !errors.Is(err, storage.ErrExists) {
		return 0, fmt.Errorf("keep drill record %s: %w", s.Record.ID, err)
	}
	keys, err := p.keys(ctx)
	if err != nil {
		return 0, err
	}
	for _, old := range keys[:max(0, len(keys)-maxPending)] {
		if err := p.forget(ctx, old); err != nil {
			return dropped, err
		}
		dropped++
	}
	return dropped, nil
}

// Flush writes what waits for the target of this name and cluster, oldest first, and forgets what is there. A record whose ID was
// taken meanwhile is signed again by s under another. One that the target refuses, or that cannot be read here, keeps no other
// from being written: refused counts them, and they go on waiting. A file that cannot be a record is dropped. Each of these is in the error.
func (p *Pending) Flush(ctx context.Context, target string, r *repo.Repository, s *seal.Signer) (written, refused int, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	keys, err := p.keys(ctx)
	if err != nil {
		return 0, 0, err
	}
	var failed []error
	for _, key := range keys {
		if ctx.Err() != nil {
			return written, refused, errors.Join(append(failed, context.Cause(ctx))...)
		}
		w, rec, err := p.read(ctx, key)
		switch {
		case errors.Is(err, repo.ErrDamaged):
			failed = append(failed, err, p.forget(ctx, key))
			continue
		case err == nil && (w == nil || w.Target != target || rec.Cluster != r.Cluster()):
			continue
		case err == nil:
			err = deliver(ctx, r, &Signed{Record: rec, Bytes: w.Record, Signature: w.Signature}, s)
		}
		if err != nil {
			refused++
			failed = append(failed, fmt.Errorf("drill record that waits for %s: %w", target, err))
			continue
		}
		written++
		failed = append(failed, p.forget(ctx, key))
	}
	return written, refused, errors.Join(failed...)
}

// deliver puts a record that waited under its own ID, or another one where that is taken.
func deliver(ctx context.Context, r *repo.Repository, signed *Signed, s *seal.Signer) error {
	err := Put(ctx, r, signed)
	if errors.Is(err, repo.ErrConflict) {
		_, err = storeOne(ctx, r, signed.Record, s)
	}
	return err
}

// read returns what waits under a key; nil when another process has delivered it meanwhile. What cannot be a record wraps
// repo.ErrDamaged.
func (p *Pending) read(ctx context.Context, key string) (*waiting, *Record, error) {
	src, err := p.bucket.Open(ctx, key, 0, maxPendingFile)
	if errors.Is(err, storage.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read drill record that waits: %w", err)
	}
	content, err := io.ReadAll(io.LimitReader(src, maxPendingFile))
	if err = errors.Join(err, src.Close()); err != nil {
		return nil, nil, fmt.Errorf("read drill record that waits: %w", err)
	}
	w := new(waiting)
	if err := json.Unmarshal(content, w); err != nil {
		return nil, nil, fmt.Errorf("drill record that waits in %s: %w: %w", key, repo.ErrDamaged, err)
	}
	rec, err := Decode(w.Record)
	if err != nil {
		return nil, nil, fmt.Errorf("drill record that waits in %s: %w: %w", key, repo.ErrDamaged, err)
	}
	return w, rec, nil
}

// keys are the files that wait, oldest first. Others are not touched.
func (p *Pending) keys(ctx context.Context) ([]string, error) {
	var keys []string
	for o, err := range p.bucket.List(ctx, "") {
		if err != nil {
			return nil, fmt.Errorf("list the drill records that wait: %w", err)
		}
		if i := strings.LastIndexByte(o.Key, '-'); i > 0 {
			if _, _, err := repo.ParseDrillID(o.Key[:i]); err == nil {
				keys = append(keys, o.Key)
			}
		}
	}
	slices.Sort(keys)
	return keys, nil
}

func (p *Pending) forget(ctx context.Context, key string) error {
	if err := p.bucket.Delete(ctx, key); err != nil && !errors.Is(err, storage.ErrNotExist) {
		return fmt.Errorf("forget drill record %s: %w", key, err)
	}
	return nil
}
