package integration

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/drd-project/drd/test/program"
	"github.com/drd-project/drd/test/servers"
)

// TestKilledArchiver: a daemon that dies at any moment, again and again, under writes: every moment that was noted comes back.
func TestKilledArchiver(t *testing.T) {
	t.Parallel()
	killArchiver(t, 8)
}

func killArchiver(t *testing.T, times int) {
	a := newArchived(t, "3.7")
	random := rand.New(rand.NewPCG(9, 9))
	for i := range times {
		stop := a.scribble()
		time.Sleep(time.Duration(50+random.IntN(2500)) * time.Millisecond)
		a.daemon.Signal(t, syscall.SIGKILL)
		if r := a.end(a.daemon); r.code != -1 {
			t.Errorf("it had ended before: %v", r)
		}
		stop()
		a.past = append(a.past, moment{content: contentOf(t, a.e)})
		if i%3 == 2 { // state that is gone, too: the targets tell where the archive is
			removeAll(t, filepath.Join(a.state, "archive.json"))
		}
		a.daemon = a.start("daemon")
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(a.daemon.Stderr.String())
		}
	})
	a.archives("last/", 5)
	// Kills in quick succession may leave the archive so far behind that it goes on from a snapshot, and with the state the next one may
	// take away that this was asked for. A look at the target finds such a hole, and has it closed.
	last := a.past[len(a.past)-1]
	a.metric(5*time.Minute, `drd_recovery_point_timestamp_seconds{target="t1"}`, func(v float64) bool { return v >= float64(last.at.Unix()) })
	a.terminate(a.daemon)
	for i, m := range a.past {
		a.restores(m, fmt.Sprintf("killed-%d", i), "--revision", fmt.Sprint(m.Revision))
	}
}

// scribble writes without a pause until it is stopped.
func (a *archived) scribble() (stop func()) {
	ctx, cancel := context.WithCancel(a.t.Context())
	client := a.e.Client(a.t)
	var done sync.WaitGroup
	done.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			if _, err := client.Put(context.WithoutCancel(ctx), fmt.Sprintf("scribble/%03d", i%500), a.value); err != nil {
				a.t.Error(err)
				return
			}
		}
	})
	return func() { cancel(); done.Wait() }
}

// newest is the newest snapshot that is listed.
func (a *archived) newest() manifest {
	a.t.Helper()
	listed := a.list(0)
	for i := len(listed) - 1; i >= 0; i-- {
		if listed[i].Manifest != nil {
			return *listed[i].Manifest
		}
	}
	a.t.Fatal("no snapshot is listed")
	return manifest{}
}

// goesOn waits until the archive is written on another timeline, and notes a moment of it.
func (a *archived) goesOn(before string) (timeline string) {
	a.t.Helper()
	program.Eventually(a.t, 3*time.Minute, func() error {
		write(a.t, a.client, "tick/", a.value, 1)
		if timeline = a.newest().Timeline; timeline == before {
			time.Sleep(time.Second)
			return fmt.Errorf("the newest snapshot lies on %s", timeline)
		}
		return nil
	})
	program.Eventually(a.t, 3*time.Minute, func() error { // until the watch goes on there
		write(a.t, a.client, "tick/", a.value, 1)
		if p := a.position(); p.Timeline != timeline || p.Revision == 0 {
			time.Sleep(time.Second)
			return fmt.Errorf("the archive is at revision %d of %s", p.Revision, p.Timeline)
		}
		return nil
	})
	write(a.t, a.client, "on/", a.value, 20)
	a.remember()
	write(a.t, a.client, "and-on/", a.value, 20)
	a.remember()
	write(a.t, a.client, "beyond/", a.value, 3)
	last := a.past[len(a.past)-1]
	a.metric(3*time.Minute, `drd_recovery_point_timestamp_seconds{target="t1"}`, func(v float64) bool { return v > float64(last.at.Unix()) })
	return timeline
}

