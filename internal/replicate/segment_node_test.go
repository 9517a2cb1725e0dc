package replicate

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/seal"
	"github.com/drd-project/drd/internal/storage"
)

const (
	timeline = "00000000000000a1"
	perPiece = 10 // revisions in a segment of a test
)

// newSegment makes the sealed object of a segment, and its record. Segment number n is that of n*5 seconds after when, with
// ten revisions from n*10+1 on.
func (n *node) newSegment(number int) (path string, signed *repo.SignedSegment, key seal.FileKey) {
	n.t.Helper()
	plain := make([]byte, 2000)
	for i := range plain {
		plain[i] = byte(rand.Uint32())
	}
	var object bytes.Buffer
	s, err := seal.Default().Seal(&object, n.keys.Recipients)
	n.must(err)
	_, err = s.Write(plain)
	n.must(errors.Join(err, s.Close()))
	n.must(os.MkdirAll(n.q.SegmentsDir(), 0o700))
	f, err := os.CreateTemp(n.q.SegmentsDir(), storage.TempPrefix)
	n.must(err)
	_, err = f.Write(object.Bytes())
	n.must(errors.Join(err, f.Close()))
	sum, of := sha256.Sum256(object.Bytes()), sha256.Sum256(plain)
	from := when.Add(time.Duration(number) * 5 * time.Second)
	seg := &repo.Segment{
		Kind: repo.SegmentKind, Format: repo.SegmentFormat, Cluster: cluster, EtcdClusterID: "c1", Timeline: timeline,
		Member: repo.Member{ID: "a1"}, First: int64(number*perPiece + 1), Last: int64(number*perPiece + perPiece), Events: perPiece,
		From: from, To: from.Add(5 * time.Second), CompactRevision: -1, LastRevisionSHA256: hex.EncodeToString(of[:]),
		Plain:  repo.SegmentPlain{SHA256: hex.EncodeToString(of[:]), Size: int64(len(plain))},
		Object: repo.Object{SHA256: hex.EncodeToString(sum[:]), Size: int64(object.Len()), Envelope: seal.Default().Name(), Recipients: []string{"SHA256:x"}},
		Drd:    repo.Build{Version: "test"},
	}
	seg.Object.Name = seg.Name().String() + seal.Default().Extension()
	signed, err = repo.SignSegment(seg, n.keys.Signer)
	n.must(err)
	return f.Name(), signed, s.FileKey()
}

// follow enqueues a segment as an archiver does.
func (n *node) follow(number int) *repo.SignedSegment {
	n.t.Helper()
	path, signed, key := n.newSegment(number)
	n.must(n.q.EnqueueSegment(n.t.Context(), path, signed, key))
	n.must(os.Remove(path))
	return signed
}

func segmentNumber(n repo.SegmentName) int { return int(n.First-1) / perPiece }

// archived are the numbers of the segments that a repository holds, each of which is whole.
func archived(t testing.TB, r *repo.Repository, trust *seal.Trust) []int {
	t.Helper()
	all, err := r.ListSegments(t.Context(), repo.SegmentQuery{}, trust)
	if err != nil {
		t.Fatal(err)
	}
	var numbers []int
	for _, e := range all.Entries {
		if e.State == repo.StateIncomplete {
			continue
		}
		if e.State != repo.StateOK {
			t.Errorf("%s in %s is %s: %v", e.Name, all.Location, e.State, e.Problem)
			continue
		}
		object, err := r.SegmentPayload(t.Context(), e.Segment)
		if err == nil {
			_, err = io.Copy(io.Discard, object)
			err = errors.Join(err, object.Close())
		}
		if err != nil {
			t.Errorf("%s in %s: %v", e.Name, all.Location, err)
		}
		numbers = append(numbers, segmentNumber(e.Name))
	}
	return numbers
}

func (n *node) archive(target int) []int {
	n.t.Helper()
	r, err := repo.Open(n.buckets[target].Unwrap(), cluster)
	n.must(err)
	return archived(n.t, r, n.keys.Trust)
}

func (n *node) wantArchive(target int, want ...int) {
	n.t.Helper()
	if got := n.archive(target); !slices.Equal(got, want) {
		n.t.Errorf("t%d has the segments %v, want %v", target, got, want)
	}
}

// following are the numbers of the segments in the spool.
func (n *node) following() []int {
	n.t.Helper()
	found, _, err := n.q.spool.segments(n.t.Context())
	n.must(err)
	var numbers []int
	for _, name := range byAge(found) {
		numbers = append(numbers, segmentNumber(name))
	}
	return numbers
}

// holes are "target first-last: reason".
func (n *node) holes() []string {
	n.t.Helper()
	all, err := openGaps(n.cfg.StateDir).read()
	n.must(err)
	var out []string
	for _, g := range all {
		out = append(out, fmt.Sprintf("%s %d-%d: %s", g.Target, g.First, g.Last, g.Reason))
	}
	return out
}

func upTo(n int) []int {
	var numbers []int
	for i := range n {
		numbers = append(numbers, i)
	}
	return numbers
}

func (n *node) segments(target int) SegmentStatus { return n.q.Status()[target].Segments }

// drainSegments runs the queue until no target waits for a segment.
func (n *node) drainSegments() {
	n.t.Helper()
	stop := n.start()
	defer stop()
	n.until("no segment that waits", func() bool {
		return len(n.following()) == 0 && !slices.ContainsFunc(n.q.Status(), func(s Status) bool { return s.Segments.Queued > 0 })
	})
}
