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

	"github.com/google/renameio/v2"

	"github.com/drd-project/drd/internal/lock"
)

// maxLost is how many losses are remembered in full: years of them, in 200 KiB.
const maxLost = 1000

// record is a line of a journal.
type record interface {
	of() (target string, total int)
}

// journal is a file of records, one a line, the oldest first. Several processes write it, each time as a whole.
type journal[T record] struct {
	path string
	mu   sync.Mutex
}

func (j *journal[T]) lockPath() string { return filepath.Join(filepath.Dir(j.path), ".lost.lock") }

// change writes what f makes of the records, unless it is nil.
func (j *journal[T]) change(ctx context.Context, f func([]T) []T) (err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	release, err := lock.File(ctx, j.lockPath(), func() {})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	if err := j.sweep(); err != nil {
		return err
	}
	all, err := j.read()
	if err != nil {
		return err
	}
	if all = f(all); all == nil {
		return nil
	}
	return j.write(trimmed(all))
}

// sweep removes what a killed process left of the file it was writing.
func (j *journal[T]) sweep() error {
	temps, err := filepath.Glob(filepath.Join(filepath.Dir(j.path), "."+filepath.Base(j.path)+"*"))
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
func trimmed[T record](all []T) []T {
	for i := 0; len(all) > maxLost && i < len(all); {
		target, _ := all[i].of()
		later := slices.ContainsFunc(all[i+1:], func(l T) bool { other, _ := l.of(); return other == target })
		if !later {
			i++
			continue
		}
		all = slices.Delete(all, i, i+1)
	}
	return all
}

// read skips lines that are none of ours, so that a damaged file costs no backup.
func (j *journal[T]) read() ([]T, error) {
	b, err := os.ReadFile(j.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read the losses: %w", err)
	}
	var all []T
	for line := range bytes.Lines(b) {
		var one T
		if json.Unmarshal(line, &one) != nil {
			continue
		}
		if target, _ := one.of(); target != "" {
			all = append(all, one)
		}
	}
	return all, nil
}

func (j *journal[T]) write(all []T) error {
	var b bytes.Buffer
	for _, one := range all {
		line, err := json.Marshal(one)
		if err != nil {
			return fmt.Errorf("record a loss: %w", err)
		}
		b.Write(append(line, '\n'))
	}
	if err := renameio.WriteFile(j.path, b.Bytes(), 0o600); err != nil {
		return fmt.Errorf("record a loss: %w", err)
	}
	return syncDir(filepath.Dir(j.path))
}

// syncDir makes a rename durable.
func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("record a loss: %w", err)
	}
	return errors.Join(d.Sync(), d.Close())
}

// totals counts by target.
func (j *journal[T]) totals() (map[string]int, error) {
	all, err := j.read()
	return totals(all), err
}

func totals[T record](all []T) map[string]int {
	count := make(map[string]int)
	for _, one := range all {
		target, total := one.of()
		count[target] = total
	}
	return count
}
