package archive

import (
	"errors"
	"fmt"

	"github.com/drd-project/drd/internal/mvcc"
)

// grammar is what a stream must keep to: Writer and Reader judge by it alone, so that each refuses what the other could not
// have written.
type grammar struct {
	first   int64
	at      mvcc.Position // of the last entry; Main is first-1 before the first one
	entries int64
	second  int64 // of the last stamp, 0: none yet
	late    bool  // the last stamp
	stamped bool  // the record before was a stamp
	leases  map[int64]int64
}

func newGrammar(first int64) grammar {
	return grammar{first: first, at: mvcc.Position{Main: first - 1}, leases: make(map[int64]int64)}
}

func (g *grammar) stamp(s Stamp) error {
	second := s.Time.Unix()
	if second <= g.second || second > maxSecond || g.stamped {
		return fmt.Errorf("stamp %d after %d", second, g.second)
	}
	g.second, g.late, g.stamped = second, s.Late, true
	return nil
}

func (g *grammar) lease(l Lease) error {
	old, known := g.leases[l.ID]
	switch {
	case g.stamped:
		return errors.New("a lease between a stamp and its revision")
	case l.ID < 1 || l.TTL < 0:
		return fmt.Errorf("lease %d of %d seconds", l.ID, l.TTL)
	case known && old == l.TTL:
		return fmt.Errorf("lease %x twice", l.ID)
	case len(g.leases) >= MaxLeases:
		return fmt.Errorf("more than %d leases", MaxLeases)
	}
	g.leases[l.ID] = l.TTL
	return nil
}

func (g *grammar) entry(e mvcc.Entry) error {
	switch {
	case e.Main < g.first || !e.Follows(g.at) || (g.entries == 0 && e.Sub != 0):
		return fmt.Errorf("%w: %s after %s", mvcc.ErrGap, e.Position, g.at)
	case g.second == 0:
		return fmt.Errorf("revision %s before any stamp", e.Position)
	case g.stamped && e.Sub != 0:
		return fmt.Errorf("a stamp within revision %d", e.Main)
	case len(e.Value) > MaxValue:
		return fmt.Errorf("revision %s: a value of %d bytes, at most %d", e.Position, len(e.Value), MaxValue)
	}
	if err := g.value(e); err != nil {
		return fmt.Errorf("revision %s: %w", e.Position, err)
	}
	g.at, g.stamped = e.Position, false
	g.entries++
	return nil
}

// value checks what etcd cannot have stored, and that the lease is known.
func (g *grammar) value(e mvcc.Entry) error {
	kv, err := mvcc.ParseValue(e.Value)
	switch {
	case err != nil:
		return err
	case len(kv.Key) == 0:
		return errors.New("a change of no key")
	case e.Tombstone:
		if kv.CreateRevision != 0 || kv.ModRevision != 0 || kv.Version != 0 || kv.Lease != 0 || len(kv.Value) != 0 {
			return errors.New("a deletion with more than a key")
		}
		return nil
	case kv.ModRevision != e.Main || kv.CreateRevision < 1 || kv.CreateRevision > e.Main || kv.Version < 1:
		return fmt.Errorf("a key of revision %d, created at %d, version %d", kv.ModRevision, kv.CreateRevision, kv.Version)
	}
	if _, known := g.leases[kv.Lease]; kv.Lease != 0 && !known {
		return fmt.Errorf("lease %x was not told", kv.Lease)
	}
	return nil
}
