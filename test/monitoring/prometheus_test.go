package monitoring

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/drd-project/drd/test/program"
	"github.com/drd-project/drd/test/servers"
)

// monitor is a Prometheus that scrapes a node and an Alertmanager that tells the test of alerts.
type monitor struct {
	t          *testing.T
	prometheus string // URL

	mu   sync.Mutex
	told []notice
}

// notice is one alert in one notification.
type notice struct {
	Status string            `json:"status"` // "firing" or "resolved"
	Labels map[string]string `json:"labels"`
	Notes  map[string]string `json:"annotations"`
}

func (n notice) is(status, alert, target string) bool {
	return n.Status == status && n.Labels["alertname"] == alert && n.Labels["target"] == target
}

// patience is how long alerts take to fire. Waiting for the real one would take hours; the expressions stay as they are. What is left of it is
// longer than a machine stands still now and then, or scrapes that are lost with that would be told.
var patience = regexp.MustCompile(`(?m)^( +for:) \d+[mh]$`)

// watch starts both, with the real rules.
func watch(t *testing.T, n *node) *monitor {
	t.Helper()
	m := &monitor{t: t}
	receiver := httptest.NewServer(http.HandlerFunc(m.receive))
	t.Cleanup(receiver.Close)
	dir := t.TempDir()
	rules, err := os.ReadFile("../../monitoring/drd.rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "drd.rules.yml"), string(patience.ReplaceAll(rules, []byte("$1 15s"))))
	server := fmt.Sprintf("127.0.0.1:%d", servers.FreePort(t))
	write(t, filepath.Join(dir, "alertmanager.yml"), fmt.Sprintf(`
route: {receiver: test, group_by: ['...'], group_wait: 0s, group_interval: 1s, repeat_interval: 1h}
receivers: [{name: test, webhook_configs: [{url: %q, send_resolved: true}]}]
`, receiver.URL))
	manager := startAlertmanager(t, dir)
	write(t, filepath.Join(dir, "prometheus.yml"), fmt.Sprintf(`
global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}
rule_files: [drd.rules.yml]
alerting: {alertmanagers: [{static_configs: [{targets: [%q]}]}]}
scrape_configs: [{job_name: drd, static_configs: [{targets: [%q], labels: {cluster: prod-east}}]}]
`, strings.TrimPrefix(manager, "http://"), n.address))
	start(t, dir, servers.Tool(t, "prometheus"), "--config.file=prometheus.yml", "--storage.tsdb.path=tsdb", "--web.listen-address="+server)
	m.prometheus = "http://" + server
	for _, url := range []string{manager + "/-/ready", m.prometheus + "/-/ready"} {
		program.Eventually(t, time.Minute, func() error { _, err := get(t.Context(), url); return err })
	}
	program.Eventually(t, time.Minute, func() error { return m.has(`up{job="drd"} == 1`) })
	return m
}

// startAlertmanager runs one on the alertmanager.yml in dir. It does not wait.
func startAlertmanager(t *testing.T, dir string) (url string) {
	t.Helper()
	address := fmt.Sprintf("127.0.0.1:%d", servers.FreePort(t))
	start(t, dir, servers.Tool(t, "alertmanager"), "--config.file=alertmanager.yml", "--storage.path=am", "--web.listen-address="+address, "--cluster.listen-address=")
	return "http://" + address
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (m *monitor) receive(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Alerts []notice `json:"alerts"`
	}
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	m.mu.Lock()
	m.told = append(m.told, body.Alerts...)
	m.mu.Unlock()
}

// count is how many notices of this kind came.
func (m *monitor) count(status, alert, target string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := 0
	for _, one := range m.told {
		if one.is(status, alert, target) {
			n++
		}
	}
	return n
}

// tells waits until Alertmanager has told of an alert.
func (m *monitor) tells(limit time.Duration, status, alert, target string) {
	m.t.Helper()
	program.Eventually(m.t, limit, func() error {
		if m.count(status, alert, target) == 0 {
			m.mu.Lock()
			defer m.mu.Unlock()
			return fmt.Errorf("%s %s %q was not told, only %v", status, alert, target, m.told)
		}
		return nil
	})
}

// onlyTold fails the test when anybody was woken for something else.
func (m *monitor) onlyTold(alerts ...string) {
	m.t.Helper()
	if fullDisk(m.t) {
		alerts = append(alerts, "DrdDiskNearlyFull") // which is right
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, one := range m.told {
		if !slices.Contains(alerts, one.Labels["alertname"]) {
			m.t.Errorf("this was told too: %v", one)
		}
		if one.Notes["summary"] == "" || one.Notes["runbook_url"] == "" || one.Labels["cluster"] != "prod-east" || one.Labels["severity"] == "" {
			m.t.Errorf("this does not say all: %v", one)
		}
	}
}

// fullDisk reports whether the disk that the tests use is one of which the rules may say that it is.
func fullDisk(t *testing.T) bool {
	t.Helper()
	var disk syscall.Statfs_t
	if err := syscall.Statfs(t.TempDir(), &disk); err != nil {
		t.Fatal(err)
	}
	return disk.Bavail < disk.Blocks/5
}

// has is content when a query has a result.
func (m *monitor) has(query string) error {
	body, err := get(m.t.Context(), m.prometheus+"/api/v1/query?query="+url.QueryEscape(query))
	if err != nil {
		return err
	}
	var answer struct {
		Data struct {
			Result []json.RawMessage `json:"result"`
		} `json:"data"`
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil {
		return err
	}
	if len(answer.Data.Result) == 0 {
		return fmt.Errorf("no result of %s", query)
	}
	return nil
}
