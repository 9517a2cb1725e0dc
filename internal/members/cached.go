package members

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/drd-project/drd/internal/disk"
	"github.com/drd-project/drd/internal/etcd"
)

const (
	// maxCompactions is how many compactions are remembered: as many as etcd keeps hashes of (hashStorageMaxSize).
	maxCompactions = 10
	// maxSuperseded is how many of them a member is asked about in one poll.
	maxSuperseded = 3
)

// notice remembers a compaction. One below the newest means that history was replaced.
func (w *Watch) notice(revision int64, at time.Time) {
	n := len(w.compactions)
	switch {
	case n > 0 && w.compactions[n-1].revision == revision:
		return
	case n > 0 && w.compactions[n-1].revision > revision:
		w.compactions = nil
	}
	w.compactions = append(w.compactions, compaction{revision, at})
	w.compactions = w.compactions[max(0, len(w.compactions)-maxCompactions):]
}

// askCaches asks for the hashes of compactions that members keep in memory, and for nothing that they would scan for.
func (p *poll) askCaches(ctx context.Context, able []*peer) error {
	newest, err := p.findCompaction(ctx)
	if err != nil {
		for _, m := range able {
			m.why = oneLine(err.Error())
		}
		return context.Cause(ctx)
	}
	for _, m := range able {
		switch {
		case newest == etcd.NeverCompacted:
			m.why = fmt.Sprintf("it was never compacted, and its database of %s is too large to be scanned", disk.Size(m.status.DBSize))
		case !etcd.KeepsHashes(m.status.Version):
			m.why = fmt.Sprintf("etcd %s keeps no hashes of compactions, and its database of %s is too large to be scanned",
				oneLine(m.status.Version), disk.Size(m.status.DBSize))
		default:
			p.askCache(ctx, m)
		}
	}
	return context.Cause(ctx)
}

// findCompaction learns the newest compaction from the own member.
func (p *poll) findCompaction(ctx context.Context) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	var known int64
	if n := len(p.compactions); n > 0 {
		known = p.compactions[n-1].revision
	}
	newest, err := p.own.CompactRevision(ctx, known)
	if err != nil {
		return 0, err
	}
	p.compaction = newest
	if newest != etcd.NeverCompacted {
		p.notice(newest, p.at)
	}
	return newest, nil
}

// askCache asks one member about the compactions it has not told of yet.
func (p *poll) askCache(ctx context.Context, m *peer) {
	n := len(p.compactions) - 1
	newest, superseded := p.compactions[n], p.compactions[:n]
	told := p.askSuperseded(ctx, m, superseded)
	if m.why != "" || p.cfg.Answers.knows(m.id, newest.revision) || p.at.Sub(newest.noticed) < p.cfg.Settle {
		return
	}
	// A cache that holds the compaction before holds this one too, for it goes as a whole when the member restarts.
	// Without that certainty the member might scan its store for the answer.
	var err error
	switch {
	case n == 0:
		err = fmt.Errorf("it is asked about its compaction at %d after the next one", newest.revision)
	case !told:
		_, err = m.superseded(ctx, superseded[n-1].revision)
	}
	var h etcd.Hash
	if err == nil {
		h, err = m.newest(ctx, newest.revision)
	}
	if err != nil {
		m.why = oneLine(err.Error())
		return
	}
	p.answer(m, h, true)
}

// askSuperseded asks about the compactions after those that the member has told of, the newest first. It says whether
// that one was answered now.
func (p *poll) askSuperseded(ctx context.Context, m *peer, superseded []compaction) (told bool) {
	for asked := range min(len(superseded), maxSuperseded) {
		c := superseded[len(superseded)-1-asked]
		if p.cfg.Answers.knows(m.id, c.revision) {
			break
		}
		h, err := m.superseded(ctx, c.revision)
		switch {
		case err == nil:
			told = told || asked == 0
			p.answer(m, h, true)
		case m.why == "":
			m.why = oneLine(err.Error())
		}
	}
	return told
}

// errForgotten is wrapped when a member has no hash of a compaction in memory.
var errForgotten = errors.New("it does not remember its hash: it is still at it, or has restarted since")

// superseded asks for the hash of a compaction that is not the member's last one. What etcd does not have in memory it
// refuses, because that revision is gone.
func (m *peer) superseded(ctx context.Context, revision int64) (etcd.Hash, error) {
	return m.cached(ctx, revision, revision)
}

// newest asks for the hash of a compaction that is known to be in the member's memory, if the member has come as far.
func (m *peer) newest(ctx context.Context, revision int64) (etcd.Hash, error) {
	return m.cached(ctx, revision, revision-1)
}

// cached asks for the hash of the compaction at revision, provided that gone, a revision, is compacted away already.
func (m *peer) cached(ctx context.Context, revision, gone int64) (etcd.Hash, error) {
	limited, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	done, err := m.client.Compacted(limited, gone)
	if (err == nil && !done) || errors.Is(err, rpctypes.ErrFutureRev) {
		return etcd.Hash{}, fmt.Errorf("it lags behind: revision %d is not compacted yet", gone)
	}
	if err != nil {
		return etcd.Hash{}, err
	}
	h, err := m.hash(ctx, revision)
	// The first versions with a cache gave the hash of the next compaction when they did not have this one.
	if errors.Is(err, rpctypes.ErrCompacted) || (err == nil && (h.Revision != revision || h.CompactRevision >= revision)) {
		return etcd.Hash{}, fmt.Errorf("compaction at revision %d: %w", revision, errForgotten)
	}
	return h, err
}
