package replicate

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/google/renameio/v2"

	"github.com/drd-project/drd/internal/lock"
	"github.com/drd-project/drd/internal/repo"
)

// maxLost is how many losses are remembered in full: years of them, in 200 KiB.
const maxLost = 1000

// Loss is a snapshot that a target will never have.
type Loss struct {
	At       time.Time `json:"at"`
	Target   string    `json:"target"`
	Snapshot string    `json:"snapshot"`
	Reason   string    `json:"reason"`
	Total    int       `json:"total"` // losses of this target up to this one, also those no longer listed
}

// Losses reads what is recorded below a state directory, oldest first: the last 1,000 at most. There is none where no
// queue ever lost anything. It is for reports; nothing needs to be stopped for it.
func Losses(stateDir string) ([]Loss, error) { return openLosses(stateDir).read() }

func openLosses(stateDir string) *losses {
	return &losses{path: filepath.Join(marksDir(stateDir), "lost.jsonl")}
}

// losses is lost.jsonl, one loss a line, oldest first. Several processes write it, each file as a whole.
type losses struct {
	path string
	mu   sync.Mutex
}

func (l *losses) lockPath() string { return filepath.Join(filepath.Dir(l.path), ".lost.lock") }

// add records a loss once: a process that was killed between this and what follows it does it again.
func (l *losses) add(ctx context.Context, target string, id repo.ID, reason string) (fresh bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	release, err := lock.File(ctx, l.lockPath(), func() {})
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, release()) }()
	if err := l.sweep(); err != nil {
		return false, err
	}
	all, err := l.read()
	if err != nil {
		return false, err
	}
	total := 0
	for _, known := range all {
		if known.Target != target {
			continue
		}
		if known.Snapshot == id.String() {
			return false, nil
		}
		total = known.Total
	}
	all = append(all, Loss{At: time.Now().UTC(), Target: target, Snapshot: id.String(), Reason: reason, Total: total + 1})
	return true, l.write(trimmed(all))
}

// sweep removes what a killed process left of the file it was writing.
func (l *losses) sweep() error {
	temps, err := filepath.Glob(filepath.Join(filepath.Dir(l.path), "."+filepath.Base(l.path)+"*"))
	if err != nil {
		return fmt.Errorf("record a loss: %w", err)
	}
	for _, t := range temps {
		if err := os.Remove(t); err != nil {
			return fmt.Errorf("record a loss: %w", err)
		}
	}
	return nil
}

// trimmed drops the oldest lines, but for the last one of each target, which has its total.
func trimmed(all []Loss) []Loss {
	for i := 0; len(all) > maxLost && i < len(all); {
		later := slices.ContainsFunc(all[i+1:], func(l Loss) bool { return l.Target == all[i].Target })
		if !later {
			i++
			continue
		}
		all = slices.Delete(all, i, i+1)
	}
	return all
}

// read skips lines that are none of ours, so that a damaged file costs no backup.
func (l *losses) read() ([]Loss, error) {
	b, err := os.ReadFile(l.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read the losses: %w", err)
	}
	var all []Loss
	for line := range bytes.Lines(b) {
		var one Loss
		if json.Unmarshal(line, &one) == nil && one.Target != "" {
			all = append(all, one)
		}
	}
	return all, nil
}

func (l *losses) write(all []Loss) error {
	var b bytes.Buffer
	for _, one := range all {
		line, err := json.Marshal(one)
		if err != nil {
			return fmt.Errorf("record a loss: %w", err)
		}
		b.Write(append(line, '\n'))
	}
	if err := renameio.WriteFile(l.path, b.Bytes(), 0o600); err != nil {
		return fmt.Errorf("record a loss: %w", err)
	}
	return syncDir(filepath.Dir(l.path))
}

// syncDir makes a rename durable.
func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("record a loss: %w", err)
	}
	return errors.Join(d.Sync(), d.Close())
}

// has says whether a target's loss of a snapshot is recorded.
func (l *losses) has(target string, id repo.ID) (bool, error) {
	all, err := l.read()
	return slices.ContainsFunc(all, func(o Loss) bool { return o.Target == target && o.Snapshot == id.String() }), err
}

// totals counts by target.
func (l *losses) totals() (map[string]int, error) {
	all, err := l.read()
	if err != nil {
		return nil, err
	}
	totals := make(map[string]int)
	for _, one := range all {
		totals[one.Target] = one.Total
	}
	return totals, nil
}
