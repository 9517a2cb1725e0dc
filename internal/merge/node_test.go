package merge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/drd-project/drd/internal/archive"
	"github.com/drd-project/drd/internal/mvcc"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/seal"
	"github.com/drd-project/drd/internal/seal/sealtest"
	"github.com/drd-project/drd/internal/storage"
	"github.com/drd-project/drd/internal/storage/dir"
)

const timeline = "00000000000000a1"

// begin is the first instant of an archive: shortly before midnight of a day that is over, as the target's clock sees it.
var begin = time.Now().UTC().Truncate(24 * time.Hour).Add(-2*24*time.Hour - 300*time.Millisecond)

// node is a member with an archive, and the target into which that goes.
type node struct {
	t      *testing.T
	keys   *sealtest.Keys
	repo   *repo.Repository
	root   string // of the directory, "": it is none
	member string

	next int64     // revision
	at   time.Time // up to which the archive is
	line string
	last *repo.SignedSegment
	// sign changes what is signed next; nil: nothing does.
	sign func(*repo.Segment)
}

func newNode(t *testing.T) *node {
	t.Helper()
	root := t.TempDir()
	b, err := dir.Open(root, dir.Options{})
	if err != nil {
		t.Fatal(err)
	}
	n := nodeIn(t, b)
	n.root = root
	return n
}

func nodeIn(t *testing.T, b storage.Bucket) *node {
	t.Helper()
	n := &node{t: t, keys: sealtest.New(t), member: "8e9e", next: 2, at: begin, line: timeline}
	n.open(b)
	return n
}

func (n *node) open(b storage.Bucket) {
	n.t.Helper()
	r, err := repo.Open(b, "prod-east")
	if err != nil {
		n.t.Fatal(err)
	}
	n.repo = r
}

// write archives some revisions that were seen in a span of time. None is a silence.
func (n *node) write(revisions int, d time.Duration) *repo.Segment {
	n.t.Helper()
	draft, err := archive.Begin(n.t.TempDir(), n.keys.Recipients, n.next)
	if err != nil {
		n.t.Fatal(err)
	}
	from := n.at
	n.at = from.Add(d)
	for i := range revisions {
		draft.Stamp(from.Add(d * time.Duration(i) / time.Duration(revisions)))
		draft.Lease(7, 60)
		e := mvcc.FromEvent(&mvccpb.Event{Kv: &mvccpb.KeyValue{
			Key: fmt.Appendf(nil, "k%d", n.next%7), Value: []byte("v"), CreateRevision: n.next, ModRevision: n.next, Version: 1, Lease: 7,
		}}, 0)
		if err := draft.Append(e); err != nil {
			n.t.Fatal(err)
		}
		n.next++
	}
	facts := archive.Facts{
		Cluster: n.repo.Cluster(), EtcdClusterID: "cdf8", Timeline: n.line, Member: repo.Member{ID: n.member, Name: "node-1"},
		From: from, To: n.at, CompactRevision: -1, Build: repo.Build{Version: "test"},
	}
	if n.last != nil {
		facts.Previous, facts.LastRevisionSHA256 = n.last.Digest(), n.last.Segment.LastRevisionSHA256
	}
	sealed, err := draft.Finish(facts)
	if err != nil {
		n.t.Fatal(err)
	}
	return n.store(sealed)
}

func (n *node) store(sealed *archive.Sealed) *repo.Segment {
	n.t.Helper()
	if n.sign != nil {
		n.sign(sealed.Segment)
		n.sign = nil
	}
	signed, err := repo.SignSegment(sealed.Segment, n.keys.Signer)
	if err == nil {
		err = n.keys.Ring.Append(n.repo.SegmentPayloadKey(signed.Segment), sealed.Key)
	}
	if err == nil {
		err = n.repo.PutSegment(n.t.Context(), signed, sealed.Open)
	}
	if err == nil {
		err = sealed.Remove()
	}
	if err != nil {
		n.t.Fatal(err)
	}
	n.last = signed
	return signed.Segment
}

// hours archives some hours in segments of ten minutes, every third of them a silence.
func (n *node) hours(count int) {
	n.t.Helper()
	for i := range count * 6 {
		n.write((i%3)*2, 10*time.Minute)
	}
}

