//go:build bench

package bench

import (
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/drd-project/drd/test/servers"
)

const (
	flushInterval = 5 * time.Second // drd's default
	warmUp        = 5 * time.Second // of each window, not counted
	look          = 200 * time.Millisecond
	window        = 60 // seconds, unless DRD_BENCH_WINDOW says otherwise
	windowRounds  = 3
	driveSize     = 8 << 30 // of MinIO, in bytes; what is stored takes memory, some 3 GB of it with 60 s and 3 rounds
	archivePrefix = "drd/" + cluster + "/archive/"
	everyFive     = 24 * 60 / 5 // snapshots a day, one every five minutes
	day           = 24 * time.Hour
)

// TestArchive runs a load without and with a daemon that archives, in turns: what the archive costs the cluster, what it costs the
// node, how far behind it is, and how much it stores. What was archived must come back.
func TestArchive(t *testing.T) {
	d, rounds := time.Duration(setting(t, "DRD_BENCH_WINDOW", window))*time.Second, setting(t, "DRD_BENCH_ROUNDS", windowRounds)
	state := machine()
	b, l := newArchive(t, "")
	l.keysOnce()
	r := &results{t: t, samples: map[string][]float64{}}
	w := windows{b: b, l: l, r: r, length: d}
	w.grow()
	for round := range rounds {
		t.Logf("round %d of %d", round+1, rounds)
		w.without()
		w.with()
		if round+1 < rounds {
			w.daemon.stop()
		}
	}
	w.restores()
	w.smallest()
	fmt.Printf("\n%s\n", state)
	r.table()
	w.storage()
	w.aims()
}

// newArchive starts an etcd that syncs as in production, and a MinIO, and configures a daemon that archives. A bucket does not usually share
// etcd's disk, and MinIO syncs much: here its drive is memory.
func newArchive(t *testing.T, moreTargets string) (*bench, *load) {
	b := &bench{t: t, dir: workDir(t), etcd: servers.StartEtcd(t, servers.EtcdConfig{Fsync: true, Args: []string{"--quota-backend-bytes", strconv.Itoa(8 << 30)}})}
	b.store = servers.StartMinIO(t, servers.WithDrive(driveSize))
	b.store.CreateBucket(t, bucket, false)
	b.build()
	b.configure(moreTargets + b.archiving(servers.FreePort(t)))
	return b, newLoad(t, b.etcd)
}

// windows are pieces of one load, with a daemon and without.
type windows struct {
	b      *bench
	l      *load
	r      *results
	length time.Duration

	daemon   *daemon
	timeline string // that is archived; "" before anything was
	archive  tally
	compact  int64 // bytes of a full snapshot in the bucket, right after a compaction
	least    int64 // and when the member has given back all room that it does not need
}

// grow makes the database as large as it becomes in a window: growing costs the first that comes time.
func (w *windows) grow() { w.l.run(warmUp + w.length) }

// without is a window in which nobody archives. The bucket is looked into all the same.
func (w *windows) without() {
	newest := w.l.tick()
	w.l.compact(newest)
	w.l.run(warmUp)
	ran, _ := w.watched(newest)
	w.load("without drd", ran)
}

// with is a window with a daemon, which still runs afterwards. It begins as the other does, with a database that was just compacted, and
// with a snapshot of that: what follows it can be compared with the member.
func (w *windows) with() {
	w.daemon = w.b.startDaemon()
	w.l.compact(w.daemon.settle(w.l, "store"))
	w.timeline = w.b.timeline()
	w.compact = w.snapshot()
	from := w.daemon.settle(w.l, "store")
	snapshots := w.snapshots()
	w.l.run(warmUp)
	var ran windowRun
	var seen map[string]segment
	memory := watch(w.b.drd, func() {
		ran, seen = w.watched(from)
		w.arrive(from, seen, ran.puts[len(ran.puts)-1].revision)
	})

	w.load("with drd", ran)
	w.r.add("drd: CPU, percent of a core", 100*ran.cpu)
	w.r.add("drd: anonymous MiB, all of its processes", memory)
	w.lag(ran.puts, seen)
	w.daemon.confirmed(w.l.tick(), "store")
	w.daemon.wantNoGaps()
	w.archive.snapshots += w.snapshots() - snapshots
	w.archive.add(w.b.segments(w.timeline, from))
	w.archive.rate = append(w.archive.rate, rateOf(ran.puts))
}

