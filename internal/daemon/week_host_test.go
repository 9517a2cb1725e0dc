package daemon

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/drd-project/drd/internal/backup"
	"github.com/drd-project/drd/internal/disk"
	"github.com/drd-project/drd/internal/drill"
	"github.com/drd-project/drd/internal/metrics"
	"github.com/drd-project/drd/internal/proof"
	"github.com/drd-project/drd/internal/replicate"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/retention"
	"github.com/drd-project/drd/internal/seal"
	"github.com/drd-project/drd/internal/seal/sealtest"
	"github.com/drd-project/drd/internal/snapshot"
	verdict "github.com/drd-project/drd/internal/status"
	"github.com/drd-project/drd/internal/storage"
	"github.com/drd-project/drd/internal/storage/dir"
	"github.com/drd-project/drd/internal/storage/storagetest"
	"github.com/drd-project/drd/internal/verify"
)

const (
	// weekTicks has one in the hour that one change of the clock skips and the other repeats, weekDrills one just behind it.
	weekTicks  = "30 2,8,14,20 * * *"
	weekDrills = "0 4 * * *"
	// weekCapture is how long one takes, and weekRecovery a restore.
	weekCapture  = 3 * time.Second
	weekRecovery = 41 * time.Second
	// weekDB is the size of the database, in bytes.
	weekDB = 32 << 10
)

// weekHost is a host with a disk of its own, two targets, and the daemon without an archive and without its HTTP server: a goroutine that
// waits for a connection would hold up the time of the bubble. Its wall clock is off by what the story says.
type weekHost struct {
	t       *testing.T
	disk    string // directory on the disk of the host
	stores  string // directory with those of the targets
	zone    *time.Location
	keys    *sealtest.Keys
	bucket  *storagetest.Faulty // of the target primary
	targets []replicate.Target
	clock   *truth
	began   time.Time

	cfg   Config
	queue *replicate.Queue
	stop  func() // nil: the host is off

	mu    sync.Mutex
	off   time.Duration // of the wall clock
	taken []string      // snapshots since the last look
	// digests are those of the manifests, by snapshot.
	digests map[string]string
}

// truth is the date that the store of a target shows.
type truth struct {
	atomic.Int64 // milliseconds of Unix time
	url          string
}

func (c *truth) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Date", time.UnixMilli(c.Load()).Round(time.Second).UTC().Format(http.TimeFormat))
}

// run follows the time of the bubble, a millisecond ahead of whoever asks at a whole minute.
func (c *truth) run(ctx context.Context) {
	c.Store(time.Now().UnixMilli())
	for sleep(ctx, 30*time.Second-time.Millisecond); ctx.Err() == nil; sleep(ctx, 30*time.Second) {
		c.Store(time.Now().UnixMilli())
	}
}

// store is a directory whose dates are those of the bubble.
type store struct {
	storage.Bucket
	root string
}

func (s store) Create(ctx context.Context, key string, r io.Reader) (storage.Object, error) {
	o, err := s.Bucket.Create(ctx, key, r)
	if err != nil {
		return o, err
	}
	o.Modified = time.Now()
	return o, os.Chtimes(filepath.Join(s.root, key), o.Modified, o.Modified)
}

// newWeekHost begins at a local time. It is called in a bubble, and waits until then.
func newWeekHost(t *testing.T, disk, stores string, clock *truth, local string) *weekHost {
	t.Helper()
	w := &weekHost{t: t, disk: disk, stores: stores, zone: zone(t, "Europe/Berlin"), keys: sealtest.New(t), clock: clock, digests: make(map[string]string)}
	var err error
	w.began, err = time.ParseInLocation("2006-01-02 15:04", local, w.zone)
	w.must(err)
	time.Sleep(time.Until(w.began))
	w.must(errors.Join(os.Mkdir(disk, 0o700), os.Mkdir(stores, 0o700)))
	for _, name := range []string{"primary", "nas"} {
		root := filepath.Join(stores, name)
		w.must(os.Mkdir(root, 0o700))
		d, err := dir.Open(root, dir.Options{})
		w.must(err)
		faulty := storagetest.NewFaulty(store{d, root})
		if name == "primary" {
			w.bucket = faulty
		}
		r, err := repo.Open(faulty, "prod-east")
		w.must(err)
		w.targets = append(w.targets, replicate.Target{Name: name, Repo: r, ReadBack: true})
	}
	return w
}

func (w *weekHost) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// now is what the clock of the host shows.
func (w *weekHost) now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Now().Round(0).Add(w.off).In(w.zone)
}

func (w *weekHost) setClock(off time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.off = off
}

// revision is that of the cluster, which writes every six seconds.
func (w *weekHost) revision() int64 { return 1000 + int64(time.Since(w.began)/(6*time.Second)) }

func (w *weekHost) policy(now time.Time) retention.Policy {
	return retention.Policy{Last: 6, Daily: 4, MinCopies: 3, Zone: w.zone, Period: LongestGap(w.cfg.Schedule, now)}
}

