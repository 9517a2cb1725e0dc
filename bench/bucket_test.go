//go:build bench

package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// segment is one that is in the bucket.
type segment struct {
	first, last     int64
	payload, record int64     // bytes
	seen            time.Time // when a list first had its commit record
}

var segmentKey = regexp.MustCompile(`^0*(\d+)-0*(\d+)-[0-9a-f]{8}\.(signed|zst\.age)$`)

// segments lists those of a timeline that begin after a revision, by name.
func (b *bench) segments(timeline string, after int64) map[string]segment {
	found := map[string]segment{}
	if timeline == "" {
		timeline = "none" // a list is made all the same: it costs the store as much
	}
	prefix := archivePrefix + timeline + "/"
	for key, size := range b.list(prefix, fmt.Sprintf("%s%019d", prefix, after+1)) {
		part := segmentKey.FindStringSubmatch(path.Base(key))
		if part == nil {
			b.t.Fatalf("%s is no object of a segment", key)
		}
		name, _, _ := strings.Cut(path.Base(key), ".")
		s := found[name]
		s.first, _ = strconv.ParseInt(part[1], 10, 64)
		s.last, _ = strconv.ParseInt(part[2], 10, 64)
		if part[3] == "signed" {
			s.record = size
		} else {
			s.payload = size
		}
		if s.last >= s.first { // else it tells of silence
			found[name] = s
		}
	}
	return found
}

// timeline is the one that is archived.
func (b *bench) timeline() string {
	found := map[string]bool{}
	for key := range b.list(archivePrefix, "") {
		found[path.Base(path.Dir(key))] = true
	}
	if len(found) != 1 {
		b.t.Fatalf("there are %d timelines, want one", len(found))
	}
	return slices.Collect(maps.Keys(found))[0]
}

func (t *tally) add(found map[string]segment) {
	for _, s := range found {
		t.segments++
		t.revisions += s.last - s.first + 1
		t.payload += s.payload
		t.record += s.record
	}
}

// tally is what the windows with a daemon have brought into the bucket.
type tally struct {
	revisions, payload, record int64 // the last two in bytes
	segments, snapshots        int
	rate                       []float64 // puts a second
}

// snapshots is how many there are in the bucket.
func (w *windows) snapshots() (n int) {
	for key := range w.b.list("drd/"+cluster+"/snapshots/", "") {
		if path.Base(key) == "manifest.json" {
			n++
		}
	}
	return n
}

// smallest takes a snapshot of the member when that is smallest.
func (w *windows) smallest() {
	w.l.compact(w.l.tick())
	if _, err := w.l.clients[0].Defragment(context.Background(), w.b.etcd.Endpoint()); err != nil {
		w.b.t.Fatal(err)
	}
	w.least = w.snapshot()
}

// snapshot takes one, and returns how many bytes it has in the bucket.
func (w *windows) snapshot() (bytes int64) {
	var out struct{ Snapshot struct{ ID string } }
	if err := json.Unmarshal(w.b.run("drd snapshot", w.b.drd, "--config", w.b.path("config.yaml"), "snapshot", "--json"), &out); err != nil {
		w.b.t.Fatal(err)
	}
	for _, size := range w.b.list("drd/"+cluster+"/snapshots/"+out.Snapshot.ID+"/", "") {
		bytes += size
	}
	return bytes
}

// list returns the sizes of all objects below a prefix whose keys come after another one.
func (b *bench) list(prefix, after string) map[string]int64 {
	if b.s3 == nil {
		b.s3 = b.store.Client(b.t)
	}
	found := map[string]int64{}
	pages := s3.NewListObjectsV2Paginator(b.s3, &s3.ListObjectsV2Input{Bucket: aws.String(bucket), Prefix: aws.String(prefix), StartAfter: aws.String(after)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(context.Background())
		if err != nil {
			b.t.Fatal(err)
		}
		for _, o := range page.Contents {
			found[*o.Key] = *o.Size
		}
	}
	return found
}
