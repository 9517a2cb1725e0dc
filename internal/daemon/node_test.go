package daemon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/drd-project/drd/internal/backup"
	"github.com/drd-project/drd/internal/metrics"
	"github.com/drd-project/drd/internal/replicate"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/seal"
	"github.com/drd-project/drd/internal/seal/sealtest"
	"github.com/drd-project/drd/internal/snapshot/snapshottest"
	"github.com/drd-project/drd/internal/storage/dir"
)

// node is a daemon in real time, with directory targets and real keys.
type node struct {
	t       *testing.T
	cfg     Config
	keys    *sealtest.Keys
	targets []replicate.Target
	dirs    []string
	log     *logBuffer

	cancel context.CancelFunc
	ended  chan error
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

func newNode(t *testing.T, targets int) *node {
	t.Helper()
	n := &node{t: t, keys: sealtest.New(t), log: &logBuffer{}}
	for i := range targets {
		n.dirs = append(n.dirs, t.TempDir())
		bucket, err := dir.Open(n.dirs[i], dir.Options{})
		if err != nil {
			t.Fatal(err)
		}
		r, err := repo.Open(bucket, "prod-east")
		if err != nil {
			t.Fatal(err)
		}
		n.targets = append(n.targets, replicate.Target{Name: fmt.Sprintf("t%d", i), Repo: r, ReadBack: true})
	}
	n.cfg = Config{
		StateDir: filepath.Join(t.TempDir(), "state"), Schedule: ticks(t, "0 0 1 1 *", time.UTC),
		Readers: ReadersOf(n.targets, n.keys.Trust, "", false), Listen: "127.0.0.1:0", Metrics: metrics.New(metrics.Build{Version: "test"}),
		Log:    slog.New(slog.NewTextHandler(n.log, nil)),
		Notify: func(string) error { return nil },
		Backup: func(ctx context.Context, _ *time.Time) (*backup.Result, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		},
	}
	return n
}

// runner makes real backups to the node's targets.
func (n *node) runner() *backup.Runner {
	n.t.Helper()
	r, err := backup.New(backup.Config{
		Cluster: "prod-east", StateDir: n.cfg.StateDir, Keys: n.keys.Ring, Signer: n.keys.Signer, Recipients: n.keys.Recipients, Targets: n.targets,
		Inspector: snapshottest.Inspector(n.t),
		ScanBelow: 1 << 30, Build: repo.Build{Version: "test"}, Log: n.cfg.Log,
	})
	if err != nil {
		n.t.Fatal(err)
	}
	return r
}

// start runs the daemon; the end of the test stops it if nothing else did.
func (n *node) start() {
	n.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	n.cancel, n.ended = cancel, make(chan error, 1)
	go func() {
		n.ended <- run(ctx, n.cfg, newNotifier(n.cfg.Notify, n.cfg.Log))
		close(n.ended)
	}()
	n.t.Cleanup(func() { n.stop() })
}

// stop ends the daemon as a signal would, and returns what Run returned.
func (n *node) stop() error {
	n.cancel()
	select {
	case err := <-n.ended:
		return err
	case <-time.After(patience):
		n.t.Error("the daemon does not end")
		return nil
	}
}

// patience bounds each wait for what takes milliseconds on a machine that does nothing else.
const patience = time.Minute

// until waits for a condition.
func (n *node) until(what string, ok func() bool) {
	n.t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if ok() {
			return
		}
	}
	n.t.Fatalf("%s: not within %s; the log:\n%s", what, patience, n.log)
}

func (n *node) untilLog(part string) {
	n.t.Helper()
	n.until("log "+part, func() bool { return strings.Contains(n.log.String(), part) })
}

var addressInLog = regexp.MustCompile(`msg="serving metrics" address=(\S+)`)

// address is where the daemon listens.
func (n *node) address() string {
	n.t.Helper()
	n.untilLog("serving metrics")
	return addressInLog.FindStringSubmatch(n.log.String())[1]
}

// reserved is an address that only the test can listen on: it is bound already, so that no other program gets it, and Go listens on what
// is bound with SO_REUSEADDR.
func reserved(t *testing.T) string {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) }) // nothing was sent
	if err := errors.Join(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1), unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}})); err != nil {
		t.Fatal(err)
	}
	bound, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("127.0.0.1:%d", bound.(*unix.SockaddrInet4).Port)
}

func get(t *testing.T, client *http.Client, url string) (status int, body string) {
	t.Helper()
	resp, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// put stores a snapshot of the given age and revision in targets, signed by s.
func (n *node) put(s *seal.Signer, age time.Duration, revision int64, change func(*repo.Manifest), targets ...int) *repo.Manifest {
	n.t.Helper()
	payload := []byte("sealed")
	id := repo.ID{Time: time.Now().UTC().Add(-age).Truncate(time.Second), Revision: revision, Member: 0xa1}
	m := &repo.Manifest{
		Format: repo.ManifestFormat, ID: id.String(), Cluster: "prod-east", EtcdClusterID: "c1", Timeline: "00000000000000a1",
		Member: repo.Member{ID: "a1"}, CaptureStart: id.Time, CaptureEnd: id.Time.Add(3 * time.Second),
		Revision: revision, CompactRevision: -1, DBSize: 1000, Keys: 1, Revisions: 1, EtcdVersion: "3.7.3",
		HashKV: repo.HashKV{Revision: revision, CompactRevision: -1},
		Plain:  repo.Plain{SHA256: strings.Repeat("ab", 32), Size: 1032},
		Object: repo.Object{Name: "snapshot.db.zst.age", SHA256: sha256Of(payload), Size: int64(len(payload)), Envelope: "age-v1", Recipients: []string{"SHA256:x"}},
		Drd:    repo.Build{Version: "test"},
	}
	if change != nil {
		change(m)
	}
	signed, err := repo.Sign(m, s)
	if err != nil {
		n.t.Fatal(err)
	}
	for _, i := range targets {
		r := n.targets[i].Repo
		open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(payload)), nil }
		if _, err := r.PutPayload(n.t.Context(), id, m.Object.Name, open, m.Object.Size, m.Object.SHA256); err != nil {
			n.t.Fatal(err)
		}
		if err := r.Commit(n.t.Context(), signed); err != nil {
			n.t.Fatal(err)
		}
	}
	return m
}

// files lists the files below a directory.
func files(t *testing.T, root string) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			found = append(found, strings.TrimPrefix(path, root+"/"))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// serviceManager is the other end of NOTIFY_SOCKET.
func serviceManager(t *testing.T) (path string, received func() []string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var all []string
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, 4096)
		for {
			n, err := conn.Read(b)
			if err != nil {
				return
			}
			mu.Lock()
			all = append(all, string(b[:n]))
			mu.Unlock()
		}
	}()
	t.Cleanup(func() {
		conn.Close()
		<-done
	})
	return path, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return append([]string(nil), all...)
	}
}
