package seal

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Bound forgets the oldest keys until at most limit are left, by when they were put.
func (k *KeyRing) Bound(limit int) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	old, err := k.beyond(limit)
	if err != nil || len(old) == 0 {
		return err
	}
	for object := range k.keys {
		if slices.Contains(old, k.path(object)) {
			delete(k.keys, object)
		}
	}
	for _, path := range old {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("forget old file keys: %w", err)
		}
	}
	return nil
}

// beyond are the key files that are too many, the oldest.
func (k *KeyRing) beyond(limit int) ([]string, error) {
	entries, err := os.ReadDir(k.dir)
	if err != nil {
		return nil, fmt.Errorf("list file keys: %w", err)
	}
	if len(entries) <= limit {
		return nil, nil
	}
	put := make(map[string]time.Time)
	var paths []string
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || !strings.HasSuffix(e.Name(), keySuffix) {
			continue // gone, or being written
		}
		path := filepath.Join(k.dir, e.Name())
		put[path] = info.ModTime()
		paths = append(paths, path)
	}
	slices.SortFunc(paths, func(a, b string) int { return put[a].Compare(put[b]) })
	return paths[:max(0, len(paths)-limit)], nil
}
