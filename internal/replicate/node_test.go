package replicate

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/seal"
	"github.com/drd-project/drd/internal/seal/sealtest"
	"github.com/drd-project/drd/internal/storage"
	"github.com/drd-project/drd/internal/storage/dir"
	"github.com/drd-project/drd/internal/storage/storagetest"
)

const cluster = "prod-east"

// when is the date of the first snapshot: so early that the last of a long test is not in the future.
var when = time.Date(2021, 11, 22, 10, 0, 0, 0, time.UTC)

// node is a state directory, and directory targets that fail on demand.
type node struct {
	t       testing.TB
	cfg     Config
	keys    *sealtest.Keys
	buckets []*storagetest.Faulty
	dirs    []string
	log     *logBuffer
	q       *Queue
	wrap    func(storage.Bucket) storage.Bucket
}

// logBuffer is written and read at the same time.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func newNode(t testing.TB, targets int) *node {
	t.Helper()
	n := &node{t: t, log: &logBuffer{}, wrap: func(b storage.Bucket) storage.Bucket { return b }}
	n.keys = sealtest.New(t)
	n.cfg = Config{Cluster: cluster, StateDir: t.TempDir(), Keys: n.keys.Ring, Log: slog.New(slog.NewTextHandler(n.log, nil))}
	for range targets {
		n.addTarget()
	}
	n.reopen()
	return n
}

func (n *node) must(err error) {
	n.t.Helper()
	if err != nil {
		n.t.Fatal(err)
	}
}

func (n *node) addTarget() {
	n.t.Helper()
	root := n.t.TempDir()
	d, err := dir.Open(root, dir.Options{})
	n.must(err)
	f := storagetest.NewFaulty(d)
	r, err := repo.Open(f, cluster)
	n.must(err)
	n.cfg.Targets = append(n.cfg.Targets, Target{Name: fmt.Sprintf("t%d", len(n.buckets)), Repo: r, ReadBack: true})
	n.buckets, n.dirs = append(n.buckets, f), append(n.dirs, root)
}

// reopen is what a new process does.
func (n *node) reopen() {
	n.t.Helper()
	q, err := open(n.cfg, n.wrap)
	n.must(err)
	n.q = q
}

// sealed makes a sealed object in the spool, and its manifest. The plaintext ends with 32 bytes that stand for the trailer.
func (n *node) sealed(number int) (Payload, seal.FileKey, *repo.Signed) {
	n.t.Helper()
	plain := make([]byte, 3000)
	for i := range plain {
		plain[i] = byte(rand.Uint32())
	}
	var object bytes.Buffer
	s, err := seal.Default().Seal(&object, n.keys.Recipients)
	n.must(err)
	_, err = s.Write(plain)
	n.must(errors.Join(err, s.Close()))
	temp := filepath.Join(n.q.SpoolDir(), fmt.Sprintf("%s%d", storage.TempPrefix, number))
	n.must(os.WriteFile(temp, object.Bytes(), 0o600))
	sum := sha256.Sum256(object.Bytes())
	id := idOf(number)
	p := Payload{ID: id, Name: "snapshot.db" + seal.Default().Extension(), Path: temp, Size: int64(object.Len()), SHA256: hex.EncodeToString(sum[:])}
	signed, err := repo.Sign(&repo.Manifest{
		Format: repo.ManifestFormat, ID: id.String(), Cluster: cluster, EtcdClusterID: "c1", Timeline: "00000000000000a1",
		Member: repo.Member{ID: "a1"}, CaptureStart: id.Time, CaptureEnd: id.Time.Add(3 * time.Second),
		Revision: id.Revision, CompactRevision: -1, DBSize: int64(len(plain)) - 32, Keys: 1, Revisions: 1, EtcdVersion: "3.7.3",
		HashKV: repo.HashKV{Revision: id.Revision, CompactRevision: -1},
		Plain:  repo.Plain{SHA256: hex.EncodeToString(plain[len(plain)-32:]), Size: int64(len(plain))},
		Object: repo.Object{Name: p.Name, SHA256: p.SHA256, Size: p.Size, Envelope: seal.Default().Name(), Recipients: []string{"SHA256:x"}},
		Drd:    repo.Build{Version: "test"},
	}, n.keys.Signer)
	n.must(err)
	return p, s.FileKey(), signed
}

func idOf(number int) repo.ID {
	return repo.ID{Time: when.Add(time.Duration(number) * time.Hour), Revision: 100, Member: 0xa1}
}

// enqueue puts a snapshot into the spool as a capture does, whose date is the number of hours after when.
func (n *node) enqueue(number int) *Delivery {
	n.t.Helper()
	p, key, signed := n.sealed(number)
	d, err := n.q.Begin(p, key, time.Now())
	n.must(err)
	n.must(os.Remove(p.Path))
	n.must(d.Commit(n.t.Context(), signed))
	return d
}

