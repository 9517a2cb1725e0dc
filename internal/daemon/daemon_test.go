package daemon

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/drd-project/drd/internal/backup"
	"github.com/drd-project/drd/internal/etcd"
	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/metrics"
	"github.com/drd-project/drd/test/servers"
)

func sha256Of(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// TestService is the whole of it: a real member, a real socket of the service manager, a scrape, and the end.
func TestService(t *testing.T) {
	socket, received := serviceManager(t)
	t.Setenv("NOTIFY_SOCKET", socket)
	server := servers.StartEtcd(t, servers.EtcdConfig{})
	if _, err := server.Client(t).Put(t.Context(), "k", "v"); err != nil {
		t.Fatal(err)
	}
	n := newNode(t, 2)
	member := etcd.Config{Endpoints: []string{server.Endpoint()}, DialTimeout: patience}
	n.cfg.Backup, n.cfg.Revision, n.cfg.Notify, n.cfg.Listen = nil, RevisionOf(member), nil, reserved(t)
	if err := os.MkdirAll(n.cfg.StateDir, 0o700); err != nil {
		t.Fatal(err)
	}
	runner := n.runner()
	n.cfg.Backup, n.cfg.Queue = TakeFrom(member, runner), runner.Queue()
	n.start()

	url := "http://" + n.address()
	// Each is set at its own moment: a scrape may come in between.
	for _, want := range []string{
		`drd_repo_objects{kind="snapshot",target="t0"} 1`, `drd_repo_objects{kind="snapshot",target="t1"} 1`, "drd_etcd_revision 2\n",
		"drd_snapshot_duration_seconds_count 1\n", "drd_snapshot_revision 2\n", "drd_members_diverged 0\n", `drd_errors_total{stage="snapshot"} 0`,
		`drd_replication_lost_total{target="t0"} 0`, `drd_replication_lost_total{target="t1"} 0`, "\nprocess_start_time_seconds ", "\ngo_goroutines ",
	} {
		n.until("a scrape with "+want, func() bool {
			_, body := get(t, http.DefaultClient, url+"/metrics")
			return strings.Contains(body, want)
		})
	}
	if status, page := get(t, http.DefaultClient, url+"/"); status != http.StatusOK || !strings.Contains(page, `href="/metrics"`) {
		t.Errorf("/ is %d: %s", status, page)
	}
	if status, _ := get(t, http.DefaultClient, url+"/debug/pprof/"); status != http.StatusNotFound {
		t.Errorf("/debug/pprof/ is %d", status)
	}
	for _, target := range []string{"t0", "t1"} {
		n.untilLog("target=" + target + " proved=plaintext")
		n.until("an empty queue", func() bool { return value(t, n.cfg.Metrics, "drd_replication_queue_objects", target) == 0 })
	}
	n.until("the status", func() bool { // the state is saved before
		return slices.ContainsFunc(received(), func(state string) bool { return strings.HasPrefix(state, "STATUS=last snapshot 20") })
	})
	if err := n.stop(); err != nil {
		t.Errorf("ended with %v", err)
	}
	n.until("STOPPING", func() bool { return slices.Contains(received(), "STOPPING=1") })
	told := received()
	if i, j := slices.Index(told, "READY=1"), slices.Index(told, "STOPPING=1"); i < 0 || j != len(told)-1 {
		t.Errorf("told %q", told)
	}
	if status := told[len(told)-2]; !strings.HasPrefix(status, "STATUS=last snapshot 20") || !strings.Contains(status, "; next ") {
		t.Errorf("last status %q", status)
	}
	if _, err := net.Dial("tcp", strings.TrimPrefix(url, "http://")); err == nil {
		t.Error("still listens")
	}
}

// TestReadyWithoutEtcd: a node whose etcd is down at boot is a node that waits.
func TestReadyWithoutEtcd(t *testing.T) {
	n := newNode(t, 1)
	var told atomic.Value
	told.Store("")
	n.cfg.Notify = func(state string) error {
		told.Store(told.Load().(string) + state + "\n")
		return nil
	}
	member := etcd.Config{Endpoints: []string{"http://" + reserved(t)}, DialTimeout: patience}
	n.cfg.Backup, n.cfg.Revision = TakeFrom(member, n.runner()), RevisionOf(member)
	n.start()
	n.until("status", func() bool {
		s := told.Load().(string)
		return strings.Contains(s, "READY=1\n") && strings.Contains(s, "STATUS=no snapshot yet; the snapshot of ") && strings.Contains(s, "refused")
	})
	n.until("errors", func() bool {
		v, _ := sample(t, n.cfg.Metrics, "drd_errors_total", string(metrics.StageEtcd))
		return v == 1 && value(t, n.cfg.Metrics, "drd_errors_total", string(metrics.StageSnapshot)) == 1
	})
	n.until("the empty target", func() bool {
		v, known := sample(t, n.cfg.Metrics, "drd_snapshot_last_success_timestamp_seconds")
		return known && v == 0
	})
	if _, known := sample(t, n.cfg.Metrics, "drd_etcd_revision"); known {
		t.Error("a revision that nobody told")
	}
}

// endless is a member whose snapshot never ends.
type endless struct {
	ctx      context.Context
	chunks   int
	streamed chan struct{}
}

func (e *endless) Status(context.Context) (etcd.Status, error) {
	return etcd.Status{ClusterID: 1, MemberID: 2, Revision: 3, DBSize: 1 << 20, Version: "3.7.3"}, nil
}
func (e *endless) Members(context.Context) ([]etcd.Member, error) { return nil, nil }
func (e *endless) HashKV(context.Context, string, int64) (etcd.Hash, error) {
	return etcd.Hash{}, errors.New("not asked")
}

func (e *endless) SnapshotStream(ctx context.Context) (etcd.Stream, error) {
	e.ctx = ctx
	return e, nil
}

func (e *endless) Recv() (etcd.Chunk, error) {
	if e.chunks++; e.chunks > 8 {
		if e.chunks == 9 {
			close(e.streamed)
		}
		<-e.ctx.Done()
		return etcd.Chunk{}, e.ctx.Err()
	}
	return etcd.Chunk{Blob: make([]byte, 32<<10), Remaining: 1 << 20}, nil
}

// TestStopDuringCapture leaves nothing of the snapshot: not in the spool, not in a target, not in the schedule's state.
func TestStopDuringCapture(t *testing.T) {
	n := newNode(t, 1)
	if err := os.MkdirAll(n.cfg.StateDir, 0o700); err != nil {
		t.Fatal(err)
	}
	runner, member := n.runner(), &endless{streamed: make(chan struct{})}
	n.cfg.Backup = func(ctx context.Context, slot *time.Time) (*backup.Result, error) {
		return runner.Run(ctx, member, slot, observer{func() {}})
	}
	n.start()
	select {
	case <-member.streamed:
	case <-time.After(patience):
		t.Fatalf("no capture; the log:\n%s", n.log)
	}
	if err := n.stop(); err != nil {
		t.Errorf("ended with %v", err)
	}
	for _, f := range append(files(t, n.cfg.StateDir), files(t, n.dirs[0])...) {
		if f != "snapshot.lock" {
			t.Errorf("left %s", f)
		}
	}
	if !strings.Contains(n.log.String(), "given up") || strings.Contains(n.log.String(), "level=ERROR") {
		t.Errorf("the log says\n%s", n.log)
	}
	if got := value(t, n.cfg.Metrics, "drd_errors_total", string(metrics.StageSnapshot)); got != 0 {
		t.Errorf("counts as %v errors", got)
	}
}

// TestFailureDoesNotLookLikeSuccess: a failing backup moves the counter and nothing else.
func TestFailureDoesNotLookLikeSuccess(t *testing.T) {
	n := newNode(t, 1)
	old := n.put(n.keys.Signer, 5*time.Hour, 100, nil, 0)
	n.cfg.Backup = func(context.Context, *time.Time) (*backup.Result, error) {
		return nil, errors.New("no space left on device")
	}
	n.start()
	n.until("the error", func() bool {
		return value(t, n.cfg.Metrics, "drd_errors_total", string(metrics.StageSnapshot)) == 1
	})
	n.until("the old snapshot", func() bool {
		_, known := sample(t, n.cfg.Metrics, "drd_snapshot_last_success_timestamp_seconds")
		return known
	})
	if got := value(t, n.cfg.Metrics, "drd_snapshot_last_success_timestamp_seconds"); got != float64(old.CaptureEnd.Unix()) {
		t.Errorf("last success %v, want %v", got, old.CaptureEnd.Unix())
	}
	if got := value(t, n.cfg.Metrics, "drd_snapshot_duration_seconds"); got != 0 {
		t.Errorf("%v durations", got)
	}
}

func TestStartErrors(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("basic_auth_users: Planted0Secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		change func(*Config)
		want   []string
	}{
		{"port in use", func(c *Config) { c.Listen = taken.Addr().String() }, []string{"serve metrics", "address already in use", "ss -ltnp", "metrics.listen"}},
		{"not an address of the host", func(c *Config) { c.Listen = "192.0.2.1:9877" }, []string{"serve metrics", "192.0.2.1:9877"}},
		{"web configuration", func(c *Config) { c.WebConfigFile = file }, []string{"read the web configuration", "a value", "format of Prometheus"}},
		{"no web configuration", func(c *Config) { c.WebConfigFile = file + "2" }, []string{"no such file"}},
		{"state directory", func(c *Config) { c.StateDir = filepath.Join(file, "state") }, []string{"write to the state directory", "state_dir"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := newNode(t, 0)
			c.change(&n.cfg)
			n.cfg.Notify = func(state string) error {
				t.Errorf("told %s", state)
				return nil
			}
			err := run(t.Context(), n.cfg, newNotifier(n.cfg.Notify, n.cfg.Log))
			if err == nil {
				t.Fatal("starts")
			}
			text := err.Error() + "\n" + strings.Join(hint.Of(err), "\n")
			for _, want := range c.want {
				if !strings.Contains(text, want) {
					t.Errorf("%q is not in %q", want, text)
				}
			}
			if strings.Contains(text, "Planted0Secret") {
				t.Errorf("tells the password: %s", text)
			}
		})
	}
}

// TestWebConfig serves TLS with a password, and renewed certificates without a restart.
func TestWebConfig(t *testing.T) {
	ca := servers.NewCA(t)
	cert, key := ca.Issue(t, "127.0.0.1")
	n := newNode(t, 0)
	n.cfg.WebConfigFile = filepath.Join(t.TempDir(), "web.yaml")
	content := fmt.Sprintf("tls_server_config: {cert_file: %s, key_file: %s}\nbasic_auth_users: {prometheus: %q}\n", cert, key, bcryptOf(t, webPassword))
	if err := os.WriteFile(n.cfg.WebConfigFile, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	n.start()
	url := "https://" + n.address() + "/metrics"
	client := clientOf(ca)
	if status, _ := get(t, client, url); status != http.StatusUnauthorized {
		t.Errorf("without password: %d", status)
	}
	first := serial(t, client, url, http.StatusOK)
	renewedCert, renewedKey := ca.Issue(t, "127.0.0.1")
	for from, to := range map[string]string{renewedCert: cert, renewedKey: key} {
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	if second := serial(t, clientOf(ca), url, http.StatusOK); second == first {
		t.Error("the renewed certificate is not used")
	}
	resp, err := http.Get(strings.Replace(url, "https", "http", 1))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode == http.StatusOK {
		t.Errorf("plain HTTP: %d, %v", resp.StatusCode, err)
	}
}
