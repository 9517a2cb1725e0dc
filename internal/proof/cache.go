package proof

import (
	"sync"
	"time"

	"github.com/drd-project/drd/internal/repo"
)

// Cache remembers records by their ID, for whoever reads the same ones again and again: a record never changes. What a
// reading that was given up has fetched stays, so that the next one comes further. The zero value is empty; it is safe for concurrent
// use. A nil Cache remembers nothing.
//
// It keeps some hundred bytes of each drill. The checks, warnings and censuses, which are most of a record, are left out.
type Cache struct {
	mu      sync.Mutex
	records map[string]*SignedRecord
}

// settled is the age from which on a record without a signature is taken to stay so: in a directory that other tools fill,
// the one may arrive before the other.
const settled = time.Hour

// record returns what is remembered under an ID, or what read returns, and remembers that.
func (c *Cache) record(id string, read func() *SignedRecord) *SignedRecord {
	if c == nil {
		return read()
	}
	c.mu.Lock()
	known := c.records[id]
	c.mu.Unlock()
	if known != nil {
		return known
	}
	found := read()
	found.slim()
	if found.State == repo.StateUnreadable || (found.State == repo.StateUnsigned && time.Since(found.at) < settled) {
		return found
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.records == nil {
		c.records = make(map[string]*SignedRecord)
	}
	c.records[id] = found
	return found
}

// keep forgets all but these.
func (c *Cache) keep(ids []string) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	kept := make(map[string]*SignedRecord, len(ids))
	for _, id := range ids {
		if s := c.records[id]; s != nil {
			kept[id] = s
		}
	}
	c.records = kept
}

// slim drops what says nothing of how a snapshot stands.
func (s *SignedRecord) slim() {
	if s.Record == nil {
		return
	}
	for i := range s.Record.Drills {
		d := &s.Record.Drills[i]
		d.Checks, d.Kubernetes, d.Warnings = nil, nil, nil
	}
}
