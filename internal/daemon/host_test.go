package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/drd-project/drd/internal/etcd"
	"github.com/drd-project/drd/internal/metrics"
	"github.com/drd-project/drd/internal/prune"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/test/servers"
)

// watching is a watch of h that is asked by hand.
func watching(h Host) (*hostWatch, *metrics.Metrics) {
	m := metrics.New(metrics.Build{})
	log := slog.New(slog.DiscardHandler)
	quiet := func(string) error { return nil }
	return &hostWatch{Host: h, now: time.Now, metrics: m, log: log, tell: newNotifier(quiet, log), failing: make(map[string]bool)}, m
}

// valueOf is the value of a series as Prometheus gets it; "" when it is not there.
func valueOf(t *testing.T, m *metrics.Metrics, series string) string {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler(slog.New(slog.DiscardHandler)).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for line := range strings.Lines(w.Body.String()) {
		if value, found := strings.CutPrefix(line, series+" "); found {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func wantValue(t *testing.T, m *metrics.Metrics, series, want string) {
	t.Helper()
	if got := valueOf(t, m, series); got != want {
		t.Errorf("%s is %q, want %q", series, got, want)
	}
}

func epoch(at time.Time) string { return fmt.Sprint(float64(at.Unix())) }

// TestCertificates: files and servers tell when their certificates end: of a chain the one that ends first, of authorities the one that
// the server needs.
func TestCertificates(t *testing.T) {
	now := time.Now().Truncate(time.Second)
	soon, later := now.Add(2*time.Hour), now.Add(20*time.Hour)
	ca := servers.NewCA(t, servers.NotAfter(later))
	cert, key := ca.Issue(t, "client", servers.NotAfter(soon))
	authorities := filepath.Join(t.TempDir(), "ca.crt")
	content := contentOf(t, ca.CertFile())
	for _, other := range []time.Duration{-time.Hour, 1000 * time.Hour} {
		content = contentOf(t, servers.NewCA(t, servers.NotAfter(now.Add(other))).CertFile()) + content
	}
	if err := os.WriteFile(authorities, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	member := servers.StartEtcd(t, servers.EtcdConfig{ClientTLS: ca})
	h, m := watching(Host{Etcd: etcd.Config{Endpoints: []string{member.Endpoint()}, CAFile: authorities, CertFile: cert, KeyFile: key}})
	h.far(t.Context())
	wantValue(t, m, `drd_certificate_not_after_timestamp_seconds{target="",use="etcd_client"}`, epoch(soon))
	wantValue(t, m, `drd_certificate_not_after_timestamp_seconds{target="",use="etcd_ca"}`, epoch(later))
	if valueOf(t, m, `drd_certificate_not_after_timestamp_seconds{target="",use="etcd_server"}`) == "" {
		t.Error("the end of the member's certificate is not told")
	}
	if len(h.failing) > 0 {
		t.Errorf("what failed: %v", h.failing)
	}
}

func contentOf(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestCertificateUnreadable: what was known goes on standing, and the next look comes sooner.
func TestCertificateUnreadable(t *testing.T) {
	ca := servers.NewCA(t)
	until := time.Now().Add(2 * time.Hour).Truncate(time.Second)
	cert, _ := ca.Issue(t, "target", servers.NotAfter(until))
	h, m := watching(Host{Targets: []HostTarget{{Name: "s3", CAFile: cert}}})
	h.far(t.Context())
	for _, spoil := range []func() error{
		func() error { return os.WriteFile(cert, []byte("no certificate"), 0o600) },
		func() error { return os.Remove(cert) },
	} {
		if err := spoil(); err != nil {
			t.Fatal(err)
		}
		h.far(t.Context())
		wantValue(t, m, `drd_certificate_not_after_timestamp_seconds{target="s3",use="target_ca"}`, epoch(until))
		if len(h.failing) != 1 {
			t.Errorf("what failed: %v", h.failing)
		}
	}
}

// TestTargetServer: the certificate and the clock of a server that refuses us, and that nobody here trusts.
func TestTargetServer(t *testing.T) {
	const behind = 90 * time.Second
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodHead || len(r.Header["Authorization"]) > 0 {
			t.Errorf("asked with %s and %v", r.Method, r.Header)
		}
		w.Header().Set("Date", time.Now().Add(-behind).UTC().Format(http.TimeFormat))
		w.WriteHeader(http.StatusForbidden)
	}))
	defer server.Close()
	h, m := watching(Host{Targets: []HostTarget{{Name: "s3", Endpoint: server.URL}}})
	began := time.Now()
	h.far(t.Context())
	within := 1 + time.Since(began).Seconds() // a date is cut to the second, and is made on the way
	wantValue(t, m, `drd_certificate_not_after_timestamp_seconds{target="s3",use="target_server"}`, epoch(server.Certificate().NotAfter))
	var skew float64
	if _, err := fmt.Sscan(valueOf(t, m, `drd_clock_skew_seconds{target="s3"}`), &skew); err != nil || math.Abs(skew-behind.Seconds()) > within {
		t.Errorf("the clock is %v s ahead (%v), want 90 within %v", skew, err, within)
	}
	server.Close()
	h.far(t.Context())
	if !h.failing["the server of target s3"] {
		t.Error("a server that is gone was not missed")
	}
}

// TestCredentialsExpire: the line of the right section counts, and nothing else.
func TestCredentialsExpire(t *testing.T) {
	path := filepath.Join(t.TempDir(), "credentials")
	for _, tc := range []struct{ name, file, profile, want string }{
		{"none", "[default]\naws_access_key_id = A\n", "", ""},
		{"expiration", "[default]\nexpiration = 2027-01-02T03:04:05Z\n", "", "2027-01-02T03:04:05Z"},
		{"token", "[default]\nx_security_token_expires=2027-01-02T03:04:05+01:00\n", "", "2027-01-02T02:04:05Z"},
		{"other section", "[other]\nexpiration = 2027-01-02T03:04:05Z\n[default]\n", "", ""},
		{"a profile", "[default]\nexpiration = 2026-01-01T00:00:00Z\n[backup]\nexpiration = 2027-01-02T03:04:05Z\n", "backup", "2027-01-02T03:04:05Z"},
		{"no time", "[default]\nexpiration = soon\n", "", ""},
	} {
		if err := os.WriteFile(path, []byte(tc.file), 0o600); err != nil {
			t.Fatal(err)
		}
		got := ""
		if until := credentialsUntil(path, tc.profile); !until.IsZero() {
			got = until.UTC().Format(time.RFC3339)
		}
		if got != tc.want {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
	}
	if !credentialsUntil(path+"2", "").IsZero() {
		t.Error("a file that is not there expires")
	}
}

// TestHostNear: disks, schedules and a configuration that was refused.
func TestHostNear(t *testing.T) {
	h, m := watching(Host{
		Directories: map[metrics.Directory]string{metrics.DirectoryState: t.TempDir(), metrics.DirectoryScratch: filepath.Join(t.TempDir(), "not made yet")},
	})
	h.now = func() time.Time { return time.Date(2026, 11, 22, 10, 30, 0, 0, time.UTC) }
	h.snapshots = newTicking(plan{ticks: onWallClock(ticks(t, "0 */6 * * *", time.UTC))}, h.now())
	m.ConfigLoaded(h.now())
	h.near()
	if free := valueOf(t, m, `drd_disk_free_bytes{directory="state"}`); free == "" || free == "0" {
		t.Errorf("free: %q", free)
	}
	wantValue(t, m, `drd_disk_free_bytes{directory="scratch"}`, "")
	wantValue(t, m, "drd_snapshot_interval_seconds", "21600")
	wantValue(t, m, "drd_snapshot_next_timestamp_seconds", epoch(time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)))
	wantValue(t, m, "drd_verify_interval_seconds", "")
	wantValue(t, m, "drd_config_last_reload_successful", "1")
	h.tell.refused("a line of the configuration")
	h.near()
	wantValue(t, m, "drd_config_last_reload_successful", "0")
}

// TestTickingWithJitter: a tick that is due and delayed is the next one.
func TestTickingWithJitter(t *testing.T) {
	p := plan{ticks: onWallClock(ticks(t, "0 * * * *", time.UTC)), jitter: 20 * time.Minute, node: "node-1"}
	tick := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	delay := p.delay(tick)
	if delay < time.Second {
		t.Fatalf("choose another node: its delay is %v", delay)
	}
	ticking := newTicking(p, tick)
	if got := ticking.ahead(tick.Add(delay - time.Second)).Next; !got.Equal(tick.Add(delay)) {
		t.Errorf("before the delay is over: %v", got)
	}
	next := tick.Add(time.Hour)
	if got := ticking.ahead(tick.Add(delay)).Next; !got.Equal(next.Add(p.delay(next))) {
		t.Errorf("after it: %v", got)
	}
	if ticking.interval != 80*time.Minute {
		t.Errorf("interval %v", ticking.interval)
	}
}

// TestWatched: readers and pruners tell how they fared, but for those that were given up.
func TestWatched(t *testing.T) {
	fail := errors.New("no")
	var answer error
	m := metrics.New(metrics.Build{})
	cfg := watched(Config{
		Metrics: m,
		Readers: []Reader{{Target: "s3", Read: func(context.Context) (*repo.Catalogue, error) { return nil, answer }}},
		Pruners: []Pruner{{Target: "s3", Prune: func(context.Context, time.Time) (prune.Results, error) { return nil, answer }}},
	})
	stopped, stop := context.WithCancel(t.Context())
	stop()
	for _, step := range []struct {
		ctx        context.Context
		answer     error
		up, failed string
	}{
		{t.Context(), nil, "1", ""},
		{stopped, fail, "1", ""},
		{t.Context(), fail, "0", "1"},
		{t.Context(), fail, "0", "2"},
	} {
		answer = step.answer
		if _, err := cfg.Readers[0].Read(step.ctx); !errors.Is(err, answer) {
			t.Errorf("read: %v", err)
		}
		if _, err := cfg.Pruners[0].Prune(step.ctx, time.Now()); !errors.Is(err, answer) {
			t.Errorf("prune: %v", err)
		}
		wantValue(t, m, `drd_target_up{target="s3"}`, step.up)
		wantValue(t, m, `drd_prune_failed_attempts{target="s3"}`, step.failed)
	}
}
