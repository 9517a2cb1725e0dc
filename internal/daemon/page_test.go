package daemon

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/drd-project/drd/internal/etcd"
	"github.com/drd-project/drd/internal/metrics"
	"github.com/drd-project/drd/internal/proof"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/restore"
	"github.com/drd-project/drd/test/servers"
)

// TestStatusPage: a node that has just started is not ready; with a snapshot it is, and what a page view shows is what the daemon saw
// and nothing that a target was asked for.
func TestStatusPage(t *testing.T) {
	n := newNode(t, 2)
	n.cfg.Cluster, n.cfg.Version = "prod-east", "1.2.3"
	var looks atomic.Int64
	block := make(chan struct{})
	for i, r := range n.cfg.Readers {
		n.cfg.Readers[i].Read = func(ctx context.Context) (*repo.Catalogue, error) {
			<-block
			looks.Add(1)
			return r.Read(ctx)
		}
	}
	n.start()
	url := "http://" + n.address()
	if code, body := get(t, http.DefaultClient, url+"/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(body, "target t0: not looked at yet") {
		t.Errorf("before the first look: %d %s", code, body)
	}
	if code, body := get(t, http.DefaultClient, url+"/"); code != http.StatusOK || !strings.Contains(body, "NOT RECOVERABLE") {
		t.Errorf("before the first look: %d %s", code, body)
	}
	close(block)
	n.until("looks that found nothing", func() bool {
		code, body := get(t, http.DefaultClient, url+"/readyz")
		return code == http.StatusServiceUnavailable && strings.Contains(body, "target t0: nothing to restore") && strings.Contains(body, "target t1: nothing to restore")
	})
	if code, body := get(t, http.DefaultClient, url+"/healthz"); code != http.StatusOK || body != "alive\n" {
		t.Errorf("/healthz: %d %s", code, body)
	}
	before := looks.Load()
	for range 20 {
		get(t, http.DefaultClient, url+"/")
		get(t, http.DefaultClient, url+"/readyz")
	}
	if after := looks.Load(); after != before {
		t.Errorf("%d looks at targets for page views", after-before)
	}
	resp, err := http.Get(url + "/")
	if err != nil {
		t.Fatal(err)
	}
	if err := resp.Body.Close(); err != nil {
		t.Error(err)
	}
	if policy := resp.Header.Get("Content-Security-Policy"); !strings.HasPrefix(policy, "default-src 'none'; ") {
		t.Errorf("policy %q", policy)
	}
}

// TestReadyWithSnapshots: recent snapshots in every target make the node ready; one target that cannot be read any more does not.
func TestReadyWithSnapshots(t *testing.T) {
	server := servers.StartEtcd(t, servers.EtcdConfig{})
	if _, err := server.Client(t).Put(t.Context(), "k", "v"); err != nil {
		t.Fatal(err)
	}
	n := newNode(t, 2)
	takes(t, n, server)
	n.cfg.Textfile = filepath.Join(t.TempDir(), "drd.prom")
	n.start()
	url := "http://" + n.address()
	n.until("ready", func() bool {
		code, body := get(t, http.DefaultClient, url+"/readyz")
		return code == http.StatusOK && body == "ready\n"
	})
	n.until("the textfile", func() bool {
		content, err := os.ReadFile(n.cfg.Textfile)
		return err == nil && strings.Contains(string(content), "\ndrd_build_info{")
	})
	_, page := get(t, http.DefaultClient, url+"/")
	for _, want := range []string{"recoverable to 20", "NOT PROVED", `class="tick"`, "file://" + n.dirs[1], "Next: snapshot "} {
		if !strings.Contains(page, want) {
			t.Errorf("the page has no %q:\n%s", want, page)
		}
	}
}

