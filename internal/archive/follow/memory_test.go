package follow_test

import (
	"fmt"
	"os"
	"regexp"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/drd-project/drd/internal/archive/follow"
)

// TestMemory: a backlog of 600 values of 1 MB each is archived in a small part of that. etcd's own client was measured to take
// 630 MB for it.
func TestMemory(t *testing.T) {
	const values, limit = 600, 160 << 20
	c, o := newCluster(t, "3.7"), newOwner(t)
	c.put("a", "x")
	o.at.Revision = c.revision()
	value := strings.Repeat("0123456789abcdef", 1<<20/16)
	for i := range values {
		c.put(fmt.Sprint("large", i%10), value)
	}
	debug.FreeOSMemory()
	before := resident(t, "VmRSS")
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0o600); err != nil { // forgets the peak
		t.Fatal(err)
	}
	begun := time.Now()
	o.untilWithin(o.start(o.follower(func(cfg *follow.Config) { cfg.MaxBehindBytes = 1 << 30 }), c.drd), c.revision(), 3*time.Minute)
	took := time.Since(begun)
	used := resident(t, "VmHWM") - before
	t.Logf("%d segments in %s, %d MiB more at the peak than the %d MiB before", len(o.taken()), took, used>>20, before>>20)
	if used > limit {
		t.Errorf("it takes %d MiB, more than %d", used>>20, limit>>20)
	}
}

// resident is a line of this process's status in bytes.
func resident(t *testing.T, name string) int64 {
	t.Helper()
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(name + `:\s+(\d+) kB`).FindSubmatch(text)
	if found == nil {
		t.Fatalf("no %s in %s", name, text)
	}
	kib, err := strconv.ParseInt(string(found[1]), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return kib << 10
}
