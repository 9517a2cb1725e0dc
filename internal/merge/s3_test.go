package merge

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/drd-project/drd/internal/s3"
	"github.com/drd-project/drd/test/servers"
)

// TestMinIO makes a pass in a bucket of a real server.
func TestMinIO(t *testing.T) {
	server := servers.StartMinIO(t, servers.WithCA(servers.NewCA(t)))
	server.CreateBucket(t, "archive", false)
	b, err := s3.Open(t.Context(), s3.Config{
		Bucket: "archive", Prefix: "etcd", Region: server.Region, Endpoint: server.Endpoint, CAFile: server.CAFile, PathStyle: true,
		CredentialsFile: server.CredentialsFile, PartSize: 5 << 20,
	})
	if err != nil {
		t.Fatal(err)
	}
	n := nodeIn(t, b)
	n.hours(3)
	before := n.told()
	m := n.merger(n.at)
	if done := n.pass(m); done.Merged != 2 || done.Sources != 12 {
		t.Errorf("%+v", done)
	}
	n.prune()
	if want := "2-13* 14-25* 26-25 26-27 28-31 32-31 32-33 34-37"; n.left() != want || len(n.listed()) != 8 {
		t.Errorf("left are %s, want %s", n.left(), want)
	}
	if diff := cmp.Diff(before, n.told()); diff != "" {
		t.Errorf("changes (-before +after):\n%s", diff)
	}
	if done := n.pass(m); done.Merged > 0 {
		t.Errorf("again: %+v", done)
	}
}
