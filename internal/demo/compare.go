package demo

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/drd-project/drd/internal/repo"
)

// errDiffers is the end of a demo in which the cluster that came back is not the one that was lost.
var errDiffers = errors.New("the restored cluster is not the one that was recorded")

// fact is one thing that must be the same before and after.
type fact struct {
	name            string
	recorded, found int64
}

func (f fact) equal() bool { return f.recorded == f.found }

// askRestored asks the running, restored etcd for what the manifest of the snapshot records.
func askRestored(ctx context.Context, client *clientv3.Client, m *repo.Manifest) ([]fact, error) {
	all, err := client.Get(ctx, "\x00", clientv3.WithFromKey(), clientv3.WithCountOnly())
	if err != nil {
		return nil, fmt.Errorf("count the keys: %w", err)
	}
	hash, err := client.HashKV(ctx, client.Endpoints()[0], m.Revision)
	if err != nil {
		return nil, fmt.Errorf("ask for the hash at revision %d: %w", m.Revision, err)
	}
	leases, err := client.Leases(ctx)
	if err != nil {
		return nil, fmt.Errorf("list the leases: %w", err)
	}
	return []fact{
		{"revision", m.Revision, all.Header.Revision},
		{"keys", m.Keys, all.Count},
		{"HashKV", int64(m.HashKV.Hash), int64(hash.Hash)},
		{"compact revision", m.CompactRevision, hash.CompactRevision},
		{"leases", int64(m.Leases), int64(len(leases.Leases))},
	}, nil
}

// compare shows the facts side by side, the recorded ones under a heading that says where they are from, and is an error when one
// of them differs.
func (s *story) compare(recorded string, facts []fact) error {
	rows := [][]string{{"", recorded, "restored, running", ""}}
	var err error
	for _, f := range facts {
		verdict := s.paint(green, "equal")
		if !f.equal() {
			verdict = s.paint(bold, "DIFFERS")
			err = errors.Join(err, fmt.Errorf("%w: %s: recorded %d, found %d", errDiffers, f.name, f.recorded, f.found))
		}
		rows = append(rows, []string{f.name, strconv.FormatInt(f.recorded, 10), strconv.FormatInt(f.found, 10), verdict})
	}
	s.table([]bool{true, false, false, true}, rows)
	return err
}

// comparison says what the live member answered when it was asked for the hash of the snapshot's revision.
func comparison(m *repo.Manifest) (string, error) {
	for _, c := range m.Compared {
		if c.Result != repo.ResultEqual {
			return "", fmt.Errorf("snapshot %s compared with member %s: %s %s", m.ID, c.Member, c.Result, c.Reason)
		}
	}
	if len(m.Compared) == 0 {
		return "", fmt.Errorf("snapshot %s was compared with no member", m.ID)
	}
	return fmt.Sprintf("HashKV %d, and the running etcd says the same", m.HashKV.Hash), nil
}
