package integration

import (
	"context"
	"crypto/rand"
	"fmt"
	mathrand "math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/drd-project/drd/test/servers"
)

// fill writes mib MiB that do not compress, so that every stage of a backup takes a while.
func fill(t *testing.T, client *clientv3.Client, value string, mib int) {
	t.Helper()
	block := make([]byte, 256<<10)
	for i := range 4 * mib {
		_, _ = rand.Read(block) // never fails
		if _, err := client.Put(t.Context(), fmt.Sprintf("block/%04d", i), value+string(block)); err != nil {
			t.Fatal(err)
		}
	}
}

// moments are n points in time spread over a run that takes as long as the one measured, the same with every run of the test.
func moments(n int, of time.Duration) []time.Duration {
	random := mathrand.New(mathrand.NewPCG(46, 8))
	all := make([]time.Duration, n)
	for i := range all {
		all[i] = time.Duration((float64(i) + random.Float64()) / float64(n) * float64(of))
	}
	return all
}

// shortest is how long the shortest of three runs takes: one that the machine has held up would put most moments behind the end of the runs
// that are to be killed. They begin in seconds of their own, which snapshots would wait for.
func shortest(run func()) time.Duration {
	var least time.Duration
	for i := range 3 {
		if i > 0 {
			time.Sleep(time.Second)
		}
		began := time.Now()
		run()
		if took := time.Since(began); i == 0 || took < least {
			least = took
		}
	}
	return least
}

// interrupt sends a signal after a while, and reports whether the run was still going on.
func (s *site) interrupt(c *command, after time.Duration, sig os.Signal) (result, bool) {
	s.t.Helper()
	select {
	case <-c.Exited:
	case <-time.After(after):
	}
	hit := c.Signal(s.t, sig)
	return s.end(c), hit
}

// TestKilledSnapshot: a snapshot that ends by a power cut at any moment leaves a whole backup or none, no plaintext, and
// nothing that keeps the next one from working.
func TestKilledSnapshot(t *testing.T) {
	t.Parallel()
	e := servers.StartEtcd(t, servers.EtcdConfig{})
	st := newBucket(t, servers.StartMinIO(t).S3, "drd-test")
	st.options = ", part_size: 5MiB" // so that it is killed between parts, too
	s := newSite(t, ofEtcd(e), st)
	fill(t, e.Client(t), s.value, 16)

	took := shortest(func() { s.snapshot() })
	hits := 0
	for i, after := range moments(12, took) {
		write(t, e.Client(t), fmt.Sprintf("after-%d/", i), s.value, 1) // so that each has an ID of its own
		if r, hit := s.interrupt(s.start("snapshot"), after, syscall.SIGKILL); hit && r.code == -1 {
			hits++
		}
		s.secrets.checkAll(t, "the state directory", filesBelow(t, s.state))
	}
	if hits < 6 {
		t.Errorf("only %d of 12 snapshots were killed: the rest had ended", hits)
	}
	lost := contentOf(t, e)
	last := s.snapshot()
	wantAllRestore(t, s)
	wantSpoolBounded(t, s, hits)

	m := s.newMember("m")
	s.must(slices.Concat([]string{"restore", "--yes", "--id", last.ID, "--identity", s.identity()}, m.flags())...)
	wantContent(t, m.start(t, e.Version()), lost)
}

// wantAllRestore restores everything that is listed as good; what is not must be an upload that was cut off.
func wantAllRestore(t *testing.T, s *site) {
	t.Helper()
	good := 0
	for _, item := range s.list(0) {
		if item.State == "incomplete" {
			continue
		}
		if item.State != "ok" {
			t.Errorf("%s is %s: %s", item.ID, item.State, item.Problem)
			continue
		}
		good++
		out := s.path(item.ID + ".db")
		s.must("restore", "--yes", "--id", item.ID, "--identity", s.identity(), "--output", out)
		if err := os.Remove(out); err != nil {
			t.Error(err)
		}
	}
	if good < 2 {
		t.Errorf("%d good snapshots, want the first and the last at least", good)
	}
}

// wantSpoolBounded allows what the killed runs had finished on the node and not in the target: it must be whole, and nothing else may be there.
func wantSpoolBounded(t *testing.T, s *site, killed int) {
	t.Helper()
	var kept []listItem
	spool := directory{filepath.Join(s.state, "spool")}
	if len(spool.objects(t)) > 0 {
		kept = s.list(0, s.elsewhere(spool)...)
	}
	if len(kept) > killed || s.sealing() > 0 {
		t.Errorf("the spool holds %d snapshots and %d bytes of unfinished ones", len(kept), s.sealing())
	}
	for _, item := range kept {
		if item.State != "ok" {
			t.Errorf("in the spool, %s is %s: %s", item.ID, item.State, item.Problem)
		}
	}
}

