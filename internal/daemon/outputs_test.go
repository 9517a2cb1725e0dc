package daemon

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/drd-project/drd/internal/metrics"
	verdict "github.com/drd-project/drd/internal/status"
)

func TestTextfile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "drd.prom")
	if err := os.WriteFile(path, []byte("of before"), 0o600); err != nil {
		t.Fatal(err)
	}
	m := metrics.New(metrics.Build{Version: "test"})
	m.SetTargetUp("nas", true)
	began := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	f := &textfile{path: path, now: func() time.Time { return began }, metrics: m, log: slog.New(slog.DiscardHandler)}
	if err := f.write(); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if text := string(content); !strings.Contains(text, `drd_target_up{target="nas"} 1`+"\n") || !strings.Contains(text, "drd_textfile_timestamp_seconds 1.7953416e+09\n") || !strings.Contains(text, "# TYPE drd_target_up gauge\n") || strings.Contains(text, "\ngo_") || strings.Contains(text, "\nprocess_") {
		t.Errorf("%s", text)
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o644 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) != 1 {
		t.Errorf("left behind: %v, %v", names, err)
	}
	f.path = filepath.Join(dir, "gone", "drd.prom")
	if err := f.write(); err == nil || err.Error() != "write "+f.path+": open: no such file or directory" {
		t.Errorf("wrote into a directory that is not there: %v", err)
	}
}

// outside is a service that waits for heartbeats, and counts the paths that are asked for.
type outside struct {
	*httptest.Server
	mu     sync.Mutex
	paths  map[string]int
	answer http.HandlerFunc
}

func newOutside(t *testing.T, answer http.HandlerFunc) *outside {
	t.Helper()
	o := &outside{paths: make(map[string]int), answer: answer}
	o.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		o.mu.Lock()
		o.paths[r.URL.Path]++
		o.mu.Unlock()
		o.answer(w, r)
	}))
	t.Cleanup(o.Close)
	return o
}

func (o *outside) asked(path string) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.paths[path]
}

func urlFile(t *testing.T, content string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "heartbeat.url")
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

const secret = "Planted0Secret4F1C0"

// says answers with this instead of HTTP.
func says(t *testing.T, w http.ResponseWriter, text string) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		t.Error(err)
		return
	}
	defer conn.Close()
	if _, err := conn.Write([]byte(text)); err != nil {
		t.Error(err)
	}
}

// TestHeartbeat: it is heard; and of what goes wrong, no error tells more of the URL than its host.
func TestHeartbeat(t *testing.T) {
	n := newNode(t, 1)
	elsewhere := newOutside(t, func(http.ResponseWriter, *http.Request) {})
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		file   func(url string) string
		want   string // in the error; "": none
	}{
		"heard":   {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }, func(u string) string { return u + "/" + secret + "\n" }, ""},
		"refused": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) }, func(u string) string { return u + "/" + secret }, "the answer is 404"},
		"sent elsewhere": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL+"/"+secret, http.StatusFound)
		}, func(u string) string { return u + "/" + secret }, "the answer is 302"},
		"sent nowhere": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", "https://elsewhere"+r.URL.Path+"?x=%zz\x7f")
			w.WriteHeader(http.StatusFound)
		}, func(u string) string { return u + "/" + secret }, "no answer in HTTP"},
		"quoted":       {func(w http.ResponseWriter, r *http.Request) { says(t, w, "HTTP/9 "+r.URL.Path+"\r\n\r\n") }, func(u string) string { return u + "/" + secret }, "no answer in HTTP"},
		"cut":          {func(w http.ResponseWriter, r *http.Request) { says(t, w, "") }, func(u string) string { return u + "/" + secret }, "ended the connection"},
		"no TLS":       {nil, func(u string) string { return strings.Replace(u, "http:", "https:", 1) + "/" + secret }, "does not speak TLS"},
		"nobody there": {nil, func(string) string { return "http://127.0.0.1:1/" + secret }, "connection refused"},
		"no such host": {nil, func(string) string { return "http://heartbeat..invalid/" + secret }, "no such host"}, // an empty label: no resolver is asked
		"no URL":       {nil, func(string) string { return secret }, "does not hold a URL"},
		"other scheme": {nil, func(string) string { return "file:///" + secret }, "does not hold a URL"},
		"bad URL":      {nil, func(string) string { return "http://a b/" + secret }, "does not hold a URL"},
		"empty":        {nil, func(string) string { return "" }, "does not hold a URL"},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOutside(t, c.answer)
			h := newHeartbeat(urlFile(t, c.file(o.URL)), &board{}, n.cfg)
			err := h.beat(t.Context())
			switch {
			case c.want == "" && (err != nil || o.asked("/"+secret) != 1):
				t.Errorf("%v, asked %d times", err, o.asked("/"+secret))
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), secret)):
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
	if n := elsewhere.asked("/" + secret); n != 0 {
		t.Errorf("the URL was told to another %d times", n)
	}
	h := newHeartbeat(filepath.Join(t.TempDir(), "gone"), &board{}, n.cfg)
	if err := h.beat(t.Context()); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("without a file: %v", err)
	}
}

