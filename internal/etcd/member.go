package etcd

import (
	"context"
	"fmt"
	"strconv"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// Status is what the member says about itself.
type Status struct {
	ClusterID, MemberID uint64
	Revision            int64 // newest revision of its store
	RaftTerm, RaftIndex uint64
	Leader              uint64 // member ID; 0 when it knows none
	IsLearner           bool

	DBSize      int64 // bytes of the file
	DBSizeInUse int64 // bytes of it that hold data
	DBSizeQuota int64 // bytes; 0 before etcd 3.6, which does not tell

	Version        string   // of the server: "3.6.16"
	StorageVersion string   // of the data: "3.6.0"; "" before etcd 3.6
	Errors         []string // alarms and "no leader", in etcd's words
}

// Member is one member of the cluster.
type Member struct {
	ID         uint64
	Name       string // "" until it has started once
	PeerURLs   []string
	ClientURLs []string // none until it has started once
	IsLearner  bool
}

// Hash is a HashKV answer. Two hashes say something about each other only when both revisions are
// equal in both.
type Hash struct {
	Value           uint32
	Revision        int64 // up to which it was computed
	CompactRevision int64 // from which on; -1 where the store was never compacted
}

// Status asks the member for its state. It is answered from memory, without a quorum.
func (c *Client) Status(ctx context.Context) (Status, error) {
	r, err := pb.NewMaintenanceClient(c.awake(ctx)).Status(ctx, &pb.StatusRequest{})
	if err != nil {
		return Status{}, c.explain(ctx, "status", err)
	}
	return Status{
		ClusterID:      r.GetHeader().GetClusterId(),
		MemberID:       r.GetHeader().GetMemberId(),
		Revision:       r.GetHeader().GetRevision(),
		RaftTerm:       r.GetRaftTerm(),
		RaftIndex:      r.GetRaftIndex(),
		Leader:         r.GetLeader(),
		IsLearner:      r.GetIsLearner(),
		DBSize:         r.GetDbSize(),
		DBSizeInUse:    r.GetDbSizeInUse(),
		DBSizeQuota:    r.GetDbSizeQuota(),
		Version:        r.GetVersion(),
		StorageVersion: r.GetStorageVersion(),
		Errors:         r.GetErrors(),
	}, nil
}

// Members lists the cluster as this member knows it. The list is not linearizable: it must be
// there when a quorum is not. A learner refuses it: the error wraps ErrLearner.
func (c *Client) Members(ctx context.Context) ([]Member, error) {
	cluster := pb.NewClusterClient(c.awake(ctx))
	r, err := cluster.MemberList(ctx, &pb.MemberListRequest{Linearizable: false})
	if err != nil {
		return nil, c.explain(ctx, "list members", err)
	}
	members := make([]Member, 0, len(r.GetMembers()))
	for _, m := range r.GetMembers() {
		members = append(members, Member{
			ID:         m.GetID(),
			Name:       m.GetName(),
			PeerURLs:   m.GetPeerURLs(),
			ClientURLs: m.GetClientURLs(),
			IsLearner:  m.GetIsLearner(),
		})
	}
	return members, nil
}

// HashKV asks a member for the hash of its key space at rev; 0 is its newest revision. endpoint ""
// is the client's own member; another one is dialled for this call alone, and not without TLS where the
// client's own endpoint has it.
//
// At the last compaction revision etcd answers from a cache; at any other it scans its store, about
// half a second for each GiB, and other requests wait for that. It needs the root role where etcd
// has users. A learner refuses it: the error wraps ErrLearner. For a revision outside of what the
// member holds it wraps rpctypes.ErrCompacted or rpctypes.ErrFutureRev.
func (c *Client) HashKV(ctx context.Context, endpoint string, rev int64) (Hash, error) {
	if endpoint == "" || endpoint == c.url {
		return c.hashKV(ctx, rev)
	}
	other, err := c.Visit(ctx, endpoint)
	if err != nil {
		return Hash{}, fmt.Errorf("hash of revision %d: %w", rev, err)
	}
	defer func() { _ = other.Close() }() // nothing was written that closing could lose
	return other.hashKV(ctx, rev)
}

// Visit dials another member at a URL that the cluster told. It gets the token of this client and never its
// password, and nothing at all without TLS where this client uses it. The caller closes the client it gets. A visit
// is short: it cannot log in again when the token expires.
func (c *Client) Visit(ctx context.Context, url string) (*Client, error) {
	ep, err := parseEndpoint(url)
	if err != nil {
		return nil, err
	}
	if c.endpoint.tls && !ep.tls {
		return nil, fmt.Errorf("%w: the member advertises %s, without TLS: it is not asked", ErrTLS, url)
	}
	guest, err := c.login.visit(ctx)
	if err != nil {
		return nil, err
	}
	return dial(ctx, c.cfg, guest, url)
}

func (c *Client) hashKV(ctx context.Context, rev int64) (Hash, error) {
	r, err := pb.NewMaintenanceClient(c.awake(ctx)).HashKV(ctx, &pb.HashKVRequest{Revision: rev})
	if err != nil {
		return Hash{}, c.explain(ctx, fmt.Sprintf("hash of revision %d", rev), err)
	}
	h := Hash{Value: r.GetHash(), Revision: r.GetHashRevision(), CompactRevision: r.GetCompactRevision()}
	if h.Revision == 0 { // etcd before 3.6 does not say
		h.Revision = rev
	}
	return h, nil
}

// FormatID writes a cluster or member ID as etcdctl does: lower-case hex, no leading zeros.
func FormatID(id uint64) string { return strconv.FormatUint(id, 16) }