// TestKilledRestore: a restore that is killed or interrupted at any moment leaves nothing under the final name, or all of it, and the
// next one works.
func TestKilledRestore(t *testing.T) {
	t.Parallel()
	e := servers.StartEtcd(t, servers.EtcdConfig{})
	s := newSite(t, ofEtcd(e), inDirectory(t))
	fill(t, e.Client(t), s.value, 24)
	lost := contentOf(t, e)
	s.snapshot()

	m := s.newMember("m")
	restore := slices.Concat([]string{"restore", "--yes", "--identity", s.identity()}, m.flags())
	took := shortest(func() {
		removeAll(t, m.dir)
		s.must(restore...)
	})
	hits := map[os.Signal]int{}
	for i, after := range moments(10, took) {
		sig := []os.Signal{syscall.SIGKILL, os.Interrupt}[i%2]
		if s.interruptRestore(m, restore, after, sig, lost) {
			hits[sig]++
		}
	}
	if hits[syscall.SIGKILL] < 2 || hits[os.Interrupt] < 2 {
		t.Errorf("too few restores were still running when their signal came: %v", hits)
	}
	removeAll(t, m.dir)
	left := scratchIn(t, s.dir)
	r := s.must(restore...)
	for _, dir := range left {
		r.wants(t, dir+" is left from a restore that was killed")
		if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("plaintext is left in %s, which others may enter: %v, %v", dir, info.Mode(), err)
		}
	}
	wantContent(t, m.start(t, e.Version()), lost)
}

// interruptRestore runs a restore for a while, and reports whether the signal ended it. Then nothing may be at the final name, and
// after SIGINT nothing beside it either. One that was killed when all was in its place, and had only to say so, has done its work.
func (s *site) interruptRestore(m member, restore []string, after time.Duration, sig os.Signal, lost content) bool {
	s.t.Helper()
	removeAll(s.t, m.dir)
	left := scratchIn(s.t, s.dir)
	r, hit := s.interrupt(s.start(restore...), after, sig)
	if r.code == 0 { // it was done before the signal came
		return false
	}
	if _, err := os.Lstat(m.dir); err == nil && sig == syscall.SIGKILL {
		restored := m.start(s.t, "3.7")
		wantContent(s.t, restored, lost)
		restored.Stop()
		return false
	}
	wantNothing(s.t, m.dir)
	if sig == os.Interrupt {
		wantInterrupted(s.t, r)
		if now := scratchIn(s.t, s.dir); len(now) > len(left) {
			s.t.Errorf("an interrupted restore left %q", now)
		}
	}
	return hit
}

func removeAll(t *testing.T, path string) {
	t.Helper()
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
}

// wantInterrupted wants what drd says when it was stopped. Very early, before it listens to signals, the signal ends it.
func wantInterrupted(t *testing.T, r result) {
	t.Helper()
	if r.code != 130 && (r.code != -1 || r.stderr != "") {
		t.Errorf("want exit code 130\n%v", r)
	}
	if r.code == 130 && !strings.Contains(r.stderr, "drd: error: interrupted") {
		t.Errorf("it does not say that it was interrupted\n%v", r)
	}
}

// TestInterruptedSnapshot: SIGINT in the middle of a capture ends it soon, and leaves nothing behind.
func TestInterruptedSnapshot(t *testing.T) {
	t.Parallel()
	e := servers.StartEtcd(t, servers.EtcdConfig{})
	l := newLink(t, e, stallAfter)
	s := newSite(t, l.section(), inDirectory(t))
	fill(t, e.Client(t), s.value, 24)
	c := s.start("snapshot")
	s.stallCapture(l, e, c)
	began := time.Now()
	c.Signal(t, os.Interrupt)
	wantInterrupted(t, s.end(c))
	if took := time.Since(began); took > soon {
		t.Errorf("it took %v to end", took)
	}
	e.Resume()
	l.open()
	s.wantSpooled(0)
	if found := s.stores[0].objects(t); len(found) != 0 {
		t.Errorf("the target holds %d objects", len(found))
	}
	s.snapshot()
}

// stallAfter is how many bytes a link carries of a capture that a test wants to stall: a part of what fill has written.
const stallAfter = 8 << 20

// stallCapture freezes etcd while drd reads the snapshot from it, through a link that carries a part of it.
func (s *site) stallCapture(l *link, e *servers.Etcd, c *command) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	select {
	case <-l.full:
	case <-ctx.Done():
		s.t.Fatalf("no capture began: %v", c.Stderr.String())
	}
	for s.sealing() == 0 {
		select {
		case <-c.Exited:
			s.t.Fatalf("it ended before its capture could be stalled: %v", c.wait())
		case <-ctx.Done():
			s.t.Fatal("nothing of the capture is sealed")
		case <-time.After(time.Millisecond):
		}
	}
	e.Pause()
}

// sealing is the size of the sealed object that grows in the spool while a capture is under way.
func (s *site) sealing() int64 {
	found, _ := filepath.Glob(filepath.Join(s.state, "spool", ".drd-tmp-*")) // the pattern is good
	var size int64
	for _, path := range found {
		if info, err := os.Stat(path); err == nil { // it may be gone
			size += info.Size()
		}
	}
	return size
}