// boot starts the daemon as a new process: what is not in a file is forgotten, but for the file keys.
func (w *weekHost) boot() {
	w.t.Helper()
	log := slog.New(slog.DiscardHandler)
	var err error
	w.queue, err = replicate.New(replicate.Config{Cluster: "prod-east", StateDir: w.disk, Targets: w.targets, Keys: w.keys.Ring, Log: log})
	w.must(err)
	drills, err := verify.New(verify.Config{
		Host: "node-1", Targets: []drill.Target{{Name: "primary", Repo: w.targets[0].Repo}, {Name: "nas", Repo: w.targets[1].Repo}}, Driller: w, Trust: w.keys.Trust,
		Signer: w.keys.Signer, StateDir: w.disk, CoverWithin: DefaultCover, RunsPerPeriod: 30, CanOpen: func(*repo.Manifest) bool { return true },
		Build: repo.Build{Version: "test"}, Log: log, Now: w.now,
	})
	w.must(err)
	w.cfg = Config{
		StateDir: w.disk, Node: "node-1", Cluster: "prod-east", Schedule: ticks(w.t, weekTicks, w.zone), Backup: w.backup, Queue: w.queue,
		Readers: ReadersOf(w.targets, w.keys.Trust, "", false), Pruners: PrunersOf(w.targets, w.keys.Trust, w.policy),
		Drills:   &Drills{Schedule: ticks(w.t, weekDrills, w.zone), Fresh: proof.LevelData, CoverWithin: DefaultCover, Run: drills.Run},
		Host:     Host{Directories: map[metrics.Directory]string{metrics.DirectoryState: w.disk}, Targets: []HostTarget{{Name: "primary", Endpoint: w.clock.url}}},
		Revision: func(context.Context) (int64, error) { return w.revision(), nil },
		Metrics:  metrics.New(metrics.Build{Version: "test"}), Log: log, Notify: func(string) error { return nil }, Now: w.now,
	}
	w.start()
}

// start runs the parts of the daemon that run does, put together in the same way.
func (w *weekHost) start() {
	w.t.Helper()
	tell := newNotifier(w.cfg.Notify, w.cfg.Log)
	cfg := watched(w.cfg)
	state, err := openStateFile(cfg.StateDir)
	w.must(err)
	board := newBoard(cfg, tell)
	cfg.Readers = board.watching(cfg.Readers)
	look := newFreshness(cfg, tell)
	prunes := newPruning(cfg)
	drills := newDrilling(cfg, state.drills(), tell, look.drilled)
	ticks := newScheduler(cfg, state, tell, look.again)
	r := &replication{queue: cfg.Queue, metrics: cfg.Metrics, tell: tell, fresh: ticks.want}
	r.stored = func(target string) { look.again(); prunes.again(); drills.arrived(target) }

	w.clock.Store(time.Now().UnixMilli()) // whoever asks first must not see the time of the stop
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for _, part := range []func(context.Context){
		w.clock.run, look.run, newHostWatch(cfg, tell, nil).run, ticks.run, cfg.Queue.Run, r.watch, drills.run, prunes.run,
	} {
		running.Go(func() { part(ctx) })
	}
	w.stop = func() {
		cancel()
		running.Wait()
		w.stop = nil
	}
	synctest.Wait()
}

