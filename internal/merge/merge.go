package merge

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"filippo.io/age"

	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/seal"
	"github.com/drd-project/drd/internal/storage"
)

// Config is what merging needs to know. All of it is required, but for what says nil.
type Config struct {
	// Dir takes the sealed segments while they grow: at most 64 MiB for each target at a time. It is made if it is not there, and
	// nobody else may use it.
	Dir string
	// Keys has the keys of what this node archived, and gets those of what is merged.
	Keys *seal.KeyRing
	// Identities open what Keys does not; nil: there are none. It is asked in every pass, so that a file that was replaced counts. An
	// error counts as none.
	Identities func() ([]age.Identity, error)
	Trust      *seal.Trust
	Signer     *seal.Signer
	Recipients *seal.Recipients
	Build      repo.Build
	Now        func() time.Time // nil: time.Now
}

// Merger merges in one target. It is not safe for concurrent use.
type Merger struct {
	cfg  Config
	repo *repo.Repository
	view view
	// cut are segments that do not go with the one before, aside those that are left alone, each until some time.
	cut, aside map[repo.SegmentName]time.Time
	rests      time.Time // until then nothing is listed
}

// New returns a Merger for one target. Nothing is asked of it yet.
func New(cfg Config, r *repo.Repository) *Merger {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Merger{
		cfg: cfg, repo: r, view: make(view), cut: make(map[repo.SegmentName]time.Time), aside: make(map[repo.SegmentName]time.Time),
	}
}

// Sweep makes the directory of segments that grow, and removes what a process that was killed left there. It is called once, before
// the first pass.
func Sweep(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make room for merged segments: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("look for merged segments that were left: %w", err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), storage.TempPrefix) {
			err = errors.Join(err, os.Remove(filepath.Join(dir, e.Name())))
		}
	}
	if err != nil {
		return fmt.Errorf("remove merged segments that were left: %w", err)
	}
	return nil
}

// Result is what a pass did.
type Result struct {
	Merged  int // segments that were written
	Sources int // that they take the place of
	Bytes   int64
	// Bad is what cannot be used, each told once a day: segments that are damaged in this target, or that the keys which this node has
	// for them do not open; that no merged one by this node would count; and that contradict each other. All stays as it is.
	Bad []error
}

const (
	// maxRounds bounds a pass: hours, then days, and as many again for what one look does not show.
	maxRounds = 8
	// maxBad is how many segments that cannot be used end a pass: with more than that it is the target, or the keys.
	maxBad = 20
	// leaveFor is how long a segment stays aside that cannot be used. It may be mended meanwhile.
	leaveFor = 24 * time.Hour
)

// Pass merges what is there to be merged. What was written before an error counts. An error means that something may be left that
// the next pass will find again. After a look at a target with very many segments the next passes do nothing for a while.
func (m *Merger) Pass(ctx context.Context) (Result, error) {
	var done Result
	if m.cfg.Now().Before(m.rests) {
		return done, nil
	}
	ids := m.identities()
	m.forget()
	for range maxRounds {
		more, err := m.round(ctx, ids, &done)
		if err != nil {
			return done, fmt.Errorf("merge the archive in %s: %w", m.repo.Bucket().Location(), err)
		}
		if !more {
			break
		}
	}
	return done, nil
}

// identities are none where they cannot be read: drills tell of that, and what this node has keys for needs none.
func (m *Merger) identities() []age.Identity {
	if m.cfg.Identities == nil {
		return nil
	}
	ids, err := m.cfg.Identities()
	if err != nil {
		return nil
	}
	return ids
}

// forget gives what was left alone another chance.
func (m *Merger) forget() {
	now := m.cfg.Now()
	for _, left := range []map[repo.SegmentName]time.Time{m.cut, m.aside} {
		for name, until := range left {
			if !now.Before(until) {
				delete(left, name)
			}
		}
	}
}

// round looks once and merges what it finds. more reports whether another one may find more.
func (m *Merger) round(ctx context.Context, ids []age.Identity, done *Result) (more bool, err error) {
	more, err = m.look(ctx, ids)
	if err != nil {
		return false, err
	}
	isCut := func(n repo.SegmentName) bool { _, cut := m.cut[n]; return cut }
	runs := plan(m.usable(ids), isCut, m.cfg.Now())
	for _, r := range runs {
		err := m.merge(ctx, ids, r)
		if err == nil {
			done.add(r)
			continue
		}
		if err = m.leave(ctx, r, err, done); err != nil {
			return false, err
		}
		if len(done.Bad) > maxBad {
			return false, fmt.Errorf("%d segments cannot be used", len(done.Bad))
		}
	}
	return more || len(runs) > 0, nil
}

func (r *Result) add(merged run) {
	r.Merged++
	r.Sources += len(merged)
	for _, e := range merged {
		r.Bytes += e.Segment.Object.Size
	}
}