// start runs the queue; stop ends it and waits.
func (n *node) start() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	q := n.q
	go func() {
		defer close(ended)
		q.Run(ctx)
	}()
	return sync.OnceFunc(func() {
		cancel()
		<-ended
	})
}

// drain runs the queue until nothing is left to do.
func (n *node) drain() {
	n.t.Helper()
	stop := n.start()
	defer stop()
	n.until("nothing that waits", func() bool {
		return n.nothingWaits() && !slices.ContainsFunc(n.q.Status(), func(s Status) bool { return s.Queued > 0 })
	})
}

// nothingWaits says whether all that is in the spool are kept copies.
func (n *node) nothingWaits() bool {
	n.t.Helper()
	entries, err := n.q.spool.entries()
	n.must(err)
	return len(entries) <= n.cfg.Keep && len(n.q.copies(entries)) == len(entries)
}

// patience is what a machine that is busy with much else may take for what takes moments.
const patience = time.Minute

func (n *node) until(what string, ok func() bool) {
	n.t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			n.t.Fatalf("%s: not within %s; the log:\n%s", what, patience, n.log)
		}
	}
}

// spooled are the numbers of the snapshots in the spool.
func (n *node) spooled() []int {
	n.t.Helper()
	entries, err := n.q.spool.entries()
	n.must(err)
	var numbers []int
	for _, e := range entries {
		numbers = append(numbers, numberOf(e.id))
	}
	return numbers
}

func numberOf(id repo.ID) int { return int(id.Time.Sub(when) / time.Hour) }

// held are the numbers of the snapshots that a target holds, each of which is whole: signature, size and content.
func (n *node) held(target int) []int {
	n.t.Helper()
	r, err := repo.Open(n.buckets[target].Unwrap(), cluster)
	n.must(err)
	return restorable(n.t, r, n.keys.Trust)
}

func restorable(t testing.TB, r *repo.Repository, trust *seal.Trust) []int {
	t.Helper()
	c, err := r.Catalogue(t.Context(), trust)
	if err != nil {
		t.Fatal(err)
	}
	var numbers []int
	for _, e := range c.Entries {
		if e.State == repo.StateIncomplete {
			continue
		}
		if e.State != repo.StateOK {
			t.Errorf("%s in %s is %s: %v", e.ID, c.Location, e.State, e.Problem)
			continue
		}
		object, err := r.Payload(t.Context(), e.Manifest)
		if err == nil {
			_, err = io.Copy(io.Discard, object)
			err = errors.Join(err, object.Close())
		}
		if err != nil {
			t.Errorf("%s in %s: %v", e.ID, c.Location, err)
		}
		numbers = append(numbers, numberOf(e.ID))
	}
	return numbers
}

func (n *node) wantHeld(target int, want ...int) {
	n.t.Helper()
	if got := n.held(target); !slices.Equal(got, want) {
		n.t.Errorf("t%d holds %v, want %v", target, got, want)
	}
}

// clean fails when the queue's own state holds anything but locks, the record of losses, and the kept copies of these
// numbers: three whole objects each, and a mark for each target.
func (n *node) clean(kept ...int) {
	n.t.Helper()
	want := make(map[string]bool)
	for _, number := range kept {
		id, r := idOf(number), n.q.spool.repo
		for _, key := range []string{r.PayloadKey(id, "snapshot.db"+seal.Default().Extension()), r.ManifestKey(id), r.SignatureKey(id)} {
			want[n.q.spool.path(key)] = true
		}
		for _, target := range n.cfg.Targets {
			want[filepath.Join(n.cfg.StateDir, "replication", target.Name, id.String())] = true
		}
	}
	for _, name := range files(n.t, n.cfg.StateDir) {
		if base := filepath.Base(name); base != ".lock" && !slices.Contains([]string{".segments.lock", ".lost.lock", "lost.jsonl", "gaps.jsonl"}, base) && !want[name] {
			n.t.Errorf("left %s", name)
		}
		delete(want, name)
	}
	for name := range want {
		n.t.Errorf("missing %s", name)
	}
	if got := restorable(n.t, n.q.spool.repo, n.keys.Trust); !slices.Equal(got, kept) {
		n.t.Errorf("the spool holds %v, want %v", got, kept)
	}
}

func files(t testing.TB, root string) []string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			names = append(names, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func (n *node) logged(part string) int { return strings.Count(n.log.String(), part) }

// losses are "target number: reason".
func (n *node) losses() []string {
	n.t.Helper()
	all, err := Losses(n.cfg.StateDir)
	n.must(err)
	var out []string
	for _, l := range all {
		id, err := repo.ParseID(l.Snapshot)
		n.must(err)
		out = append(out, fmt.Sprintf("%s %d: %s", l.Target, numberOf(id), l.Reason))
	}
	return out
}