func (w *windows) load(name string, ran windowRun) {
	took := latencies(ran.puts)
	w.r.add("puts a second, "+name, rateOf(ran.puts))
	w.r.add("put p50 ms, "+name, milliseconds(quantile(took, 0.50)))
	w.r.add("put p99 ms, "+name, milliseconds(quantile(took, 0.99)))
	w.r.add("cores busy, all of the machine, "+name, ran.busy)
}

// windowRun is the load of one window.
type windowRun struct {
	puts      []put
	cpu, busy float64 // of drd and of the whole machine while it lasted, in cores
}

// loaded runs the load of one window.
func (w *windows) loaded() windowRun {
	drd, all, begin := cpuTime(w.b.drd), busyTime(), time.Now()
	puts := w.l.run(w.length)
	took := time.Since(begin).Seconds()
	return windowRun{puts: puts, cpu: (cpuTime(w.b.drd) - drd).Seconds() / took, busy: (busyTime() - all).Seconds() / took}
}

// watched runs the load of one window and meanwhile looks for segments of revisions after from.
func (w *windows) watched(from int64) (windowRun, map[string]segment) {
	seen := map[string]segment{}
	result := make(chan windowRun, 1)
	go func() {
		defer close(result)
		result <- w.loaded()
	}()
	tick := time.NewTicker(look)
	defer tick.Stop()
	for {
		select {
		case ran, answered := <-result:
			if !answered { // a put failed, which was told
				w.b.t.FailNow()
			}
			return ran, seen
		case <-tick.C:
			w.look(from, seen)
		}
	}
}

// arrive goes on looking until a revision is in the bucket.
func (w *windows) arrive(from int64, seen map[string]segment, last int64) {
	for deadline := time.Now().Add(endLimit); reached(seen) < last; w.look(from, seen) {
		if time.Now().After(deadline) {
			w.daemon.fail("revision %d is not in the bucket, %d is", last, reached(seen))
		}
		time.Sleep(look)
	}
}

func reached(seen map[string]segment) (last int64) {
	for _, s := range seen {
		last = max(last, s.last)
	}
	return last
}

// look notes which commit records are new.
func (w *windows) look(from int64, seen map[string]segment) {
	found := w.b.segments(w.timeline, from)
	now := time.Now()
	for name, s := range found {
		if _, known := seen[name]; !known && s.record > 0 {
			s.seen = now
			seen[name] = s
		}
	}
}

// lag tells of each put how long after its answer the segment with it was in the bucket, up to one look too late.
func (w *windows) lag(puts []put, seen map[string]segment) {
	all := make([]segment, 0, len(seen))
	for _, s := range seen {
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b segment) int { return int(a.first - b.first) })
	lags := make([]time.Duration, 0, len(puts))
	i := 0
	for _, p := range puts {
		for i < len(all) && all[i].last < p.revision {
			i++
		}
		if i == len(all) || all[i].first > p.revision {
			w.daemon.fail("no segment in the bucket has revision %d", p.revision)
		}
		lags = append(lags, all[i].seen.Sub(p.answered))
	}
	w.r.add("archive lag p50", quantile(lags, 0.50).Seconds())
	w.r.add("archive lag p99", quantile(lags, 0.99).Seconds())
	w.r.add("archive lag, most", quantile(lags, 1).Seconds())
}

// restores proves that the archive has what the member had.
func (w *windows) restores() {
	revision, hash := w.l.hash(w.b.etcd)
	w.daemon.confirmed(revision, "store")
	w.daemon.stop()
	out := w.b.restoreTo(w.b.path("restored"), revision, "--config", w.b.path("config.yaml"))
	out.want(w.b, revision, hash)
}
