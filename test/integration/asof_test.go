package integration

import (
	"slices"
	"testing"
	"time"

	"github.com/drd-project/drd/test/servers"
)

// TestAsOf: somebody with all rights deletes one snapshot from a versioned bucket and writes over another. Now the bucket is
// damaged; as of a time before it is not, and restores to what was recorded then.
func TestAsOf(t *testing.T) {
	t.Parallel()
	e := servers.StartEtcd(t, servers.EtcdConfig{})
	minio := servers.StartMinIO(t)
	minio.CreateBucket(t, "versioned", true) // Object Lock, without retention: the bucket keeps versions
	st := &bucket{server: minio.S3, client: minio.Client(t), name: "versioned"}
	s := newSite(t, ofEtcd(e), st)
	load(t, e, "app/", s.value)
	deleted := s.snapshot()
	write(t, e.Client(t), "more/", s.value, 5)
	lost := contentOf(t, e)
	forged := s.snapshot()
	write(t, e.Client(t), "later/", s.value, 5)
	kept := s.snapshot()
	// Some stores keep whole seconds.
	time.Sleep(1100 * time.Millisecond)
	before := time.Now().UTC().Format(time.RFC3339)
	time.Sleep(1100 * time.Millisecond)

	for _, name := range []string{"manifest.json", "manifest.json.sig", deleted.Object.Name} {
		st.remove(t, objectOf(deleted.ID, name))
	}
	st.put(t, objectOf(forged.ID, forged.Object.Name), []byte("forged"))

	states := func(flags ...string) map[string]string {
		found := map[string]string{}
		for _, item := range s.list(0, flags...) {
			found[item.ID] = item.State
		}
		return found
	}
	if got := states(); len(got) != 2 || got[forged.ID] != "payload-size" || got[kept.ID] != "ok" {
		t.Errorf("now: %v", got)
	}
	s.fails(1, "restore", "--yes", "--id", forged.ID, "--identity", s.identity(), "--output", s.path("now.db")).wants(t, "payload-size")
	s.fails(4, "restore", "--yes", "--id", deleted.ID, "--identity", s.identity(), "--output", s.path("now.db"))
	wantNothing(t, s.path("now.db"))

	for _, flags := range [][]string{{"--as-of", before}, append(s.elsewhere(st), "--as-of", before)} {
		if got := states(flags...); len(got) != 3 || got[deleted.ID] != "ok" || got[forged.ID] != "ok" || got[kept.ID] != "ok" {
			t.Errorf("as of %s: %v", before, got)
		}
	}
	for _, m := range []manifest{deleted, forged, kept} {
		if doc := s.wantRestorable(st, m.ID, "--as-of", before); doc.Facts.HashKV != m.HashKV.Hash || doc.Facts.Revision != m.Revision {
			t.Errorf("%s restores to %+v, recorded is %+v", m.ID, doc.Facts, m.HashKV)
		}
	}
	m := s.newMember("m")
	s.must(slices.Concat([]string{"restore", "--yes", "--id", forged.ID, "--identity", s.identity(), "--as-of", before}, m.flags())...)
	wantContent(t, m.start(t, e.Version()), lost)
	if got := states(); len(got) != 2 {
		t.Errorf("looking back has changed the bucket: %v", got)
	}

	s.fails(2, "list", "--as-of", "yesterday").wants(t, "is not a time")
	s.fails(1, append([]string{"list", "--as-of", before}, s.elsewhere(inDirectory(t))...)...).wants(t, "only a bucket keeps versions")
}
