//go:build bench

package bench

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"testing"

	bolt "go.etcd.io/bbolt"
)

// What drd's own replay writes at once, and how full it makes the pages.
const (
	batchEntries = 10_000
	batchBytes   = 16 << 20
	pageFill     = 0.9
)

var keyBucket = []byte("key")

// TestReplay measures a restore to the end of a long archive, from a directory and from MinIO, beside writing the same entries with
// bbolt and nothing else.
func TestReplay(t *testing.T) {
	puts, rounds := setting(t, "DRD_BENCH_PUTS", 500_000), setting(t, "DRD_BENCH_ROUNDS", 3)
	state := machine()
	dir := workDir(t)
	b, l := newArchive(t, fmt.Sprintf("  - {name: dir, dir: %q}\n", dir))
	d := b.startDaemon()
	d.settle(l, "store", "dir")
	l.runAll(puts)
	revision, hash := l.hash(b.etcd)
	d.confirmed(revision, "store", "dir")
	d.wantNoGaps()
	d.stop()
	b.etcd.Stop() // who restores has none

	r := &results{t: t, samples: map[string][]float64{}}
	for round := range rounds {
		t.Logf("round %d of %d", round+1, rounds)
		b.replay(r, "directory", "file://"+dir, revision, hash)
		b.replay(r, "MinIO", b.repoURL(), revision, hash)
		b.bare(r, int(b.replayed))
		if err := os.Remove(b.path("restored")); err != nil {
			t.Fatal(err)
		}
	}
	fmt.Printf("\n%s\n", state)
	r.table()
	b.replayAims(r)
}

// restored is what `drd restore --json` tells.
type restored struct {
	SnapshotRevision int64 `json:"snapshot_revision"`
	Segments         int
	Replayed         int64
	ObjectBytes      int64 `json:"object_bytes"`
	Seconds          float64
	Facts            struct {
		Revision int64
		HashKV   uint32 `json:"hash_kv"`
	}
	Steps []struct {
		Name    string
		Seconds float64
	}
}

func (b *bench) restoreTo(file string, revision int64, from ...string) (out restored) {
	stdout := b.run("drd restore", b.drd, append([]string{"restore", "--revision", strconv.FormatInt(revision, 10), "--identity", b.path("keys/identity.txt"),
		"--output", file, "--bump-revision", "0", "--yes", "--json"}, from...)...)
	if err := json.Unmarshal(stdout, &out); err != nil {
		b.t.Fatal(err)
	}
	return out
}

// want fails the bench when the store is not the one that the member had.
func (out restored) want(b *bench, revision int64, hash uint32) {
	if out.Facts.Revision != revision || out.Facts.HashKV != hash || out.Replayed == 0 {
		b.t.Fatalf("restored revision %d with HashKV %d by %d changes, the member had HashKV %d at %d", out.Facts.Revision, out.Facts.HashKV, out.Replayed, hash, revision)
	}
}

// repoURL is the store's URL for --repo.
func (b *bench) repoURL() string {
	q := url.Values{"endpoint": {b.store.Endpoint}, "region": {b.store.Region}, "ca_file": {b.store.CAFile}, "credentials_file": {b.store.CredentialsFile}, "path_style": {"true"}}
	return "s3://" + bucket + "/drd?" + q.Encode()
}

