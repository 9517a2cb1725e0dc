package members

import (
	"context"

	"github.com/drd-project/drd/internal/etcd"
)

// checkHistory clears the log when it tells of another history than the members have now: of another cluster, or of one
// that was since restored to an older state, where the same revisions have other content. logged is that the log
// could not be cleared on disk.
func (p *poll) checkHistory(ctx context.Context) (logged, err error) {
	last := make(map[string]entry)
	other := false
	for _, e := range p.cfg.Answers.all() {
		last[e.Member] = e
		other = other || e.EtcdClusterID != etcd.FormatID(p.status.ClusterID)
	}
	for _, m := range p.peers {
		e, known := last[m.id]
		if other || !known || m.client == nil || !behind(m.status, e) {
			continue
		}
		if other, err = p.staysBehind(ctx, m, e); err != nil {
			return nil, err
		}
	}
	if !other {
		return nil, nil
	}
	p.cfg.Log.Info("the cluster has another history than before: what its members said is forgotten", "cluster_id", etcd.FormatID(p.status.ClusterID))
	p.compactions = nil
	return p.cfg.Answers.clear(), nil
}

// behind says whether a member is not as far as it was.
func behind(s etcd.Status, e entry) bool {
	return s.RaftTerm < e.Term || s.RaftIndex < e.Index || s.Revision < e.Revision
}

// staysBehind looks once more, a little later: a member that has just started is behind until its leader has told it how far
// the cluster is, and for as long as it has no leader.
func (p *poll) staysBehind(ctx context.Context, m *peer, e entry) (bool, error) {
	if err := pause(ctx, p.cfg.Confirm); err != nil {
		return false, err
	}
	limited, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	status, err := m.client.Status(limited)
	if err != nil {
		m.why = oneLine(err.Error())
		return false, nil
	}
	m.status = status
	if status.Leader == 0 {
		m.why = "it has started and found no leader yet"
		return false, nil
	}
	return behind(status, e), nil
}
