package daemon

import (
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/drd-project/drd/internal/disk"
	"github.com/drd-project/drd/internal/etcd"
	"github.com/drd-project/drd/internal/metrics"
	"github.com/drd-project/drd/internal/prune"
	"github.com/drd-project/drd/internal/repo"
)

const (
	// nearEvery is how often is asked what changes within minutes: the disks, short-lived credentials.
	nearEvery = time.Minute
	// farEvery is how often is asked what lasts for months, and what others have to be asked for: certificates, clocks.
	farEvery = time.Hour
	// farRetry is when those are asked again who did not answer.
	farRetry = 5 * time.Minute
)

// Host is what this host's backups depend on apart from etcd and the targets: directories with room, and certificates and
// credentials that end some day. The metrics tell of them before they do. The zero value tells nothing.
type Host struct {
	Directories map[metrics.Directory]string
	Flush       time.Duration // of the archive; 0: it is not enabled
	Etcd        etcd.Config   // whose certificates are looked at
	Targets     []HostTarget
	// SigningUntil is when the signing key ceases to be believed; zero: never.
	SigningUntil time.Time
}

// HostTarget is what one target depends on. Empty fields are not looked at.
type HostTarget struct {
	Name            string
	Endpoint        string // URL of the server, whose certificate and clock are asked for
	CAFile          string
	CredentialsFile string // in the AWS shared format
	Profile         string // its section; "": default
}

// hostWatch keeps the metrics of a Host, and those of the schedules.
type hostWatch struct {
	Host
	snapshots, drills *ticking // nil: there are none by schedule
	address           string   // of this daemon's own server, if that shows a certificate
	now               func() time.Time
	metrics           *metrics.Metrics
	log               *slog.Logger
	tell              *notifier

	failing map[string]bool       // what could not be looked at; far uses it alone
	shown   [][]*x509.Certificate // what etcd's members showed last; of far, too
}

// ticking is a schedule, and the longest time in which nothing is done by it.
type ticking struct {
	plan
	interval time.Duration
}

func newTicking(p plan, now time.Time) *ticking {
	return &ticking{p, LongestGap(p.ticks, now) + p.jitter}
}

func newHostWatch(cfg Config, tell *notifier, web *server) *hostWatch {
	h := &hostWatch{Host: cfg.Host, now: cfg.Now, metrics: cfg.Metrics, log: cfg.Log, tell: tell, failing: make(map[string]bool)}
	if cfg.Schedule != nil {
		h.snapshots = newTicking(plan{ticks: onWallClock(cfg.Schedule), jitter: cfg.Jitter, node: cfg.Node}, cfg.Now().UTC())
	}
	if d := cfg.Drills; d != nil && d.Schedule != nil {
		h.drills = newTicking(plan{ticks: onWallClock(d.Schedule), jitter: max(cfg.Jitter, d.Spread), node: cfg.Node + " drills"}, cfg.Now().UTC())
	}
	if cfg.WebConfigFile != "" {
		h.address = web.listener.Addr().String()
	}
	return h
}

// run tells of the host until ctx ends.
func (h *hostWatch) run(ctx context.Context) {
	h.metrics.ConfigLoaded(h.now())
	if h.Flush > 0 {
		h.metrics.SetFlushInterval(h.Flush)
	}
	h.metrics.SetCredential(metrics.CredentialSigning, "", h.SigningUntil)
	var wg sync.WaitGroup
	wg.Go(func() {
		for ; ctx.Err() == nil; sleep(ctx, nearEvery) {
			h.near()
		}
	})
	wg.Go(func() {
		for ctx.Err() == nil {
			wait := farEvery
			if h.far(ctx); len(h.failing) > 0 {
				wait = farRetry
			}
			sleep(ctx, wait)
		}
	})
	wg.Wait()
}

// near asks what changes soon.
func (h *hostWatch) near() {
	if h.tell.refuses() {
		h.metrics.ConfigRefused()
	}
	if h.snapshots != nil {
		h.metrics.SetSnapshotSchedule(h.snapshots.ahead(h.now().UTC()))
	}
	if h.drills != nil {
		h.metrics.SetDrillSchedule(h.drills.ahead(h.now().UTC()))
	}
	for directory, path := range h.Directories {
		if free, err := disk.Free(path); err == nil { // a scratch directory is made by its first drill
			h.metrics.SetDisk(directory, free, sizeOf(path))
		}
	}
	for _, t := range h.Targets {
		if t.CredentialsFile != "" {
			h.metrics.SetCredential(metrics.CredentialTarget, t.Name, credentialsUntil(t.CredentialsFile, t.Profile))
		}
	}
}

// refuses says whether the configuration in the file is another one than that which is run.
func (n *notifier) refuses() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.parts.refused != ""
}

// ahead is what is known of the ticks to come: they are answered up to the jitter later.
func (t *ticking) ahead(now time.Time) metrics.Schedule {
	tick := t.latest(now)
	if !tick.Add(t.delay(tick)).After(now) {
		tick = t.next(now)
	}
	return metrics.Schedule{Interval: t.interval, Next: tick.Add(t.delay(tick))}
}

func sizeOf(path string) int64 {
	var st unix.Statfs_t
	if unix.Statfs(path, &st) != nil {
		return 0
	}
	return int64(st.Blocks) * st.Bsize
}

// watched is cfg with readers and pruners that tell the metrics how each attempt went.
func watched(cfg Config) Config {
	var readers []Reader
	for _, r := range cfg.Readers {
		read := r.Read
		r.Read = func(ctx context.Context) (c *repo.Catalogue, err error) {
			if c, err = read(ctx); !givenUp(ctx) {
				cfg.Metrics.SetTargetUp(r.Target, err == nil)
			}
			return c, err
		}
		readers = append(readers, r)
	}
	var pruners []Pruner
	for _, p := range cfg.Pruners {
		run := p.Prune
		p.Prune = func(ctx context.Context, now time.Time) (r prune.Results, err error) {
			if r, err = run(ctx, now); err != nil && !givenUp(ctx) {
				cfg.Metrics.PruneFailed(p.Target)
			}
			return r, err
		}
		pruners = append(pruners, p)
	}
	cfg.Readers, cfg.Pruners = readers, pruners
	return cfg
}

// givenUp says that somebody wanted an end, and not that the time was over.
func givenUp(ctx context.Context) bool { return errors.Is(ctx.Err(), context.Canceled) }