// replay restores from one target, to b.path("restored").
func (b *bench) replay(r *results, name, repo string, revision int64, hash uint32) {
	if err := os.Remove(b.path("restored")); err != nil && !errors.Is(err, os.ErrNotExist) {
		b.t.Fatal(err)
	}
	var out restored
	memory := watch(b.drd, func() {
		b.timed(r, name+": all of it, `drd restore`", func() {
			out = b.restoreTo(b.path("restored"), revision, "--repo", repo, "--cluster", cluster, "--trust", b.path("keys/allowed_signers"))
		})
	})
	out.want(b, revision, hash)
	b.replayed, b.base = out.Replayed, out.SnapshotRevision
	chain, rest := 0.0, out.Seconds
	for _, s := range out.Steps {
		rest -= s.Seconds
		switch s.Name {
		case "segments":
			r.add(name+": fetch the segments", s.Seconds)
			chain += s.Seconds
		case "replay":
			r.add(name+": verify, decrypt, decode, apply, HashKV", s.Seconds)
			chain += s.Seconds
		default:
			rest += s.Seconds
		}
	}
	r.add(name+": the rest: snapshot, inspections, sync", rest)
	r.add(name+": fetch to apply", chain)
	r.add(name+": fetch to apply, events/s", float64(out.Replayed)/chain)
	r.add(name+": all of it, events/s", float64(out.Replayed)/out.Seconds)
	r.add(name+": segments", float64(out.Segments))
	r.add(name+": MiB fetched", float64(out.ObjectBytes)/(1<<20))
	r.add(name+": anonymous MiB, all processes", memory)
}

// bare writes the entries of the restored store that segments brought into an empty one, with bbolt alone. They are read from the
// page cache.
func (b *bench) bare(r *results, want int) {
	from, err := bolt.Open(b.path("restored"), 0o400, &bolt.Options{ReadOnly: true})
	if err != nil {
		b.t.Fatal(err)
	}
	defer from.Close()
	b.copyEntries(from, func([]byte, []byte) error { return nil }) // now they are in the page cache
	to, err := bolt.Open(b.path("bare"), 0o600, &bolt.Options{NoSync: true, NoGrowSync: true, NoFreelistSync: true, FreelistType: bolt.FreelistMapType})
	if err != nil {
		b.t.Fatal(err)
	}
	defer os.Remove(b.path("bare"))
	defer to.Close()
	var n int
	took := b.timed(r, "bare bbolt: write the same entries", func() {
		w := &batches{db: to}
		n = b.copyEntries(from, w.put)
		if err := w.commit(); err != nil {
			b.t.Fatal(err)
		}
	})
	if n != want {
		b.t.Fatalf("bbolt wrote %d entries, drd replayed %d", n, want)
	}
	r.add("bare bbolt: events/s", float64(n)/took)
}

// copyEntries hands over every entry that is later than the snapshot, and counts them.
func (b *bench) copyEntries(from *bolt.DB, to func(key, value []byte) error) (n int) {
	err := from.View(func(tx *bolt.Tx) error {
		c := tx.Bucket(keyBucket).Cursor()
		for k, v := c.Seek(binary.BigEndian.AppendUint64(nil, uint64(b.base+1))); k != nil; k, v = c.Next() {
			if err := to(k, v); err != nil {
				return err
			}
			n++
		}
		return nil
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return n
}

// batches writes entries into a store, many at once.
type batches struct {
	db             *bolt.DB
	tx             *bolt.Tx
	bucket         *bolt.Bucket
	entries, bytes int
}

func (w *batches) put(key, value []byte) (err error) {
	if w.tx == nil {
		if w.tx, err = w.db.Begin(true); err != nil {
			return err
		}
		if w.bucket, err = w.tx.CreateBucketIfNotExists(keyBucket); err != nil {
			return err
		}
		w.bucket.FillPercent = pageFill
	}
	if err := w.bucket.Put(key, value); err != nil {
		return err
	}
	w.entries++
	w.bytes += len(key) + len(value)
	if w.entries < batchEntries && w.bytes < batchBytes {
		return nil
	}
	return w.commit()
}

func (w *batches) commit() error {
	if w.tx == nil {
		return nil
	}
	tx := w.tx
	*w = batches{db: w.db}
	return tx.Commit()
}

func (b *bench) replayAims(r *results) {
	fmt.Printf("\n| median | | aim | |\n|---|---|---|---|\n")
	for _, name := range []string{"directory", "MinIO"} {
		atLeast(name+": fetch to apply, events/s", r.median(name+": fetch to apply, events/s"), 80_000)
		atMost(name+": fetch to apply / bare bbolt, seconds", r.median(name+": fetch to apply")/r.median("bare bbolt: write the same entries"), 1.3)
		atMost(name+": anonymous MiB, all processes", r.median(name+": anonymous MiB, all processes"), 256)
	}
}
