package daemon

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/drd-project/drd/internal/backup"
	"github.com/drd-project/drd/internal/metrics"
)

// served is a service whose configurations the test makes up.
type served struct {
	t      *testing.T
	n      *node // what every run begins with, and the log
	reload chan os.Signal
	ended  chan error
	stop   context.CancelFunc

	mu   sync.Mutex
	told []string
	load func() (Wiring, error)
}

func serve(t *testing.T, load func() (Wiring, error)) *served {
	t.Helper()
	s := &served{t: t, n: newNode(t, 1), reload: make(chan os.Signal), ended: make(chan error, 1), load: load}
	ctx, cancel := context.WithCancel(t.Context())
	s.stop = cancel
	go func() {
		s.ended <- Serve(ctx, Service{Load: s.read, Reload: s.reload, Log: s.n.cfg.Log, Notify: s.notified})
		close(s.ended)
	}()
	t.Cleanup(func() { s.end() })
	return s
}

func (s *served) read() (Wiring, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.load()
}

func (s *served) notified(state string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.told = append(s.told, state)
	return nil
}

// hangup has the configuration read again, which is now what load returns.
func (s *served) hangup(load func() (Wiring, error)) {
	s.mu.Lock()
	s.load = load
	s.mu.Unlock()
	s.reload <- syscall.SIGHUP
}

func (s *served) said(prefix string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	count := 0
	for _, state := range s.told {
		if strings.HasPrefix(state, prefix) {
			count++
		}
	}
	return count
}

func (s *served) end() error {
	s.stop()
	select {
	case err := <-s.ended:
		return err
	case <-time.After(patience):
		s.t.Error("the service does not end")
		return nil
	}
}

// runs is a configuration that runs; change makes it another one.
func (s *served) runs(change func(*Config)) func() (Wiring, error) {
	return func() (Wiring, error) {
		return func(context.Context, *slog.Logger) (Config, error) {
			cfg := s.n.cfg
			cfg.Metrics = metrics.New(metrics.Build{})
			if change != nil {
				change(&cfg)
			}
			return cfg, nil
		}, nil
	}
}

// began reports each run of a configuration.
func began(runs chan<- string, name string) func(*Config) {
	return func(cfg *Config) {
		cfg.Backup = func(ctx context.Context, _ *time.Time) (*backup.Result, error) {
			runs <- name + " begins"
			<-ctx.Done()
			runs <- name + " ends"
			return nil, ctx.Err()
		}
	}
}

func TestReload(t *testing.T) {
	runs := make(chan string, 10)
	var s *served
	ready := make(chan struct{})
	s = serve(t, func() (Wiring, error) { <-ready; return s.runs(began(runs, "first"))() })
	close(ready)
	expect := func(want string) {
		t.Helper()
		select {
		case got := <-runs:
			if got != want {
				t.Fatalf("%s, want %s", got, want)
			}
		case <-time.After(patience):
			t.Fatalf("not within %s: %s", patience, want)
		}
	}
	expect("first begins")

	s.hangup(func() (Wiring, error) { return nil, errors.New("line 3: unknown key\nline 4: another") })
	s.n.until("the refusal in the status", func() bool {
		return s.said("STATUS=NOT RELOADED, the configuration before is in force: line 3: unknown key; taking the snapshot of ") >= 1
	})
	s.hangup(func() (Wiring, error) {
		return func(context.Context, *slog.Logger) (Config, error) {
			return Config{}, errors.New("signing key cannot be read")
		}, nil
	})
	s.n.until("the other refusal in the status", func() bool {
		return s.said("STATUS=NOT RELOADED, the configuration before is in force: signing key cannot be read; ") >= 1
	})
	if s.said("RELOADING=1") != 0 || len(runs) > 0 {
		t.Errorf("a refused configuration ended the run: %q", s.told)
	}

	without := s.said("STATUS=taking the snapshot of ")
	s.hangup(s.runs(began(runs, "second")))
	expect("first ends")
	expect("second begins")
	s.n.until("READY again", func() bool { return s.said("READY=1") == 2 })
	if s.said("RELOADING=1\nMONOTONIC_USEC=") != 1 || s.said("STOPPING=1") != 0 {
		t.Errorf("told %q", s.told)
	}
	s.n.until("a status without the refusal", func() bool { return s.said("STATUS=taking the snapshot of ") > without })

	if err := s.end(); err != nil {
		t.Errorf("ended with %v", err)
	}
	expect("second ends")
	if i := slices.Index(s.told, "STOPPING=1"); i != len(s.told)-1 || s.said("STOPPING=1") != 1 {
		t.Errorf("told %q", s.told)
	}
}

// TestReloadCountsOn: what was counted before stands, or a gap soon after would be no increase, and nobody told.
func TestReloadCountsOn(t *testing.T) {
	var s *served
	var mu sync.Mutex
	var last *metrics.Metrics // of the run under way
	loads := func() (Wiring, error) {
		return s.runs(func(cfg *Config) {
			mu.Lock()
			defer mu.Unlock()
			last = cfg.Metrics
		})()
	}
	current := func() *metrics.Metrics {
		mu.Lock()
		defer mu.Unlock()
		return last
	}
	ready := make(chan struct{})
	s = serve(t, func() (Wiring, error) { <-ready; return loads() })
	close(ready)
	for run := 1; run <= 3; run++ {
		s.n.until("READY", func() bool { return s.said("READY=1") == run })
		if got := value(t, current(), "drd_archive_gaps_total"); got != float64(run-1) {
			t.Errorf("run %d begins with %v gaps", run, got)
		}
		current().ArchiveGap()
		if run < 3 {
			s.hangup(loads)
		}
	}
}

// TestReloadGoesBack: a configuration under which no run begins is found out only when the one before has ended.
func TestReloadGoesBack(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	runs := make(chan string, 10)
	var s *served
	ready := make(chan struct{})
	s = serve(t, func() (Wiring, error) { <-ready; return s.runs(began(runs, "old"))() })
	close(ready)
	if got := <-runs; got != "old begins" {
		t.Fatal(got)
	}
	s.hangup(s.runs(func(cfg *Config) { cfg.Listen = taken.Addr().String() }))
	for _, want := range []string{"old ends", "old begins"} {
		select {
		case got := <-runs:
			if got != want {
				t.Fatalf("%s, want %s", got, want)
			}
		case <-time.After(patience):
			t.Fatalf("not within %s: %s", patience, want)
		}
	}
	s.n.until("READY again", func() bool { return s.said("READY=1") == 2 })
	if s.said("STATUS=NOT RELOADED, the configuration before is in force: ") == 0 || !strings.Contains(s.n.log.String(), "address already in use") {
		t.Errorf("told %q; the log:\n%s", s.told, s.n.log)
	}
	if err := s.end(); err != nil {
		t.Errorf("ended with %v", err)
	}
}

// TestServeFailsAtTheStart: there is nothing to go back to.
func TestServeFailsAtTheStart(t *testing.T) {
	broken := errors.New("broken")
	for name, load := range map[string]func() (Wiring, error){
		"configuration": func() (Wiring, error) { return nil, broken },
		"keys": func() (Wiring, error) {
			return func(context.Context, *slog.Logger) (Config, error) { return Config{}, broken }, nil
		},
	} {
		s := serve(t, load)
		if err := <-s.ended; !errors.Is(err, broken) {
			t.Errorf("%s: ended with %v", name, err)
		}
		if s.said("READY=1") != 0 {
			t.Errorf("%s: told %q", name, s.told)
		}
	}
}