// TestHeartbeatPipe: a named pipe without a writer would block for ever whoever opens it, and the daemon would not end.
func TestHeartbeatPipe(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "heartbeat.url")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	h := newHeartbeat(pipe, &board{}, newNode(t, 1).cfg)
	ended := make(chan error, 1)
	go func() { ended <- h.beat(t.Context()) }()
	select {
	case err := <-ended:
		if err == nil || !strings.Contains(err.Error(), "is not a regular file") {
			t.Errorf("%v", err)
		}
	case <-time.After(patience):
		t.Fatal("it waits for a writer")
	}
}

// TestHeartbeatOnlyWhenSafe runs the loop: it is silent while a target is not safe, and each change is logged once.
func TestHeartbeatOnlyWhenSafe(t *testing.T) {
	n := newNode(t, 1)
	o := newOutside(t, func(http.ResponseWriter, *http.Request) {})
	h := newHeartbeat(urlFile(t, o.URL+"/"+secret), &board{}, n.cfg)
	var mu sync.Mutex
	at := time.Now()
	report := &verdict.Report{Problems: []verdict.Problem{}}
	h.report = func() *verdict.Report {
		mu.Lock()
		defer mu.Unlock()
		return report
	}
	for _, c := range []struct {
		report *verdict.Report
		want   int
	}{
		{&verdict.Report{}, 0},
		{&verdict.Report{RecoveryPoint: &at, Problems: []verdict.Problem{{Kind: verdict.KindProof}}}, 0},
		{&verdict.Report{RecoveryPoint: &at, Problems: []verdict.Problem{{Kind: verdict.KindRecovery}}}, 0},
		{&verdict.Report{RecoveryPoint: &at, Problems: []verdict.Problem{{Kind: verdict.KindCluster}}}, 1},
		{&verdict.Report{RecoveryPoint: &at, Healthy: true}, 2},
	} {
		mu.Lock()
		report = c.report
		mu.Unlock()
		h.once(t.Context())
		if got := o.asked("/" + secret); got != c.want {
			t.Errorf("%+v: heard %d times, want %d", c.report, got, c.want)
		}
	}
	o.Close()
	h.once(t.Context())
	h.once(t.Context())
	if v := value(t, n.cfg.Metrics, "drd_errors_total", string(metrics.StageHeartbeat)); v != 2 {
		t.Errorf("%v errors counted", v)
	}
	log := n.log.String()
	if strings.Count(log, "no heartbeat is sent") != 1 || strings.Count(log, "heartbeats are sent again") != 1 || strings.Count(log, "the heartbeat is not heard") != 1 || strings.Contains(log, secret) {
		t.Errorf("log:\n%s", log)
	}
}
