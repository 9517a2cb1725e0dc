package repo

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/drd-project/drd/internal/storage"
)

func TestClusterName(t *testing.T) {
	for _, name := range []string{"a", "0", "prod-east", "k8s.example.org", "a_b", strings.Repeat("x", 63)} {
		if err := ValidClusterName(name); err != nil {
			t.Error(err)
		}
	}
	for _, name := range []string{"", "-a", ".", "..", ".hidden", "a..b", "A", "a/b", "a b", "ä", "a\n", strings.Repeat("x", 64)} {
		if err := ValidClusterName(name); err == nil {
			t.Errorf("%q is taken for a cluster's name", name)
		}
		if _, err := Open(newMemory(), name); err == nil {
			t.Errorf("Open takes the name %q", name)
		}
	}
	wantError(t, ValidClusterName("Prod"), `"Prod"`, "a-z")
}

func TestKeys(t *testing.T) {
	m := newMemory()
	r := open(t, m)
	id := at(0, 5, memberB)
	for got, want := range map[string]string{
		r.PayloadKey(id, "snapshot.db.zst.age"): "prod-east/snapshots/20261122T100000Z-r5-b1/snapshot.db.zst.age",
		r.ManifestKey(id):                       "prod-east/snapshots/20261122T100000Z-r5-b1/manifest.json",
		r.SignatureKey(id):                      "prod-east/snapshots/20261122T100000Z-r5-b1/manifest.json.sig",
	} {
		if got != want {
			t.Errorf("key %s, want %s", got, want)
		}
		if err := storage.CheckKey(got); err != nil {
			t.Error(err)
		}
	}
	if r.Cluster() != testCluster || r.Bucket() != storage.Bucket(m) {
		t.Error("the repository forgot what it was opened with")
	}
}

func TestClusters(t *testing.T) {
	m := newMemory()
	for _, key := range []string{
		"README", "prod/snapshots/x/manifest.json", "prod/archive/t/1", "prod-2/snapshots/y", "UPPER/snapshots/x",
		"other/data", "archived/archive/t/1", "zebra/snapshotsx/1",
	} {
		m.set(key, nil)
	}
	got, complete, err := Clusters(t.Context(), m)
	if err != nil || !complete {
		t.Fatal(complete, err)
	}
	if diff := cmp.Diff([]string{"prod-2", "prod"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestClustersStaysCheap(t *testing.T) {
	m := newMemory()
	for id := at(0, 1, memberB); id.Revision <= 2*clusterScan; id.Revision++ {
		m.set("busy/archive/t/"+id.String(), nil)
	}
	m.set("busy/snapshots/x", nil)
	m.set("next/snapshots/x", nil) // too far away to be found
	listed := 0
	m.fault = func(string, string) error { listed++; return nil }
	got, complete, err := Clusters(t.Context(), m)
	if err != nil || complete {
		t.Fatal("complete:", complete, err)
	}
	if diff := cmp.Diff([]string{"busy"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if listed > clusterScan+10 {
		t.Errorf("%d keys were listed", listed)
	}
}

func TestClustersReportsAFailingListing(t *testing.T) {
	m := newMemory()
	m.set("prod/snapshots/x", nil)
	for _, failAt := range []int{1, 2} { // the bucket's listing, the cluster's
		calls := 0
		m.fault = func(string, string) error {
			if calls++; calls == failAt {
				return storage.ErrDenied
			}
			return nil
		}
		if _, _, err := Clusters(t.Context(), m); !errors.Is(err, storage.ErrDenied) {
			t.Errorf("call %d: error is %v", failAt, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	m.fault = nil
	if _, _, err := Clusters(ctx, m); !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v", err)
	}
}