// merger is one by this node, at an instant; identities may be nil.
func (n *node) merger(now time.Time, ids ...age.Identity) *Merger {
	n.t.Helper()
	d := n.t.TempDir()
	if err := Sweep(d); err != nil {
		n.t.Fatal(err)
	}
	return New(Config{
		Dir: d, Keys: n.keys.Ring, Identities: func() ([]age.Identity, error) { return ids, nil }, Trust: n.keys.Trust, Signer: n.keys.Signer,
		Recipients: n.keys.Recipients, Build: repo.Build{Version: "test"}, Now: func() time.Time { return now },
	}, n.repo)
}

// pass makes one that must succeed.
func (n *node) pass(m *Merger) Result {
	n.t.Helper()
	done, err := m.Pass(n.t.Context())
	if err != nil || len(done.Bad) > 0 {
		n.t.Fatalf("%+v, %v", done, err)
	}
	return done
}

// listed is what the target holds.
func (n *node) listed() []repo.SegmentEntry {
	n.t.Helper()
	all, err := n.repo.ListSegments(n.t.Context(), repo.SegmentQuery{}, n.keys.Trust)
	if err != nil {
		n.t.Fatal(err)
	}
	return all.Entries
}

// left are the segments that no other one replaces, each as its revisions, and a star where it is merged. What is no segment counts too, by
// its state.
func (n *node) left() string {
	n.t.Helper()
	var names []string
	all := n.listed()
	v := view{}
	for i := range all {
		if all[i].State == repo.StateOK {
			v[all[i].Name] = &all[i]
		}
	}
	replaced := v.replaced()
	for _, e := range all {
		switch {
		case replaced(e.Name):
		case e.State != repo.StateOK:
			names = append(names, string(e.State))
		case e.Segment.Merged != nil:
			names = append(names, fmt.Sprintf("%d-%d*", e.Name.First, e.Name.Last))
		default:
			names = append(names, fmt.Sprintf("%d-%d", e.Name.First, e.Name.Last))
		}
	}
	return strings.Join(names, " ")
}

// prune deletes what is replaced, as retention does.
func (n *node) prune() {
	n.t.Helper()
	all := n.listed()
	v := view{}
	for i := range all {
		v[all[i].Name] = &all[i]
	}
	replaced := v.replaced()
	for _, e := range all {
		if replaced(e.Name) {
			if err := errors.Join(n.repo.Bucket().Delete(n.t.Context(), e.Record.Key), n.repo.Bucket().Delete(n.t.Context(), e.Payload.Key)); err != nil {
				n.t.Fatal(err)
			}
		}
	}
}

// told is every change in the archive, once, with the second at which it was seen: of what no segment replaces.
func (n *node) told() map[string]int {
	n.t.Helper()
	changes := map[string]int{}
	all := n.listed()
	v := view{}
	for i := range all {
		v[all[i].Name] = &all[i]
	}
	replaced := v.replaced()
	for _, e := range all {
		if replaced(e.Name) {
			continue
		}
		n.read(e.Segment, func(second int64, at mvcc.Entry) {
			changes[fmt.Sprintf("%s %x at %d", at.Position, at.Value, second)]++
		})
	}
	return changes
}

func (n *node) read(s *repo.Segment, each func(second int64, e mvcc.Entry)) {
	n.t.Helper()
	plain, err := archive.Open(n.t.Context(), n.repo, s, n.keys.Identities)
	if err != nil {
		n.t.Fatal(err)
	}
	defer plain.Close()
	second := int64(0)
	for r := archive.NewReader(plain); ; {
		record, err := r.Next()
		if err == io.EOF { //nolint:errorlint // the end is io.EOF itself
			return
		}
		if err != nil {
			n.t.Fatal(err)
		}
		switch record.Kind {
		case archive.KindStamp:
			second = record.Stamp.Time.Unix()
		case archive.KindEntry:
			each(second, record.Entry)
		}
	}
}

// emptyRing is that of a node that has just booted.
func (n *node) emptyRing() {
	n.t.Helper()
	ring, err := seal.OpenKeyRing(filepath.Join(n.t.TempDir(), "keys"))
	if err != nil {
		n.t.Fatal(err)
	}
	n.keys.Ring = ring
}

// hooked is a bucket that tells of each write.
type hooked struct {
	storage.Bucket
	created func(key string) // before one is written
}

func (h hooked) Create(ctx context.Context, key string, r io.Reader) (storage.Object, error) {
	h.created(key)
	return h.Bucket.Create(ctx, key, r)
}
