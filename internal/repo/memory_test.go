package repo

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/drd-project/drd/internal/storage"
)

// memory is a bucket for faults and keys that a real one does not produce on demand. What a real
// one does is tested on the directory backend.
type memory struct {
	mu       sync.Mutex
	objects  map[string][]byte
	modified map[string]time.Time
	created  []string         // keys in the order of their creation
	read     map[string]int64 // bytes handed out per key
	opened   int

	reportsSHA256 bool
	overwrites    bool // breaks the contract
	parallel      int
	// fault is asked before each operation ("create", "created", "open", "stat", "list").
	fault func(op, key string) error
	// store changes what is stored.
	store func(key string, content []byte) []byte
}

var _ storage.Bucket = (*memory)(nil)

func newMemory() *memory {
	return &memory{
		objects: make(map[string][]byte), modified: make(map[string]time.Time), read: make(map[string]int64),
		parallel: 4,
	}
}

func (m *memory) Location() string { return "memory" }

func (m *memory) Properties() storage.Properties { return storage.Properties{Parallel: m.parallel} }

func (m *memory) ask(ctx context.Context, op, key string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if m.fault == nil {
		return nil
	}
	return m.fault(op, key)
}

func (m *memory) Create(ctx context.Context, key string, r io.Reader) (storage.Object, error) {
	if err := m.ask(ctx, "create", key); err != nil {
		return storage.Object{}, err
	}
	content, err := io.ReadAll(r)
	if err != nil {
		return storage.Object{}, err
	}
	if m.store != nil {
		content = m.store(key, content)
	}
	m.mu.Lock()
	_, exists := m.objects[key]
	exists = exists && !m.overwrites
	if !exists {
		m.set(key, content)
		m.created = append(m.created, key)
	}
	m.mu.Unlock()
	if exists {
		return storage.Object{}, fmt.Errorf("create %s: %w", key, storage.ErrExists)
	}
	if err := m.ask(ctx, "created", key); err != nil {
		return storage.Object{}, err
	}
	return m.Stat(ctx, key)
}

// set plants an object, whatever its key.
func (m *memory) set(key string, content []byte) {
	m.objects[key] = content
	m.modified[key] = time.Date(2026, 11, 22, 10, 5, 0, 0, time.UTC)
}

func (m *memory) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	if err := m.ask(ctx, "open", key); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	content, ok := m.objects[key]
	if !ok {
		return nil, fmt.Errorf("open %s: %w", key, storage.ErrNotExist)
	}
	content = content[min(offset, int64(len(content))):]
	if length >= 0 {
		content = content[:min(length, int64(len(content)))]
	}
	m.read[key] += int64(len(content))
	m.opened++
	return io.NopCloser(bytes.NewReader(content)), nil
}

func (m *memory) Stat(ctx context.Context, key string) (storage.Object, error) {
	if err := m.ask(ctx, "stat", key); err != nil {
		return storage.Object{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.stat(key)
}

func (m *memory) stat(key string) (storage.Object, error) {
	content, ok := m.objects[key]
	if !ok {
		return storage.Object{}, fmt.Errorf("stat %s: %w", key, storage.ErrNotExist)
	}
	o := storage.Object{Key: key, Size: int64(len(content)), Modified: m.modified[key]}
	if m.reportsSHA256 {
		sum := sha256.Sum256(content)
		o.SHA256 = hex.EncodeToString(sum[:])
	}
	return o, nil
}

func (m *memory) List(ctx context.Context, prefix string) iter.Seq2[storage.Object, error] {
	return func(yield func(storage.Object, error) bool) {
		m.mu.Lock()
		keys := slices.Sorted(maps.Keys(m.objects))
		m.mu.Unlock()
		for _, key := range keys {
			if !strings.HasPrefix(key, prefix) {
				continue
			}
			if err := m.ask(ctx, "list", key); err != nil {
				yield(storage.Object{}, err)
				return
			}
			m.mu.Lock()
			o, err := m.stat(key)
			m.mu.Unlock()
			if !yield(o, err) || err != nil {
				return
			}
		}
	}
}

func (m *memory) Delete(_ context.Context, key string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.objects, key)
	return nil
}