// backup takes a snapshot as package backup does, of a cluster that is not there.
func (w *weekHost) backup(ctx context.Context, slot *time.Time) (*backup.Result, error) {
	// As a capture does, before it begins: attempts that fail for want of room are as far apart as their waits, and no further.
	if err := disk.Require(w.disk, snapshot.Room(weekDB), "a snapshot"); err != nil {
		return nil, err
	}
	began, at := time.Now(), w.now().UTC()
	sleep(ctx, weekCapture)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	id := repo.ID{Time: at.Truncate(time.Second), Revision: w.revision(), Member: 0xa1}
	if err := w.queue.Sweep(); err != nil {
		return nil, err
	}
	p, key, signed, err := w.sealed(id, slot)
	if err != nil {
		return nil, fmt.Errorf("capture: %w", err)
	}
	defer os.Remove(p.Path)
	delivery, err := w.queue.Begin(p, key, began)
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	w.digests[id.String()] = signed.Digest()
	w.mu.Unlock()
	if err := delivery.Commit(ctx, signed); err != nil {
		return nil, errors.Join(err, delivery.Withdraw())
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	text := slot.In(w.zone).Format("Mon 15:04 MST")
	switch late := at.Sub(*slot); { // the wait before another attempt is drawn, so the minutes beside hours are not told
	case late >= time.Hour:
		text += fmt.Sprintf(" (%d h late)", int(late.Hours()))
	case late >= time.Minute:
		text += fmt.Sprintf(" (%d min late)", int(late.Minutes()))
	}
	w.taken = append(w.taken, text)
	return &backup.Result{Manifest: signed.Manifest, Digest: signed.Digest()}, nil
}

// sealed seals a snapshot into the spool. Its plaintext ends with 32 bytes that stand for the trailer.
func (w *weekHost) sealed(id repo.ID, slot *time.Time) (p replicate.Payload, key seal.FileKey, signed *repo.Signed, err error) {
	plain := bytes.Repeat([]byte("a small database"), weekDB/16+2)
	var object bytes.Buffer
	s, err := seal.Default().Seal(&object, w.keys.Recipients)
	if err != nil {
		return p, key, nil, err
	}
	if _, err := s.Write(plain); err != nil {
		return p, key, nil, err
	}
	if err := s.Close(); err != nil {
		return p, key, nil, err
	}
	sum := sha256.Sum256(object.Bytes())
	p = replicate.Payload{
		ID: id, Name: "snapshot.db" + seal.Default().Extension(), Path: filepath.Join(w.queue.SpoolDir(), storage.TempPrefix+"week"),
		Size: int64(object.Len()), SHA256: hex.EncodeToString(sum[:]),
	}
	if err := os.WriteFile(p.Path, object.Bytes(), 0o600); err != nil {
		return p, key, nil, errors.Join(err, os.Remove(p.Path))
	}
	signed, err = repo.Sign(&repo.Manifest{
		Format: repo.ManifestFormat, ID: id.String(), Cluster: "prod-east", EtcdClusterID: "c1", Timeline: "00000000000000a1",
		Member: repo.Member{ID: "a1"}, Slot: slot, CaptureStart: id.Time, CaptureEnd: id.Time.Add(weekCapture),
		Revision: id.Revision, CompactRevision: -1, DBSize: weekDB, Keys: 1, Revisions: 1, EtcdVersion: "3.7.3",
		HashKV: repo.HashKV{Revision: id.Revision, CompactRevision: -1},
		Plain:  repo.Plain{SHA256: hex.EncodeToString(plain[len(plain)-32:]), Size: int64(len(plain))},
		Object: repo.Object{Name: p.Name, SHA256: p.SHA256, Size: p.Size, Envelope: seal.Default().Name(), Recipients: w.keys.Recipients.Fingerprints()},
		Drd:    repo.Build{Version: "test"},
	}, w.keys.Signer)
	return p, s.FileKey(), signed, err
}

// Drill passes, after the time that a restore takes. It reads nothing: an older snapshot, which is drawn, may be pruned meanwhile, and
// whether it is would be left to chance. The run that calls it has read the target.
func (w *weekHost) Drill(ctx context.Context, _ drill.Target, id repo.ID, level proof.Level, _ *proof.Kubernetes, _ drill.Watcher) proof.Drill {
	w.mu.Lock()
	digest := w.digests[id.String()]
	w.mu.Unlock()
	d := proof.Drill{
		Snapshot: id.String(), ManifestSHA256: digest, CapturedAt: id.Time.UTC(), Revision: id.Revision, DBSize: weekDB, Level: level,
		Outcome: proof.Passed, Started: w.now().UTC(),
	}
	if level.Boots() {
		sleep(ctx, weekRecovery)
		d.Seconds, d.RecoverySeconds, d.Etcd = weekRecovery.Seconds(), weekRecovery.Seconds(), "3.7.0 (embedded)"
	}
	return d
}

// DrillPoint is for an archive, which this host has not.
func (w *weekHost) DrillPoint(context.Context, drill.Target, drill.Point, proof.Level, *proof.Kubernetes, drill.Watcher) (proof.Drill, error) {
	return proof.Drill{}, errors.New("there is no archive")
}

// status is what drd status says on the host, or on another one while it is off.
func (w *weekHost) status() string {
	w.t.Helper()
	now := w.now()
	cfg := verdict.Config{Cluster: "prod-east", Targets: w.targets, Trust: w.keys.Trust}
	if w.stop != nil {
		var err error
		cfg.Lost, err = replicate.Losses(w.cfg.StateDir)
		w.must(err)
		cfg.VerifyPeriod, cfg.NextDrill = LongestGap(w.cfg.Drills.Schedule, now), NextTick(w.cfg.Drills.Schedule, now)
		spool, err := replicate.New(replicate.Config{Cluster: "prod-east", StateDir: w.disk, Targets: w.targets, Keys: w.keys.Ring, Log: w.cfg.Log})
		w.must(err) // of another process: what the daemon knows beside it is not in the spool
		cfg.Queue, cfg.Period, cfg.NextSnapshot = spool, LongestGap(w.cfg.Schedule, now), NextTick(w.cfg.Schedule, now)
		cfg.Due = func(c *repo.Catalogue, h *proof.History, now time.Time) (due int) {
			today := w.policy(now)
			today.Proved = h.Proved()
			decisions, _ := retention.Decide(c, nil, today, now)
			for _, d := range decisions {
				if d.Fate == retention.Delete && d.Entry.Manifest != nil {
					due++
				}
			}
			return due
		}
	}
	var text strings.Builder
	w.must(verdict.Look(w.t.Context(), cfg, now).WriteText(&text))
	return strings.ReplaceAll(text.String(), w.stores, "/srv")
}
