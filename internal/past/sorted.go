package past

import (
	"bytes"
	"maps"
	"slices"

	"github.com/drd-project/drd/internal/mvcc"
)

const (
	// maxKeys and maxKeyBytes bound how many keys are sorted at a time, and their bytes together: some 100 MiB with what is kept
	// of each. A store with more of them is read once for each lot.
	maxKeys     = 1 << 18
	maxKeyBytes = 64 << 20
)

// fate is what is known of one key.
type fate struct {
	existed bool          // before the range
	last    mvcc.Position // in the range
	before  mvcc.Position // the last put before the range; zero: not looked for, or none
	changes int64
}

// lot is a piece of the sorted keys: those that follow after, as many as fit.
type lot struct {
	after    []byte // nil: from the beginning
	upTo     string // no key beyond it is taken any more; "": any is
	keys     map[string]*fate
	bytes    int
	maxKeys  int
	maxBytes int
}

// eachLot reads the range once for every lot and hands the lot, complete, to f.
func (s *store) eachLot(q query, maxKeys, maxBytes int, f func(l *lot) error) error {
	l := &lot{maxKeys: maxKeys, maxBytes: maxBytes}
	for {
		l.keys, l.bytes, l.upTo = make(map[string]*fate), 0, ""
		err := s.each(q.Selection, q.From, q.To, func(p mvcc.Position, kv mvcc.KeyValue) error {
			l.add(p, kv, q.From)
			return nil
		})
		if err == nil {
			err = f(l)
		}
		if err != nil || l.upTo == "" {
			return err
		}
		l.after = []byte(l.upTo)
	}
}

func (l *lot) add(p mvcc.Position, kv mvcc.KeyValue, from int64) {
	if l.after != nil && bytes.Compare(kv.Key, l.after) <= 0 || l.upTo != "" && string(kv.Key) > l.upTo {
		return
	}
	known, ok := l.keys[string(kv.Key)]
	if !ok {
		// A key that is deleted was there. One that is put was there before unless it was created in the range.
		known = &fate{existed: p.Tombstone || kv.CreateRevision <= from}
		l.keys[string(kv.Key)] = known
		l.bytes += len(kv.Key)
	}
	known.last = p
	known.changes++
	if len(l.keys) > l.maxKeys && len(l.keys) > 1 || l.bytes > l.maxBytes && len(l.keys) > 1 {
		l.shrink()
	}
}

// shrink leaves the first half. A key that is taken away lies beyond upTo and does not come back: what is known of the others is
// complete.
func (l *lot) shrink() {
	sorted := l.sorted()
	kept := sorted[:len(sorted)/2]
	for _, key := range sorted[len(kept):] {
		l.bytes -= len(key)
		delete(l.keys, key)
	}
	l.upTo = kept[len(kept)-1]
}

func (l *lot) sorted() []string { return slices.Sorted(maps.Keys(l.keys)) }

// extract tells every key that is alive at q.To.
func (s *store) extract(q query) error {
	return s.eachLot(q, maxKeys, maxKeyBytes, func(l *lot) error {
		for _, key := range l.sorted() {
			p := l.keys[key].last
			if p.Tombstone {
				continue
			}
			kv, err := s.at(p)
			if err != nil {
				return err
			}
			s.facts.Found++
			if err := s.say(message{Change: newChange(p, kv, true)}); err != nil {
				return err
			}
		}
		return nil
	})
}
