package scratch

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sys/unix"

	"github.com/drd-project/drd/test/servers"
)

// networks are what machines grant: the most they can, and nothing.
var networks = map[string][]grant{"own network": nil, "shared network": {{}}}

// TestNoNetwork: it has unix sockets and no other, also in the network of the machine.
func TestNoNetwork(t *testing.T) {
	d := restoredFrom(t, "3.7")
	for kind, grants := range networks {
		for name, l := range launchers(t) {
			if name != "embedded" && name != "3.7" && grants == nil {
				continue // a network of its own is not the program's doing
			}
			t.Run(kind+"/"+name, func(t *testing.T) {
				data := d
				if name != "embedded" && name != "3.7" {
					data = restoredFrom(t, name)
				}
				l.grants = grants
				e := start(t, l, socketDir(t), data)
				read(t, e)
				pid := e.child.process.Pid
				if found := ipSockets(t, pid); len(found) > 0 {
					t.Errorf("it has IP sockets: %v", found)
				}
				checkNamespace(t, e, pid)
			})
		}
	}
}

// checkNamespace holds the notes against what the kernel says.
func checkNamespace(t *testing.T, e *Etcd, pid int) {
	t.Helper()
	ours, err1 := os.Readlink("/proc/self/ns/net")
	theirs, err2 := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", pid))
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	noted := slices.ContainsFunc(e.Notes(), func(n string) bool { return strings.HasPrefix(n, "no network of its own: ") })
	if noted != (ours == theirs) {
		t.Errorf("its network is %s, ours is %s; notes: %q", theirs, ours, e.Notes())
	}
}

// ipSockets are the lines in the process's network about sockets that it has open.
func ipSockets(tb testing.TB, pid int) []string {
	tb.Helper()
	fds, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil || len(fds) == 0 {
		tb.Fatalf("descriptors of process %d: %d, %v", pid, len(fds), err)
	}
	open := make(map[string]bool)
	for _, fd := range fds {
		to, err := os.Readlink(fd)
		if inode, ok := strings.CutPrefix(to, "socket:["); err == nil && ok {
			open[strings.TrimSuffix(inode, "]")] = true
		}
	}
	if len(open) == 0 {
		tb.Fatal("it has no sockets at all")
	}
	var found []string
	for _, kind := range []string{"tcp", "tcp6", "udp", "udp6", "raw", "raw6"} {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", pid, kind))
		if err != nil && !os.IsNotExist(err) { // a kernel without IPv6
			tb.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if fields := strings.Fields(line); len(fields) > 9 && open[fields[9]] {
				found = append(found, kind+" "+line)
			}
		}
	}
	return found
}

// TestBesideTheLiveMember: the cluster that the data came from does not notice.
func TestBesideTheLiveMember(t *testing.T) {
	members := servers.StartEtcdCluster(t, "3.7", 3, func(cfg *servers.EtcdConfig) {
		cfg.Args = []string{"--heartbeat-interval", "500", "--election-timeout", "10000"} // no election because the machine is busy
	})
	if _, err := members[0].Client(t).Put(t.Context(), testKey, testValue); err != nil {
		t.Fatal(err)
	}
	d := restored(t, members[0], members[0].Client(t))
	for kind, grants := range networks {
		for name, l := range map[string]Launcher{"embedded": embedded(t), "program": binary(t, "3.7")} {
			t.Run(kind+"/"+name, func(t *testing.T) {
				before := observe(t, members)
				l.grants = grants
				e := start(t, l, socketDir(t), d)
				if got := read(t, e); got != testValue {
					t.Errorf("%q", got)
				}
				put(t, e, "scratch", "only")
				if found := ipSockets(t, e.child.process.Pid); len(found) > 0 {
					t.Errorf("it has IP sockets: %v", found)
				}
				if diff := cmp.Diff(before, observe(t, members)); diff != "" {
					t.Errorf("the live cluster has changed (-before +after):\n%s", diff)
				}
				if err := e.Stop(); err != nil {
					t.Error(err)
				}
				if diff := cmp.Diff(before, observe(t, members)); diff != "" {
					t.Errorf("the live cluster has changed (-before +after):\n%s", diff)
				}
			})
		}
	}
	for _, m := range members {
		if strings.Contains(m.Logs(), "request cluster ID mismatch") || strings.Contains(m.Logs(), "request sent was ignored") {
			t.Errorf("%s heard of a stranger", m.Name())
		}
	}
}

// observation is what a live member would tell of a stranger.
type observation struct {
	Revision, Keys int64
	Term, Leader   uint64
	Members        []string
}