// TestAllPathsAreProtected: TLS and passwords of the web configuration hold for each path.
func TestAllPathsAreProtected(t *testing.T) {
	ca := servers.NewCA(t)
	cert, key := ca.Issue(t, "drd")
	hash, err := bcrypt.GenerateFromPassword([]byte(webPassword), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	web := filepath.Join(t.TempDir(), "web.yaml")
	text := "tls_server_config: {cert_file: " + cert + ", key_file: " + key + "}\nbasic_auth_users: {prometheus: '" + string(hash) + "'}\n"
	if err := os.WriteFile(web, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	n := newNode(t, 1)
	n.cfg.WebConfigFile = web
	n.start()
	address := n.address()
	for path, want := range map[string]int{"/": 200, "/metrics": 200, "/healthz": 200, "/readyz": 503, "/other": 404} {
		if code, _ := get(t, clientOf(ca), "https://"+address+path); code != http.StatusUnauthorized {
			t.Errorf("%s without a password: %d", path, code)
		}
		serial(t, clientOf(ca), "https://"+address+path, want)
		if code, body := get(t, http.DefaultClient, "http://"+address+path); code != http.StatusBadRequest || strings.Contains(body, "drd") {
			t.Errorf("%s without TLS: %d %s", path, code, body)
		}
	}
}

// TestOldLooks: what was seen too long ago says nothing of today.
func TestOldLooks(t *testing.T) {
	n := newNode(t, 1)
	now := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	n.cfg.Now = func() time.Time { return now }
	b := newBoard(n.cfg, newNotifier(n.cfg.Notify, n.cfg.Log))
	readers := b.watching(n.cfg.Readers)
	if _, err := readers[0].Read(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r := b.report(); !r.Targets[0].Readable {
		t.Errorf("not readable: %+v", r)
	}
	now = now.Add(staleLook + time.Second)
	if r := b.report(); r.Targets[0].Readable || !strings.Contains(r.Problems[0].Text, "it was last looked at on 2026-11-22T10:00:00Z") {
		t.Errorf("%+v", r)
	}
	if _, err := readers[0].Read(t.Context()); err != nil || !b.report().Targets[0].Readable {
		t.Errorf("a new look does not count: %v", err)
	}
	b.views[0].err = errors.New("it burns")
	if r := b.report(); r.Targets[0].Readable || !strings.Contains(r.Problems[0].Text, "it burns") {
		t.Errorf("%+v", r)
	}
	b.proved(b.views[0], &repo.Catalogue{}, nil, errors.New("no records"))
	b.views[0].err = nil
	if r := b.report(); !strings.Contains(r.Problems[len(r.Problems)-1].Text, "its drill records: no records") {
		t.Errorf("%+v", r.Problems)
	}
	b.proved(b.views[0], &repo.Catalogue{}, &proof.History{}, nil)
	if r := b.report(); len(r.Problems) != 1 {
		t.Errorf("%+v", r.Problems)
	}
}

// TestHealth: a loop that hangs and a part that does not answer are seen, and ones who ask do not pile up.
func TestHealth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPulse()
		hang := make(chan struct{})
		var probes atomic.Int64
		probe := func() { probes.Add(1) }
		h := newHealth(p, func() { probe() })
		ask := func() (int, string) {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/healthz", nil))
			return w.Code, w.Body.String()
		}
		p.within(time.Minute, "schedule")
		if code, body := ask(); code != http.StatusOK || body != "alive\n" {
			t.Errorf("%d %s", code, body)
		}
		time.Sleep(time.Minute + slack + time.Second)
		if code, body := ask(); code != http.StatusServiceUnavailable || body != "hanging: schedule\n" {
			t.Errorf("%d %s", code, body)
		}
		p.away("schedule")
		probe = func() { probes.Add(1); <-hang }
		probes.Store(0)
		for range 5 {
			if code, body := ask(); code != http.StatusServiceUnavailable || body != "hanging: replication\n" {
				t.Errorf("%d %s", code, body)
			}
		}
		if got := probes.Load(); got != 1 {
			t.Errorf("%d probes hang", got)
		}
		close(hang)
		synctest.Wait()
		if code, _ := ask(); code != http.StatusOK {
			t.Errorf("%d after the end of it", code)
		}
	})
}

