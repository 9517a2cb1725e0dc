package survey_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/drd-project/drd/internal/survey"
	"github.com/drd-project/drd/test/servers"
)

// TestSurveyEqualsEtcd is the differential test: after a random history over few keys, what is read from the file is what etcd
// answers, key by key.
func TestSurveyEqualsEtcd(t *testing.T) {
	for _, version := range []string{"3.4", "3.5", "3.6", "3.7"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			client := servers.StartEtcd(t, servers.EtcdConfig{Version: version}).Client(t)
			writeHistory(t, client, rand.New(rand.NewPCG(11, uint64(version[2]))))
			got, err := child(t, "read").File(t.Context(), servers.SaveSnapshot(t, client), 1)
			if err != nil {
				t.Fatal(err)
			}
			compare(t, client, got)
			if got.Keys < 300 || len(got.Samples) != 256 {
				t.Errorf("%d keys, %d samples: too few to mean anything", got.Keys, len(got.Samples))
			}
		})
	}
}

// writeHistory puts, deletes, puts and deletes in one revision, grants and compacts, over 600 keys of several shapes.
func writeHistory(t *testing.T, client *clientv3.Client, random *rand.Rand) {
	t.Helper()
	ctx := t.Context()
	lease, err := client.Grant(ctx, 3600)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3000 {
		key := fmt.Sprintf([]string{"/registry/pods/n/%d", "app/%d", "flat%d", "\x00\xff/%d"}[random.IntN(4)], random.IntN(150))
		var err error
		switch random.IntN(12) {
		case 0, 1:
			_, err = client.Delete(ctx, key)
		case 2:
			_, err = client.Do(ctx, clientv3.OpTxn(nil, []clientv3.Op{
				clientv3.OpTxn(nil, []clientv3.Op{clientv3.OpPut(key, "twice")}, nil),
				clientv3.OpTxn(nil, []clientv3.Op{clientv3.OpDelete(key)}, nil),
			}, nil))
		case 3:
			_, err = client.Put(ctx, key, fmt.Sprint(random.Uint64()), clientv3.WithLease(lease.ID))
		case 4:
			_, err = client.Put(ctx, key, "")
		default:
			_, err = client.Put(ctx, key, fmt.Sprint(random.Uint64()))
		}
		if err != nil {
			t.Fatal(err)
		}
		if i == 1500 {
			compactTo(t, client, 1200)
		}
	}
}

func compactTo(t *testing.T, client *clientv3.Client, revision int64) {
	t.Helper()
	if _, err := client.Compact(t.Context(), revision, clientv3.WithCompactPhysical()); err != nil {
		t.Fatal(err)
	}
}

func compare(t *testing.T, client *clientv3.Client, got *survey.Survey) {
	t.Helper()
	all, err := client.Get(t.Context(), "\x00", clientv3.WithFromKey())
	if err != nil {
		t.Fatal(err)
	}
	var counter survey.Counter
	live := make(map[string]survey.Sample)
	for _, kv := range all.Kvs {
		counter.Add(kv.Key)
		sum := sha256.Sum256(kv.Value)
		live[string(kv.Key)] = survey.Sample{
			Key: kv.Key, CreateRevision: kv.CreateRevision, ModRevision: kv.ModRevision, Version: kv.Version, Lease: kv.Lease,
			ValueSHA256: hex.EncodeToString(sum[:]), ValueSize: int64(len(kv.Value)),
		}
	}
	if got.Keys != int64(len(all.Kvs)) {
		t.Errorf("%d keys, etcd has %d", got.Keys, len(all.Kvs))
	}
	if diff := cmp.Diff(counter.Counts(), got.Prefixes); diff != "" {
		t.Error(diff)
	}
	for _, s := range got.Samples {
		if diff := cmp.Diff(live[string(s.Key)], s); diff != "" {
			t.Error(diff)
		}
	}
	if got.Kubernetes == nil || got.Kubernetes.Resources["pods"] != got.Prefixes["/registry/pods/"] {
		t.Errorf("Kubernetes: %+v", got.Kubernetes)
	}
}

func TestSurveyOfAnEmptyStore(t *testing.T) {
	client := servers.StartEtcd(t, servers.EtcdConfig{}).Client(t)
	got, err := child(t, "read").File(t.Context(), servers.SaveSnapshot(t, client), 1)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&survey.Survey{Prefixes: map[string]int64{}}, got); diff != "" {
		t.Error(diff)
	}
}
