package members

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/drd-project/drd/internal/etcd"
)

// scan has small databases hashed at the newest revision that all members have.
//
// Where the members differ they are asked once more, a little later: while a compaction removes what it found, the hash of
// an empty key space changes, and in old versions that of a deletion at the compacted revision.
func (p *poll) scan(ctx context.Context, able []*peer) error {
	revision := int64(math.MaxInt64)
	for _, m := range able {
		revision = min(revision, m.status.Revision)
	}
	first := hashAll(ctx, able, revision)
	if differ(first) {
		if err := pause(ctx, p.cfg.Confirm); err != nil {
			return err
		}
		second := hashAll(ctx, able, revision)
		for m, h := range first {
			if again, ok := second[m]; ok && again != h {
				m.why = fmt.Sprintf("its hash at revision %d changed between two questions: a compaction is under way", revision)
			}
			if m.why != "" {
				delete(first, m)
			}
		}
	}
	if differ(first) || p.contradict(first) {
		leaveEmpty(ctx, first, revision)
	}
	for m, h := range first {
		p.answer(m, h, false)
	}
	return context.Cause(ctx)
}

// hashAll asks one member after the other: they must not all scan at the same moment. Who does not answer gets its why.
func hashAll(ctx context.Context, able []*peer, revision int64) map[*peer]etcd.Hash {
	hashes := make(map[*peer]etcd.Hash)
	for _, m := range able {
		h, err := m.hash(ctx, revision)
		if err != nil {
			m.why = oneLine(err.Error())
			continue
		}
		hashes[m] = h
	}
	return hashes
}

// differ says whether two hashes that are comparable are not equal.
func differ(hashes map[*peer]etcd.Hash) bool {
	byPair := make(map[pair]uint32)
	for _, h := range hashes {
		key := pair{h.Revision, h.CompactRevision}
		if other, ok := byPair[key]; ok && other != h.Value {
			return true
		}
		byPair[key] = h.Value
	}
	return false
}

// contradict says whether a member has answered something else before.
func (p *poll) contradict(hashes map[*peer]etcd.Hash) bool {
	for m, h := range hashes {
		if p.cfg.Answers.contradicts(m.id, h) {
			return true
		}
	}
	return false
}

// leaveEmpty drops all hashes when no member has a live key at revision: what etcd hashes then depends on how far each has
// come with removing what was compacted.
func leaveEmpty(ctx context.Context, hashes map[*peer]etcd.Hash, revision int64) {
	for m := range hashes {
		limited, cancel := context.WithTimeout(ctx, askTimeout)
		empty, err := m.client.Empty(limited, revision)
		cancel()
		if err != nil {
			m.why = oneLine(err.Error())
			delete(hashes, m)
			continue
		}
		if !empty {
			return
		}
	}
	for m := range hashes {
		m.why = fmt.Sprintf("no key is live at revision %d", revision)
	}
	clear(hashes)
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
