package integration

import (
	"os"
	"strings"
	"testing"

	"github.com/drd-project/drd/test/servers"
)

// TestNodes: the nodes of one cluster, each with a signing key of its own, write to one target. They tell one history, and
// each of them compares its data with the other members'.
func TestNodes(t *testing.T) {
	t.Parallel()
	members := servers.StartEtcdCluster(t, "3.6", 3, func(c *servers.EtcdConfig) { c.Args = patient() })
	st := onMinIO(t)
	var sites []*site
	var trusted strings.Builder
	for _, m := range members {
		s := newSite(t, ofEtcd(m), st)
		signer, err := os.ReadFile(s.trust())
		if err != nil {
			t.Fatal(err)
		}
		trusted.WriteString(strings.Replace(string(signer), "node-1", m.Name(), 1))
		sites = append(sites, s)
	}
	load(t, members[0], "app/", sites[0].value)
	lost := contentOf(t, members[1])
	timelines := make(map[string]bool)
	for i, s := range sites {
		s.more = "trust: {file: " + s.path("trusted") + "}\n"
		writeFile(t, s.path("trusted"), trusted.String())
		s.write(ofEtcd(members[i]))
		m := s.snapshot()
		timelines[m.Timeline] = true
		wantCompared(t, m, lost, len(members))
	}
	if len(timelines) != 1 {
		t.Errorf("the nodes tell several histories: %v", timelines)
	}
	signers := make(map[string]bool)
	for _, item := range sites[2].list(0) {
		signers[item.Signer] = item.State == "ok"
	}
	for _, m := range members {
		if !signers[m.Name()] {
			t.Errorf("no good snapshot by %s is listed: %v", m.Name(), signers)
		}
	}
}

// wantCompared wants the content, and n members that have it too.
func wantCompared(t *testing.T, m manifest, live content, n int) {
	t.Helper()
	if m.Revision != live.Revision || m.HashKV.Hash != live.Hash || len(m.Compared) != n {
		t.Errorf("%+v, want the content %+v and %d comparisons", m, live, n)
	}
	for _, c := range m.Compared {
		if c.Result != "equal" {
			t.Errorf("compared is %+v", m.Compared)
		}
	}
}

// TestTwoAtOnce: two runs on one node take turns, and both make a backup.
func TestTwoAtOnce(t *testing.T) {
	t.Parallel()
	e := servers.StartEtcd(t, servers.EtcdConfig{})
	s := newSite(t, ofEtcd(e), inDirectory(t))
	load(t, e, "app/", s.value)
	runs := []*command{s.start("snapshot", "--json"), s.start("snapshot", "--json"), s.start("snapshot", "--json")}
	ids := make(map[string]bool)
	for _, c := range runs {
		r := s.end(c)
		if r.code != 0 {
			t.Fatal(r)
		}
		ids[decode[snapshotDocument](t, r).Snapshot.ID] = true
	}
	listed := s.list(0)
	if len(ids) != len(runs) || len(listed) != len(runs) {
		t.Errorf("%d runs made %d snapshots, listed are %d", len(runs), len(ids), len(listed))
	}
	for i, item := range listed {
		if first := item.Manifest.Previous == ""; item.State != "ok" || first != (i == 0) {
			t.Errorf("snapshot %d is %s and follows %q", i, item.State, item.Manifest.Previous)
		}
	}
}
