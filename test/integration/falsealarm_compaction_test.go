package integration

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/drd-project/drd/internal/drill"
	"github.com/drd-project/drd/test/program"
	"github.com/drd-project/drd/test/servers"
)

// TestNoFalseAlarmAmidCompaction: a snapshot holds what a compaction has not removed yet, and the etcd that is started on it
// goes on with that. Where no key is live, etcd's hash is of whatever is still there, and another one a moment later.
func TestNoFalseAlarmAmidCompaction(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*testing.T, *clientv3.Client) (second int64){
		"keys at all times": func(t *testing.T, client *clientv3.Client) int64 {
			putMany(t, client, 1, "x")
			return putMany(t, client, 1, "y")
		},
		"no key in the end": deleteEverything,
		"no key when the members were asked": func(t *testing.T, client *clientv3.Client) int64 {
			second := deleteEverything(t, client)
			putMany(t, client, 1, "x")
			return second
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			amidCompaction(t, change)
		})
	}
}

// amidCompaction takes a snapshot while an etcd compacts, lets that one and a second compaction end, and drills the snapshot
// against what the member says of the second.
func amidCompaction(t *testing.T, change func(*testing.T, *clientv3.Client) (second int64)) {
	// Two thousand entries, ten every 150 ms: half a minute, while a snapshot takes less than a second where nothing else uses the machine.
	e := servers.StartEtcd(t, servers.EtcdConfig{Version: "3.6", Args: []string{"--compaction-batch-limit=10", "--compaction-sleep-interval=150ms"}})
	s, client := newSite(t, ofEtcd(e), inDirectory(t)), e.Client(t)
	f := newFalseAlarms(s, e)
	var first int64
	for i := range 20 {
		first = putMany(t, client, 100, fmt.Sprintf("%s %d", s.value, i))
	}
	second := change(t, client)
	ended := make(chan error, 1)
	go func() { ended <- compact(t, client, first) }()
	program.Eventually(t, time.Minute, func() error { return compacted(t, client, first) })
	m := s.snapshot()
	select {
	case err := <-ended:
		t.Fatalf("the compaction ended before the snapshot, this shows nothing: %v", err)
	default:
	}
	// A member has the hash of a compaction that began after the one before had ended, and is asked when the next one has
	// superseded it.
	for _, err := range []error{<-ended, compact(t, client, second), compact(t, client, putMany(t, client, 1, "z"))} {
		if err != nil {
			t.Fatal(err)
		}
	}
	program.Eventually(t, time.Minute, func() error {
		if !slices.ContainsFunc(f.covering(m.Revision, m.CompactRevision), func(h drill.Triple) bool { return h.Revision == second }) {
			return errors.New("the member has not been asked about its second compaction")
		}
		return nil
	})
	if f.drill(m); f.given == 0 {
		t.Error("the drill was given no hash of the member")
	}
}

// compact returns when everything is removed.
func compact(t *testing.T, client *clientv3.Client, revision int64) error {
	_, err := client.Compact(t.Context(), revision, clientv3.WithCompactPhysical())
	return err
}

// compacted is an error until a compaction has begun: from then on what is before it cannot be read.
func compacted(t *testing.T, client *clientv3.Client, revision int64) error {
	if _, err := client.Get(t.Context(), "x", clientv3.WithRev(revision-1)); !errors.Is(err, rpctypes.ErrCompacted) {
		return fmt.Errorf("revision %d is not compacted: %v", revision-1, err)
	}
	return nil
}

// putMany puts n keys in one revision, and returns it.
func putMany(t *testing.T, client *clientv3.Client, n int, value string) int64 {
	t.Helper()
	var puts []clientv3.Op
	for i := range n {
		puts = append(puts, clientv3.OpPut(fmt.Sprintf("many/%03d", i), value))
	}
	answer, err := client.Txn(t.Context()).Then(puts...).Commit()
	if err != nil {
		t.Fatal(err)
	}
	return answer.Header.Revision
}

// deleteEverything does so in one revision, and returns it.
func deleteEverything(t *testing.T, client *clientv3.Client) int64 {
	t.Helper()
	answer, err := client.Delete(t.Context(), "\x00", clientv3.WithFromKey())
	if err != nil {
		t.Fatal(err)
	}
	return answer.Header.Revision
}