// TestHoleIsClosed: somebody deletes a segment in the target, and the daemon has lost the state that says where its archive is. It finds the
// hole within a minute or so, counts it, and closes it by a snapshot: everything can be restored again.
func TestHoleIsClosed(t *testing.T) {
	t.Parallel()
	a := newArchived(t, "3.7")
	for i := range 3 {
		a.archives(fmt.Sprintf("before-%d/", i), 20)
	}
	a.terminate(a.daemon)
	payload := a.segmentOf(a.past[1])
	a.stores[0].remove(t, payload)
	a.stores[0].remove(t, strings.TrimSuffix(payload, ".zst.age")+".signed")
	removeAll(t, filepath.Join(a.state, "archive.json"))
	a.daemon = a.start("daemon")
	write(t, a.client, "after/", a.value, 20)
	a.remember()
	last := a.past[len(a.past)-1]
	a.metric(5*time.Minute, `drd_recovery_point_timestamp_seconds{target="t1"}`, func(v float64) bool { return v >= float64(last.at.Unix()) })
	a.metric(time.Minute, "drd_archive_gaps_total", is(1))
	a.terminate(a.daemon)
	for i, m := range a.past {
		a.restores(m, fmt.Sprintf("closed-%d", i), "--revision", fmt.Sprint(m.Revision))
	}
}

// TestArchiveAcrossBump: a cluster is restored a thousand million revisions further, as Kubernetes wants it, and archived again. Both
// sides of that come back, by revision and by time.
func TestArchiveAcrossBump(t *testing.T) {
	t.Parallel()
	a := newArchived(t, "3.7")
	a.archives("before/", 30)
	old := a.newest()
	a.terminate(a.daemon)
	a.e.Kill()

	m := a.newMember("bumped")
	a.must(slices.Concat([]string{"restore", "--yes", "--latest", "--identity", a.identity(), "--bump-revision", fmt.Sprint(kubernetesBump)}, m.flags())...)
	a.e = m.start(t, "3.7")
	a.client = a.e.Client(t)
	a.write(ofEtcd(a.e))
	a.daemon = a.start("daemon")
	a.goesOn(old.Timeline)
	a.terminate(a.daemon)

	before, after := a.past[0], a.past[len(a.past)-2]
	if after.Revision < kubernetesBump {
		t.Fatalf("the restored cluster is at revision %d", after.Revision)
	}
	a.restores(before, "before", "--id", old.ID, "--revision", fmt.Sprint(before.Revision))
	a.restores(before, "before-at", "--at", before.at.Format(time.RFC3339))
	a.restores(after, "after", "--bump-revision", "0", "--revision", fmt.Sprint(after.Revision))
	a.restores(after, "after-at", "--bump-revision", "0", "--at", after.at.Format(time.RFC3339))
}

// TestRebuiltInPlace: somebody wipes the member and starts it again with the same flags, so that cluster, member and term have the same
// IDs, and revisions begin anew. The new history is archived and restored as such, and pruning leaves it alone; the old one comes back, too.
func TestRebuiltInPlace(t *testing.T) {
	t.Parallel()
	a := newArchived(t, "3.6")
	a.more += "retention: {last: 1, min_copies: 1}\n"
	a.archives("old/", 300)
	old := a.newest()
	port := func(url string) (n int) {
		if _, err := fmt.Sscanf(url, "http://127.0.0.1:%d", &n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	a.e.Kill()
	a.e = servers.StartEtcd(t, servers.EtcdConfig{
		Version: "3.6", DataDir: filepath.Join(t.TempDir(), "again"), ClientPort: port(a.e.Endpoint()), PeerPort: port(a.e.PeerURL()),
	})
	a.client = a.e.Client(t)
	a.goesOn(old.Timeline)
	a.terminate(a.daemon)
	newer := a.newest()
	if newer.TimelineParent != old.Timeline || newer.Revision >= old.Revision {
		t.Errorf("the new history: %+v, the old one: %+v", newer, old)
	}
	a.restores(a.past[0], "old", "--at", a.past[0].at.Format(time.RFC3339))
	a.write(ofEtcd(a.e))
	a.must("prune")
	last := a.past[len(a.past)-1]
	a.restores(last, "new-at", "--at", last.at.Format(time.RFC3339))
	a.restores(last, "new", "--revision", fmt.Sprint(last.Revision))
}
