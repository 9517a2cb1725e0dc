package past

import (
	"fmt"

	"github.com/drd-project/drd/internal/mvcc"
)

// diff tells every key that is not what it was at q.From.
func (s *store) diff(q query) error {
	if q.From < s.facts.CompactRevision {
		return fmt.Errorf("the store is compacted at revision %d: what happened after %d is not all there", s.facts.CompactRevision, q.From)
	}
	return s.eachLot(q, maxKeys, maxKeyBytes, func(l *lot) error {
		if q.Values {
			if err := s.lookBefore(l, q); err != nil {
				return err
			}
		}
		for _, key := range l.sorted() {
			if err := s.tell(l.keys[key], q.Values); err != nil {
				return err
			}
		}
		return nil
	})
}

// lookBefore finds the values that the keys of a lot had before.
func (s *store) lookBefore(l *lot, q query) error {
	return s.each(q.Selection, 0, q.From, func(p mvcc.Position, kv mvcc.KeyValue) error {
		if known, ok := l.keys[string(kv.Key)]; ok && known.existed && !p.Tombstone {
			known.before = p
		}
		return nil
	})
}

func (s *store) tell(f *fate, values bool) error {
	if !f.existed && f.last.Tombstone {
		s.facts.CameAndWent++
		return nil
	}
	last, err := s.at(f.last)
	if err != nil {
		return err
	}
	d := &Difference{Fate: Changed, Last: *newChange(f.last, last, values), Changes: f.changes}
	switch {
	case !f.existed:
		d.Fate = Created
	case f.last.Tombstone:
		d.Fate = Deleted
	}
	if f.before.Main > 0 {
		before, err := s.at(f.before)
		if err != nil {
			return err
		}
		d.Before = before.Value
	}
	s.facts.Found++
	return s.say(message{Difference: d})
}
