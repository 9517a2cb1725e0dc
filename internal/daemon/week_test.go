package daemon

import (
	"errors"
	"flag"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files from what the code does now")

// weekDisk is the size of the disk of the host, in bytes: with nothing on it, DrdDiskNearlyFull is silent.
const weekDisk = 128 << 20

// weekRoot is set where the test runs again with file systems of its own, and says where they are.
const weekRoot = "DRD_TEST_WEEK"

// TestWeek lives through a week with the daemon, and two days of spring: both changes of the clock, a bucket that is away for a day, a host
// that is off for a night, a full disk, and a clock that jumps ahead and back. At each point of the story testdata/week.golden has what
// drd status says and which alerts fire, by the rules of monitoring and promtool.
//
// Time is that of a bubble, so the week takes seconds. The disk is a real one, which really is full: the test runs once more in a
// namespace of its own, where it may mount one.
func TestWeek(t *testing.T) {
	if root := os.Getenv(weekRoot); root != "" {
		liveWeek(t, root)
		return
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	const script = `mount -t tmpfs -o "size=$1,mode=700" drd-test "$2/disk" && mount -t tmpfs -o mode=700 drd-test "$2/stores" && shift 2 && exec "$@"`
	root := t.TempDir()
	if err := errors.Join(os.Mkdir(filepath.Join(root, "disk"), 0o700), os.Mkdir(filepath.Join(root, "stores"), 0o700)); err != nil {
		t.Fatal(err)
	}
	limit := 10 * time.Minute // with the race detector it takes one or two
	if end, ok := t.Deadline(); ok {
		limit = min(limit, time.Until(end)*9/10) // before this run is ended, so that it can show where the week stands
	}
	cmd := exec.CommandContext(t.Context(), "/bin/sh", "-c", script, "sh", fmt.Sprint(weekDisk), root, self,
		"-test.run=^TestWeek$", fmt.Sprintf("-test.timeout=%s", limit), fmt.Sprintf("-update=%t", *update))
	cmd.Env = append(os.Environ(), weekRoot+"="+root)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("the week: %v\n%s", err, out)
	}
}

func liveWeek(t *testing.T, root string) {
	clock := &truth{}
	server := httptest.NewServer(clock)
	defer server.Close()
	clock.url = server.URL
	var chapters []*chapter
	for _, c := range []struct {
		name, begin string
		tell        func(*story)
	}{
		{"Spring", "2026-03-27 12:00", spring},
		{"Autumn", "2026-10-21 12:00", autumn},
	} {
		synctest.Test(t, func(t *testing.T) {
			disk, stores := filepath.Join(root, "disk", c.name), filepath.Join(root, "stores", c.name)
			s := &story{weekHost: newWeekHost(t, disk, stores, clock, c.begin), chapter: &chapter{name: c.name}}
			c.tell(s)
			s.stop()
			chapters = append(chapters, s.chapter)
		})
	}
	evaluate(t, chapters)
	var got strings.Builder
	for _, c := range chapters {
		c.write(&got)
	}
	const golden = "testdata/week.golden"
	if *update {
		if err := os.WriteFile(golden, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("%s: %s\nhint: go test ./internal/daemon -run TestWeek -update, then read what changed", golden, diff)
	}
}

// story is a host to which things happen while it is watched.
type story struct {
	*weekHost
	*chapter
}

// until lets time pass up to a local time, and has Prometheus scrape the host meanwhile.
func (s *story) until(local string) {
	s.t.Helper()
	end, err := time.ParseInLocation("2006-01-02 15:04 MST", "2026-"+local, s.zone)
	s.must(err)
	if end.Before(time.Now()) {
		s.t.Fatalf("%s is over", local)
	}
	for time.Now().Before(end) {
		time.Sleep(scrapeEvery)
		synctest.Wait()
		s.must(s.scrape(s.cfg.Metrics, s.stop != nil))
	}
}

// look lets time pass up to a local time and writes down how things stand then.
func (s *story) look(local, what string) {
	s.t.Helper()
	s.until(local)
	s.mu.Lock()
	taken := s.taken
	s.taken = nil
	s.mu.Unlock()
	now, host := time.Now().In(s.zone), s.now()
	p := &point{at: s.scrapes, title: now.Format("Mon 2006-01-02 15:04 MST") + ": " + what, taken: taken, status: s.status()}
	if !now.Equal(host) {
		p.clock = host.Format("Mon 2006-01-02 15:04 MST")
	}
	s.points = append(s.points, p)
}

// fill writes the disk full, and returns what makes room again.
func (s *story) fill() (free func()) {
	s.t.Helper()
	name := filepath.Join(s.disk, "core")
	f, err := os.Create(name)
	s.must(err)
	defer f.Close()
	block := make([]byte, 1<<16)
	for written := 0; written <= weekDisk && err == nil; written += len(block) {
		_, err = f.Write(block)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		s.t.Fatalf("fill the disk: %v", err)
	}
	return func() { s.must(os.Remove(name)) }
}

func spring(s *story) {
	s.boot()
	s.look("03-27 13:10 CET", "installed an hour ago; nobody waited for a tick")
	s.look("03-29 01:50 CET", "before the clock skips the hour of a tick")
	s.look("03-29 06:10 CEST", "the tick of 02:30, which does not exist, was answered at 03:00; the drill of 04:00 is made")
	s.look("03-29 10:00 CEST", "the next tick came at its own time")
}

// Whoever looks waits until retention was applied, an hour after each tick, until what was tried again at times that are drawn is
// followed by something else, and after drills for two hours, from when on their minutes are not told.
func autumn(s *story) {
	s.boot()
	s.look("10-21 13:10 CEST", "installed an hour ago")
	s.look("10-22 10:00 CEST", "a day later")

	s.until("10-22 12:00 CEST")
	s.bucket.SetDown(errors.New("the service is not available (503)"))
	s.look("10-22 12:20 CEST", "the bucket of primary is away since 12:00")
	s.look("10-22 18:00 CEST", "for six hours")
	s.look("10-23 10:00 CEST", "for 22 hours")
	s.until("10-23 12:00 CEST")
	s.bucket.SetDown(nil)
	s.look("10-23 16:00 CEST", "it is back since 12:00 and has everything")

	s.until("10-23 19:00 CEST")
	s.stop()
	s.look("10-23 19:20 CEST", "the host is off since 19:00; seen from another one")
	s.look("10-24 04:40 CEST", "still off, over two ticks and a drill")
	s.boot()
	s.look("10-24 10:00 CEST", "on since 04:40: one snapshot made up for two ticks, and the drill is made")

	s.until("10-24 15:40 CEST")
	free := s.fill()
	s.look("10-24 16:00 CEST", "the disk is full since 15:40")
	s.look("10-24 22:00 CEST", "the tick of 20:30 was tried ever since")
	s.until("10-25 00:40 CEST")
	free()
	s.look("10-25 02:50 CET", "there is room since 00:40; 02:30 came twice, and its tick was answered once")
	s.look("10-25 13:00 CET", "the rest of the longest day")

	s.until("10-25 15:00 CET")
	s.setClock(3 * time.Hour)
	s.look("10-25 16:30 CET", "the clock jumped 3 hours ahead at 15:00")
	s.look("10-26 00:50 CET", "two ticks were answered by the wrong clock")
	s.until("10-26 00:55 CET")
	s.setClock(0)
	s.look("10-26 02:20 CET", "it was set right at 00:55")
	s.look("10-26 10:00 CET", "what was dated ahead is of the past by now")

	s.until("10-26 12:00 CET")
	s.setClock(-26 * time.Hour)
	s.look("10-26 15:50 CET", "the clock jumped 26 hours back at 12:00")
	s.until("10-26 16:00 CET")
	s.setClock(0)
	s.look("10-26 22:00 CET", "it was set right at 16:00")
	s.look("10-28 12:00 CET", "the week is over")
}
