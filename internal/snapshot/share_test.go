package snapshot

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	bolt "go.etcd.io/bbolt"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/server/v3/storage/mvcc"
	"google.golang.org/protobuf/proto"
)

// TestHashKVInShares: a store whose keys do not fit the scan's memory gives the same answer in several scans.
func TestHashKVInShares(t *testing.T) {
	db, err := bolt.Open(filepath.Join(t.TempDir(), "db"), 0o600, &bolt.Options{NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	const keys, revisions = 400, 3000
	err = db.Update(func(tx *bolt.Tx) error {
		b, err := tx.CreateBucket([]byte("key"))
		if err != nil {
			return err
		}
		for rev := int64(2); rev < revisions; rev++ {
			kv := &mvccpb.KeyValue{Key: fmt.Appendf(nil, "key-%d", rev*7919%keys), Value: fmt.Append(nil, rev), ModRevision: rev, Lease: rev % 5}
			v, err := proto.Marshal(kv)
			if err != nil {
				return err
			}
			k := mvcc.RevToBytes(mvcc.Revision{Main: rev}, mvcc.NewRevBytes())
			if rev%11 == 0 {
				k = append(k, 't')
			}
			if err := b.Put(k, v); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	hash := func(maxSeen int) (h Hash) {
		err := db.View(func(tx *bolt.Tx) (err error) {
			h, err = hashKV(context.Background(), tx, revisions-100, revisions-500, maxSeen)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	want := hash(maxSeenKeys)
	if want.Keys < keys/2 || want.Entries != revisions-101 || len(want.Leases) != 4 {
		t.Fatalf("the test's store is not what it should be: %+v", want)
	}
	for _, maxSeen := range []int{1, 7, 50, 399, 400} {
		if diff := cmp.Diff(want, hash(maxSeen)); diff != "" {
			t.Errorf("with room for %d keys: %s", maxSeen, diff)
		}
	}
}
