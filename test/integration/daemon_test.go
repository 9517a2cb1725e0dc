package integration

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/drd-project/drd/test/program"
	"github.com/drd-project/drd/test/servers"
)

// scrape reads the metrics of the daemon.
func (s *site) scrape() (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.metrics+"/metrics", nil)
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = errors.New(resp.Status)
	}
	s.secrets.check(s.t, "/metrics", body)
	return string(body), err
}

// metric waits until a series has a value that is good.
func (s *site) metric(limit time.Duration, series string, good func(value float64) bool) {
	s.t.Helper()
	program.Eventually(s.t, limit, func() error {
		page, err := s.scrape()
		if err != nil {
			return err
		}
		for line := range strings.Lines(page) {
			var value float64
			if rest, found := strings.CutPrefix(line, series+" "); !found {
				continue
			} else if _, err := fmt.Sscan(rest, &value); err != nil {
				return err
			}
			if good(value) {
				return nil
			}
			return fmt.Errorf("%s is %v", series, value)
		}
		return fmt.Errorf("%s is not there", series)
	})
}

func is(want float64) func(float64) bool { return func(v float64) bool { return v == want } }

// soon is what a program that was asked to end may take, on a machine that is busy. What it must not wait for, a member or a store that has
// stopped answering, is waited for a minute elsewhere.
const soon = 20 * time.Second

// terminate asks the daemon to end, and wants it to do that well and soon.
func (s *site) terminate(c *command) result {
	s.t.Helper()
	began := time.Now()
	c.Signal(s.t, syscall.SIGTERM)
	r := s.end(c)
	if r.code != 0 {
		s.t.Errorf("SIGTERM does not end it with exit code 0: %v", r)
	}
	if took := time.Since(began); took > soon {
		s.t.Errorf("it took %v to end", took)
	}
	return r
}

// TestDaemon: the first snapshot is taken at once, the metrics tell of it, SIGTERM ends the daemon, and the next start takes
// none, because the tick is answered.
func TestDaemon(t *testing.T) {
	t.Parallel()
	e := servers.StartEtcd(t, servers.EtcdConfig{})
	s := newSite(t, ofEtcd(e), onMinIO(t), inDirectory(t))
	load(t, e, "app/", s.value)
	lost := contentOf(t, e)

	began := time.Now().Add(-time.Second)
	c := s.start("daemon")
	recent := func(v float64) bool { return v >= float64(began.Unix()) && v <= float64(time.Now().Unix()+1) }
	s.metric(time.Minute, "drd_snapshot_last_success_timestamp_seconds", recent)
	for _, target := range []string{"t1", "t2"} {
		s.metric(time.Minute, fmt.Sprintf("drd_recovery_point_timestamp_seconds{target=%q}", target), recent)
		s.metric(time.Minute, fmt.Sprintf("drd_replication_last_success_timestamp_seconds{target=%q}", target), recent)
		s.metric(time.Minute, fmt.Sprintf(`drd_repo_objects{kind="snapshot",target=%q}`, target), is(1))
	}
	s.metric(time.Minute, "drd_snapshot_revision", is(float64(lost.Revision)))
	s.metric(time.Minute, "drd_etcd_revision", is(float64(lost.Revision)))
	s.metric(time.Minute, "drd_members_diverged", is(0))
	s.metric(time.Minute, "drd_snapshot_duration_seconds_count", is(1))
	s.metric(time.Minute, `drd_errors_total{stage="snapshot"}`, is(0))
	s.terminate(c).wants(t, "snapshot taken")

	c = s.start("daemon")
	s.metric(time.Minute, `drd_repo_objects{kind="snapshot",target="t1"}`, is(1))
	if r := s.terminate(c); strings.Contains(r.stderr, "snapshot taken") {
		t.Errorf("the restart took a snapshot again: %v", r)
	}
	if len(s.list(0)) != 1 || s.list(1)[0].State != "ok" {
		t.Errorf("listed: %+v and %+v", s.list(0), s.list(1))
	}
}

// TestDaemonStopsInCapture: SIGTERM does not wait for a member that has stopped answering.
func TestDaemonStopsInCapture(t *testing.T) {
	t.Parallel()
	e := servers.StartEtcd(t, servers.EtcdConfig{})
	l := newLink(t, e, stallAfter)
	s := newSite(t, l.section(), inDirectory(t))
	fill(t, e.Client(t), s.value, 24)
	c := s.start("daemon")
	s.stallCapture(l, e, c)
	s.terminate(c).wants(t, "given up")
	e.Resume()
	s.wantSpooled(0)
	if found := s.stores[0].objects(t); len(found) != 0 {
		t.Errorf("the target holds %d objects", len(found))
	}
}

// TestDaemonWithoutEtcd: a member that is down at the start does not end the daemon, which takes the snapshot when it is back.
func TestDaemonWithoutEtcd(t *testing.T) {
	t.Parallel()
	e := servers.StartEtcd(t, servers.EtcdConfig{})
	s := newSite(t, ofEtcd(e), inDirectory(t))
	load(t, e, "app/", s.value)
	e.Kill()
	c := s.start("daemon")
	s.metric(time.Minute, `drd_errors_total{stage="snapshot"}`, is(1))
	s.metric(time.Minute, "drd_snapshot_last_success_timestamp_seconds", is(0))
	e.Start()
	// The first retry comes within a minute.
	s.metric(2*time.Minute, `drd_recovery_point_timestamp_seconds{target="t1"}`, func(v float64) bool { return v > 0 })
	s.terminate(c).wants(t, "connection refused", "snapshot taken")
	s.must("restore", "--yes", "--identity", s.identity(), "--output", s.path("snapshot.db"))
}

// TestDaemonRefusesToStart: what the daemon cannot work with is said at once, with the exit code that systemd does not restart on.
func TestDaemonRefusesToStart(t *testing.T) {
	t.Parallel()
	s := newSite(t, `endpoints: ["http://127.0.0.1:1"], endpoint: x`, inDirectory(t))
	s.fails(2, "daemon").wants(t, "etcd.endpoint: unknown key")
}