// takes makes the node take snapshots of the server.
func takes(t *testing.T, n *node, server *servers.Etcd) {
	t.Helper()
	if err := os.MkdirAll(n.cfg.StateDir, 0o700); err != nil {
		t.Fatal(err)
	}
	runner := n.runner()
	n.cfg.Backup, n.cfg.Queue = TakeFrom(etcd.Config{Endpoints: []string{server.Endpoint()}, DialTimeout: patience}, runner), runner.Queue()
}

// TestArchiveOnBoard: the archive moves the recovery point on, by what was read of it and by what this node wrote.
func TestArchiveOnBoard(t *testing.T) {
	n := newNode(t, 1)
	n.cfg.Now, n.cfg.Host.Flush = time.Now, 5*time.Second
	e := n.put(n.keys.Signer, time.Hour, 100, nil, 0)
	end := time.Now().Add(-2 * time.Minute).UTC().Truncate(time.Second)
	n.cfg.Readers[0].Window = func(_ context.Context, c *repo.Catalogue) (*restore.Window, error) {
		if len(c.Entries) != 1 {
			t.Errorf("%d entries", len(c.Entries))
		}
		return &restore.Window{Ranges: []restore.WindowRange{
			{First: 1, Last: 50, Times: []restore.WindowSpan{{From: end.Add(-9 * time.Hour), To: end.Add(time.Hour)}}}, // behind a gap
			{First: 60, Last: 200, Times: []restore.WindowSpan{{From: end.Add(-time.Hour), To: end}}},
		}}, nil
	}
	b := newBoard(n.cfg, newNotifier(n.cfg.Notify, n.cfg.Log))
	readers := b.watching(n.cfg.Readers)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); b.run(ctx, readers) }()
	if _, err := readers[0].Read(t.Context()); err != nil {
		t.Fatal(err)
	}
	n.until("the archive", func() bool {
		r := b.report()
		return r.RecoveryPoint != nil && r.RecoveryPoint.Equal(end) && r.Safe() && r.Snapshot == e.ID
	})
	if _, targets := b.judge(); len(targets[0].Archive) != 2 || len(targets[0].Snapshots) != 1 {
		t.Errorf("%+v", targets[0])
	}
	n.cfg.Metrics.SetTarget("t0", metrics.Target{RecoveryPoint: end.Add(-time.Hour)})
	n.cfg.Metrics.SetArchivePoint("t0", end.Add(time.Minute), end.Add(-2*time.Hour))
	if r := b.report(); !r.RecoveryPoint.Equal(end) {
		t.Errorf("recovery point %s, by what nobody has seen in the target", r.RecoveryPoint)
	}
	n.cfg.Metrics.SetWindow("t0", end, true)
	if r := b.report(); !r.RecoveryPoint.Equal(end.Add(time.Minute)) {
		t.Errorf("recovery point %s", r.RecoveryPoint)
	}
	stop()
	<-ended
}

// TestReadersThatRemember: what was read is kept in the directory, and what is gone from the target is gone.
func TestReadersThatRemember(t *testing.T) {
	n := newNode(t, 1)
	m := n.put(n.keys.Signer, time.Hour, 100, nil, 0)
	dir := filepath.Join(t.TempDir(), "cache")
	look := func() *repo.Catalogue {
		r := ReadersOf(n.targets, n.keys.Trust, dir, true)[0]
		c, err := r.Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if h, err := r.Proofs(t.Context(), c); err != nil || len(h.Records()) != 0 {
			t.Errorf("%v, %v", h, err)
		}
		if w, err := r.Window(t.Context(), c); err != nil || w == nil {
			t.Errorf("%v, %v", w, err)
		}
		return c
	}
	for range 2 {
		if c := look(); len(c.Entries) != 1 || !c.Entries[0].Restorable(false) {
			t.Errorf("%+v", c.Entries)
		}
	}
	if kept, err := os.ReadDir(dir); err != nil || len(kept) != 1 {
		t.Errorf("kept %v, %v", kept, err)
	}
	if err := os.Remove(filepath.Join(n.dirs[0], "prod-east", "snapshots", m.ID, "manifest.json")); err != nil {
		t.Fatal(err)
	}
	if c := look(); c.Entries[0].State != repo.StateIncomplete {
		t.Errorf("without a manifest: %s", c.Entries[0].State)
	}
}
