package members

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/drd-project/drd/internal/etcd"
)

// askTimeout bounds one answer. A cached hash takes milliseconds, a scan of a database that is small some 50.
const askTimeout = 10 * time.Second

// poll is one round of questions.
type poll struct {
	*Watch
	at         time.Time
	own        *etcd.Client
	status     etcd.Status // of the own member
	peers      []*peer     // all members, the own one among them
	compaction int64       // of the Report
}

// peer is one member during a poll.
type peer struct {
	member etcd.Member
	id     string       // in hex
	client *etcd.Client // nil: out of reach
	url    string       // that answered, or was tried last
	status etcd.Status
	fresh  []entry // what it answered in this poll
	why    string  // nothing of it can be compared; "" while nothing is amiss
}

// Poll asks all members once. It is an error when the own member does not answer. When only the log could not be
// written, both the report and an error are returned.
func (w *Watch) Poll(ctx context.Context) (Report, error) {
	own, err := w.cfg.Connect(ctx)
	if err != nil {
		return Report{}, fmt.Errorf("compare members: %w", err)
	}
	p := &poll{Watch: w, at: w.cfg.Now().UTC(), own: own}
	defer p.close()
	if err := p.gather(ctx); err != nil {
		return Report{}, fmt.Errorf("compare members: %w", err)
	}
	logged, err := p.checkHistory(ctx)
	if err == nil {
		err = p.ask(ctx)
	}
	if err != nil {
		return Report{}, fmt.Errorf("compare members: %w", err)
	}
	var fresh []entry
	for _, m := range p.peers {
		fresh = append(fresh, m.fresh...)
	}
	logged = errors.Join(logged, w.cfg.Answers.add(fresh, p.at))
	return p.report(), logged
}

// close ends the connections. Nothing was written that closing could lose.
func (p *poll) close() {
	for _, m := range p.peers {
		if m.client != nil && m.client != p.own {
			_ = m.client.Close()
		}
	}
	_ = p.own.Close()
}

// gather lists the members and connects to each.
func (p *poll) gather(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	var err error
	if p.status, err = p.own.Status(limited); err != nil {
		return err
	}
	list, err := p.own.Members(limited)
	if err != nil {
		return err
	}
	for _, member := range list {
		m := &peer{member: member, id: etcd.FormatID(member.ID)}
		p.peers = append(p.peers, m)
		p.reach(ctx, m)
	}
	return context.Cause(ctx)
}

// reach connects to a member at the URLs that the cluster knows of it.
func (p *poll) reach(ctx context.Context, m *peer) {
	switch {
	case m.member.ID == p.status.MemberID: // by whatever name it was reached
		m.client, m.url, m.status = p.own, p.own.Endpoint(), p.status
	case len(m.member.ClientURLs) == 0:
		m.why = "it has not started yet"
	}
	for _, m.url = range m.member.ClientURLs {
		if m.client != nil {
			break
		}
		client, status, err := p.call(ctx, m)
		if err != nil {
			m.why = oneLine(err.Error())
			continue
		}
		m.client, m.status, m.why = client, status, ""
	}
	if m.why == "" && m.member.IsLearner {
		m.why = "it is a learner, which answers no such question"
	}
}

// call connects to a member at m.url, and makes sure that it is the one.
func (p *poll) call(ctx context.Context, m *peer) (*etcd.Client, etcd.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	client, err := p.own.Visit(ctx, m.url)
	if err != nil {
		return nil, etcd.Status{}, err
	}
	status, err := client.Status(ctx)
	if err == nil && (status.MemberID != m.member.ID || status.ClusterID != p.status.ClusterID) {
		err = fmt.Errorf("at %s answers member %s of cluster %s", m.url, etcd.FormatID(status.MemberID), etcd.FormatID(status.ClusterID))
	}
	if err != nil {
		_ = client.Close() // the first error is what matters
		return nil, etcd.Status{}, err
	}
	return client, status, nil
}

// ask puts the questions that are cheap, all members the same.
func (p *poll) ask(ctx context.Context) error {
	var able []*peer
	small := true
	for _, m := range p.peers {
		if m.client != nil && m.why == "" {
			able = append(able, m)
			small = small && m.status.DBSize < p.cfg.ScanBelow
		}
	}
	if small {
		return p.scan(ctx, able)
	}
	return p.askCaches(ctx, able)
}

// answer keeps what a member said.
func (p *poll) answer(m *peer, h etcd.Hash, compaction bool) {
	m.fresh = append(m.fresh, entry{
		Triple: Triple{
			Member: m.id, Revision: h.Revision, CompactRevision: h.CompactRevision, Hash: h.Value,
			Seen: p.at, EtcdClusterID: etcd.FormatID(m.status.ClusterID),
		},
		Compaction: compaction, Term: m.status.RaftTerm, Index: m.status.RaftIndex,
	})
}

func (m *peer) hash(ctx context.Context, revision int64) (etcd.Hash, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	return m.client.HashKV(ctx, "", revision)
}