func observe(tb testing.TB, members []*servers.Etcd) []observation {
	tb.Helper()
	var all []observation
	for _, m := range members {
		client := m.Client(tb)
		keys, err1 := client.Get(tb.Context(), "", clientv3.WithPrefix(), clientv3.WithCountOnly()) // first: the member has caught up then
		status, err2 := client.Status(tb.Context(), m.Endpoint())
		list, err3 := client.MemberList(tb.Context())
		if err1 != nil || err2 != nil || err3 != nil {
			tb.Fatal(err1, err2, err3)
		}
		o := observation{Revision: status.Header.Revision, Keys: keys.Count, Term: status.RaftTerm, Leader: status.Leader}
		for _, each := range list.Members {
			o.Members = append(o.Members, fmt.Sprintf("%x %s %v %v", each.ID, each.Name, each.PeerURLs, each.ClientURLs))
		}
		all = append(all, o)
	}
	return all
}

// TestLowered: it comes last for the CPU and the disk, goes first when memory runs out, and holds nothing of ours.
func TestLowered(t *testing.T) {
	marker := filepath.Join(t.TempDir(), "inherited")
	if err := os.WriteFile(marker, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	fd, err := syscall.Open(marker, syscall.O_RDONLY, 0) // without O_CLOEXEC, as a careless parent leaves it
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(fd)
	t.Setenv("DRD_SECRET", "of the parent")
	d := restoredFrom(t, "3.7")
	for name, l := range map[string]Launcher{"embedded": embedded(t), "program": binary(t, "3.7")} {
		t.Run(name, func(t *testing.T) {
			l.MemoryLimit = 400 << 20
			dir := socketDir(t)
			e := start(t, l, dir, d)
			proc := fmt.Sprintf("/proc/%d", e.child.process.Pid)
			checkThreads(t, proc)
			if got := text(t, proc+"/oom_score_adj"); strings.TrimSpace(got) != oomScore {
				t.Errorf("oom_score_adj %q", got)
			}
			want := "GOMEMLIMIT=377487360\x00ETCD_UNSUPPORTED_ARCH="
			if got := text(t, proc+"/environ"); !strings.HasPrefix(got, want) || strings.Contains(got, "DRD_SECRET") {
				t.Errorf("environment %q", got)
			}
			if cwd, err := os.Readlink(proc + "/cwd"); err != nil || cwd != dir {
				t.Errorf("cwd %s, %v", cwd, err)
			}
			var core unix.Rlimit
			if err := unix.Prlimit(e.child.process.Pid, unix.RLIMIT_CORE, nil, &core); err != nil || core != (unix.Rlimit{}) {
				t.Errorf("core limit %v, %v", core, err)
			}
			fds, err := filepath.Glob(proc + "/fd/*")
			if err != nil || len(fds) == 0 {
				t.Fatal(len(fds), err)
			}
			for _, fd := range fds {
				if to, err := os.Readlink(fd); err == nil && to == marker {
					t.Errorf("%s is %s", fd, to)
				}
			}
		})
	}
}

func checkThreads(t *testing.T, proc string) {
	t.Helper()
	threads, err := filepath.Glob(proc + "/task/*")
	if err != nil || len(threads) < 2 {
		t.Fatalf("threads: %d, %v", len(threads), err)
	}
	for _, thread := range threads {
		stat := text(t, thread+"/stat")
		fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
		if nice := fields[19-3]; nice != "19" {
			t.Errorf("%s has nice %s", thread, nice)
		}
		var tid uintptr
		if _, err := fmt.Sscan(filepath.Base(thread), &tid); err != nil {
			t.Fatal(err)
		}
		const whoProcess, idleIO = 1, 3 << 13
		if class, _, errno := unix.Syscall(unix.SYS_IOPRIO_GET, whoProcess, tid, 0); errno != 0 || class != idleIO {
			t.Errorf("%s has I/O priority %#x, %v", thread, class, errno)
		}
	}
}

func text(tb testing.TB, path string) string {
	tb.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	return string(b)
}

// TestArgument: what a Launcher appends is what Main reads.
func TestArgument(t *testing.T) {
	want := settings{DataDir: "/data", Name: "m", InitialCluster: "m=http://h:1", Token: "t", PeerURL: "http://h:1", Quota: 7}
	arg, err := want.argument()
	if err != nil {
		t.Fatal(err)
	}
	var got settings
	if err := json.Unmarshal([]byte(arg), &got); err != nil || got != want {
		t.Errorf("%+v, %v", got, err)
	}
}
