package drill_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"filippo.io/age"
	"golang.org/x/sys/unix"

	"github.com/drd-project/drd/internal/drill"
	"github.com/drd-project/drd/internal/proof"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/restore"
	"github.com/drd-project/drd/internal/s3"
	"github.com/drd-project/drd/internal/scratch"
	"github.com/drd-project/drd/internal/seal"
	"github.com/drd-project/drd/internal/snapshot"
	"github.com/drd-project/drd/internal/storage"
	"github.com/drd-project/drd/internal/storage/storagetest"
	"github.com/drd-project/drd/test/servers"
)

// closed is a bucket that does not let anybody read some of its objects: by a policy, a key that is disabled, or
// a storage class that must be thawed first.
type closed struct {
	storage.Bucket
	match string
	err   error
}

func (b closed) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	if strings.Contains(key, b.match) {
		return nil, fmt.Errorf("open %s: %w", key, b.err)
	}
	return b.Bucket.Open(ctx, key, offset, length)
}

// between is a bucket in which f happens after it was listed for the first time, and before it is listed for the second time.
type between struct {
	storage.Bucket
	lists atomic.Int32
	f     func()
}

// List implements storage.Bucket.
func (b *between) List(ctx context.Context, prefix string) iter.Seq2[storage.Object, error] {
	if b.lists.Add(1) == 2 {
		b.f()
	}
	return b.Bucket.List(ctx, prefix)
}

// atStep calls f when a step begins.
type atStep struct {
	name string
	f    func()
}

func (a atStep) Step(name string, _ int64) {
	if name == a.name {
		a.f()
	}
}
func (atStep) Add(int64)     {}
func (atStep) Notice(string) {}

// later calls f after a while, and before the test ends.
func later(t *testing.T, after time.Duration, f func() error) {
	done := make(chan struct{})
	t.Cleanup(func() { <-done })
	time.AfterFunc(after, func() {
		defer close(done)
		if err := f(); err != nil {
			t.Error(err)
		}
	})
}

func wantUnsure(t *testing.T, d proof.Drill, check, cause string) {
	t.Helper()
	if d.Outcome != proof.Inconclusive || !strings.HasPrefix(d.Cause, check+": ") || !strings.Contains(d.Cause, cause) {
		t.Errorf("outcome %s, cause %q; want %s to be inconclusive with %q", d.Outcome, d.Cause, check, cause)
	}
	wantEnded(t, d, check, proof.Inconclusive)
}

// TestTarget: what a target does not hand out is not damaged.
func TestTarget(t *testing.T) {
	src := ordinary(t, "3.7")
	reset := fmt.Errorf("read: %w", syscall.ECONNRESET)
	for name, tc := range map[string]struct {
		check, cause string
		spoil        func(p *place) storage.Bucket
	}{
		"object denied":    {drill.CheckObject, "access denied", func(p *place) storage.Bucket { return closed{p.bucket, payloadName, storage.ErrDenied} }},
		"manifest denied":  {drill.CheckManifest, "access denied", func(p *place) storage.Bucket { return closed{p.bucket, manifestName, storage.ErrDenied} }},
		"signature denied": {drill.CheckManifest, "access denied", func(p *place) storage.Bucket { return closed{p.bucket, signatureName, storage.ErrDenied} }},
		"connection reset": {drill.CheckObject, "reset by peer", func(p *place) storage.Bucket { return closed{p.bucket, payloadName, reset} }},
		"transfer stalled": {drill.CheckObject, "stalled", func(p *place) storage.Bucket { return closed{p.bucket, payloadName, storage.ErrStalled} }},
		"unknown error":    {drill.CheckObject, "internal error", func(p *place) storage.Bucket { return closed{p.bucket, payloadName, errors.New("internal error")} }},
		"connection is cut": {drill.CheckObject, "", func(p *place) storage.Bucket {
			f := storagetest.NewFaulty(p.bucket)
			f.CutReads(payloadName, 500, false)
			return f
		}},
		"bucket gone": {drill.CheckManifest, "bucket does not exist", func(p *place) storage.Bucket {
			f := storagetest.NewFaulty(p.bucket)
			f.SetDown(storage.ErrNoBucket)
			return f
		}},
		"target unreachable": {drill.CheckManifest, "injected", func(p *place) storage.Bucket {
			f := storagetest.NewFaulty(p.bucket)
			f.SetDown(storagetest.ErrInjected)
			return f
		}},
		"directory gone": {drill.CheckManifest, "", func(p *place) storage.Bucket { _ = os.RemoveAll(p.path); return p.bucket }},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			_, id := p.publish(t, src, captureTime)
			p.use(t, tc.spoil(p))
			wantUnsure(t, p.drill(t, id, proof.LevelData, nil, nil), tc.check, tc.cause)
		})
	}
}

// TestPruned: a snapshot that goes away before or during a drill was pruned; an object that goes alone was lost.
func TestPruned(t *testing.T) {
	src, p := ordinary(t, "3.7"), newPlace(t)
	b, id := p.publish(t, src, captureTime)
	home := filepath.Join(p.path, cluster, "snapshots", b.manifest.ID)
	lose := func(names ...string) drill.Watcher {
		return atStep{restore.StepFetch, func() {
			for _, name := range names {
				if err := os.Remove(filepath.Join(home, name)); err != nil {
					t.Error(err)
				}
			}
		}}
	}
	d := p.drill(t, id, proof.LevelData, nil, lose(manifestName, signatureName, payloadName))
	wantUnsure(t, d, drill.CheckObject, "pruned or deleted during the drill")
	wantUnsure(t, p.drill(t, id, proof.LevelData, nil, nil), drill.CheckManifest, "pruned, or deleted")

	p.put(t, b)
	if err := os.Remove(filepath.Join(home, manifestName)); err != nil {
		t.Fatal(err)
	}
	wantUnsure(t, p.drill(t, id, proof.LevelData, nil, nil), drill.CheckManifest, "not older than 24 hours")
	p.config.Now = tomorrow
	meanwhile := func(f func() error) proof.Drill {
		bucket := p.bucket
		defer p.use(t, bucket)
		changing := &between{Bucket: bucket, f: func() {
			if err := f(); err != nil {
				t.Error(err)
			}
		}}
		p.use(t, changing)
		d := p.drill(t, id, proof.LevelData, nil, nil)
		if n := changing.lists.Load(); n < 2 {
			t.Errorf("the target was listed %d times", n)
		}
		return d
	}
	d = meanwhile(func() error { return os.RemoveAll(home) })
	wantUnsure(t, d, drill.CheckManifest, "it was being pruned")

	p.put(t, b)
	manifest := filepath.Join(home, manifestName)
	if err := os.Rename(manifest, manifest+".late"); err != nil {
		t.Fatal(err)
	}
	d = meanwhile(func() error { return os.Rename(manifest+".late", manifest) })
	wantUnsure(t, d, drill.CheckManifest, "its upload has just ended")

	d = p.drill(t, id, proof.LevelData, nil, lose(payloadName))
	if d.Outcome != proof.Failed || !strings.HasPrefix(d.Cause, "object: ") {
		t.Errorf("a lost object: %s, %s", d.Outcome, d.Cause)
	}
}

// TestKeys: a key that is not here, or is another one, says nothing about the backup.
func TestKeys(t *testing.T) {
	src, p := ordinary(t, "3.7"), newPlace(t)
	b, id := p.publish(t, src, captureTime)
	other := newPlace(t)
	theirs := other.backupOf(t, plainOf(t, src), src.Facts, captureTime)
	fileKey := func(object []byte, of *place) seal.FileKey {
		header, err := seal.Header(strings.NewReader(string(object)))
		if err != nil {
			t.Fatal(err)
		}
		key, err := seal.Unlock(header, of.keys.Identities)
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	for name, tc := range map[string]struct {
		ids   []age.Identity
		kind  string
		err   error
		cause string
	}{
		"no key":                    {nil, "", fmt.Errorf("open it: %w", drill.ErrNoKey), "no key on this host"},
		"key that cannot be read":   {nil, "", os.ErrPermission, "permission"},
		"identity of somebody else": {other.keys.Identities, "identity", nil, "no identity matches"},
		"file key of another":       {[]age.Identity{fileKey(theirs.object, other).Identity()}, "file key", nil, "belongs to another object"},
	} {
		t.Run(name, func(t *testing.T) {
			p.config.Keys = func(context.Context, *repo.Repository, *repo.Manifest) ([]age.Identity, string, error) {
				return tc.ids, tc.kind, tc.err
			}
			d := p.drill(t, id, proof.LevelData, nil, nil)
			if d.Outcome != proof.Inconclusive || !strings.HasPrefix(d.Cause, "envelope: ") || !strings.Contains(d.Cause, tc.cause) {
				t.Errorf("outcome %s, cause %q", d.Outcome, d.Cause)
			}
		})
	}
	p.config.Keys = func(context.Context, *repo.Repository, *repo.Manifest) ([]age.Identity, string, error) {
		return []age.Identity{fileKey(b.object, p).Identity()}, "retained file key", nil
	}
	if d := p.drill(t, id, proof.LevelData, nil, nil); d.Outcome != proof.Passed || d.OpenedWith != "retained file key" {
		t.Errorf("with its own file key: %s, %s", d.Outcome, d.Cause)
	}
}

// onTmpfs gives the drills a scratch directory of a size in MiB.
func (p *place) onTmpfs(t *testing.T, mib int) {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%dm", mib)); err != nil {
		t.Fatalf("mount a small file system (this test needs root): %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	p.config.ScratchDir, p.config.TakeLastRoom = filepath.Join(dir, "scratch"), true
}

// TestFullDisk: a scratch disk that is full before the drill, or becomes full during any step of it, is no damage.
func TestFullDisk(t *testing.T) {
	src := ordinary(t, "3.7")
	t.Run("before", func(t *testing.T) {
		p := newPlace(t)
		p.onTmpfs(t, 8)
		_, id := p.publish(t, src, captureTime)
		wantUnsure(t, p.drill(t, id, proof.LevelDrill, nil, nil), drill.CheckObject, "not enough disk space")
	})
	t.Run("needed by others", func(t *testing.T) {
		p := newPlace(t)
		p.onTmpfs(t, 900)
		_, id := p.publish(t, src, captureTime)
		wantPassed(t, p.drill(t, id, proof.LevelData, nil, nil), drill.CheckChain, drill.CheckMembers)
		p.config.TakeLastRoom = false
		wantUnsure(t, p.drill(t, id, proof.LevelData, nil, nil), drill.CheckObject, "for a drill beside etcd and its next snapshot")
	})
	for step, check := range map[string]string{
		restore.StepFetch: drill.CheckObject, restore.StepMember: drill.CheckRestore, drill.CheckBoot: drill.CheckBoot,
	} {
		t.Run(step, func(t *testing.T) {
			p := newPlace(t)
			p.onTmpfs(t, 180)
			_, id := p.publish(t, src, captureTime)
			filler := filepath.Join(filepath.Dir(p.config.ScratchDir), "filler")
			d := p.drill(t, id, proof.LevelDrill, nil, atStep{step, func() { fill(t, filler) }})
			if step == drill.CheckBoot { // how far etcd comes before it needs more room than was reserved is its own matter
				if d.Outcome == proof.Passed {
					return
				}
				check, _, _ = strings.Cut(d.Cause, ": ")
			}
			wantUnsure(t, d, check, "")
		})
	}
}

// fill takes all the room that a file system has.
func fill(t *testing.T, path string) {
	f, err := os.Create(path)
	if err != nil {
		t.Error(err)
		return
	}
	defer f.Close()
	block := make([]byte, 1<<20)
	for range 1000 {
		if _, err := f.Write(block); err != nil {
			if !errors.Is(err, unix.ENOSPC) {
				t.Error(err)
			}
			return
		}
	}
	t.Error("the file system never filled up")
}

// TestKilled: a child of the drill that something kills says nothing about the backup.
func TestKilled(t *testing.T) {
	src := ordinary(t, "3.7")
	t.Run("inspector", func(t *testing.T) {
		p := newPlace(t)
		p.config.Inspector = snapshot.Inspector{Command: []string{"/bin/sh", "-c", "kill -9 $$", "sh"}}
		_, id := p.publish(t, src, captureTime)
		wantUnsure(t, p.drill(t, id, proof.LevelData, nil, nil), drill.CheckStructure, "was killed")
	})
	t.Run("inspector that panics", func(t *testing.T) {
		p := newPlace(t)
		p.config.Inspector = snapshot.Inspector{Command: []string{"/bin/sh", "-c", "echo 'panic: page 7 already freed' >&2; exit 2", "sh"}}
		_, id := p.publish(t, src, captureTime)
		d := p.drill(t, id, proof.LevelData, nil, nil)
		if d.Outcome != proof.Failed || !strings.HasPrefix(d.Cause, "structure: ") || !strings.Contains(d.Cause, "page 7 already freed") {
			t.Errorf("%s, %s", d.Outcome, d.Cause)
		}
	})
	t.Run("survey", func(t *testing.T) {
		p := newPlace(t)
		p.config.Survey.Command = []string{"/bin/sh", "-c", "kill -9 $$", "sh"}
		_, id := p.publish(t, src, captureTime)
		wantUnsure(t, p.drill(t, id, proof.LevelData, nil, nil), drill.CheckContents, "killed")
	})
	for _, check := range []string{drill.CheckLeases, drill.CheckEtcdKeys, drill.CheckSamples, drill.CheckWrite, drill.CheckWatch, drill.CheckShutdown} {
		t.Run("etcd at "+check, func(t *testing.T) {
			p := newPlace(t)
			_, id := p.publish(t, src, captureTime)
			d := p.drill(t, id, proof.LevelDrill, nil, atStep{check, func() { killEtcd(t, syscall.SIGKILL) }})
			if check == drill.CheckWatch {
				// The event may have arrived before; then its end is noticed at the shutdown.
				if d.Outcome != proof.Inconclusive {
					t.Errorf("%s, %s", d.Outcome, d.Cause)
				}
				return
			}
			wantUnsure(t, d, check, "killed")
		})
	}
}

// TestEndedByOthers: an etcd that somebody else has asked to end obeys, which says nothing about the backup either.
func TestEndedByOthers(t *testing.T) {
	src := ordinary(t, "3.7")
	for name, program := range map[string]string{"embedded": "", "program": servers.Tool(t, "etcd-3.7")} {
		for _, check := range []string{drill.CheckEtcdKeys, drill.CheckWrite} {
			t.Run(name+" at "+check, func(t *testing.T) {
				p := newPlace(t)
				if program != "" {
					p.config.Etcd = scratch.Launcher{Binary: program}
				}
				_, id := p.publish(t, src, captureTime)
				d := p.drill(t, id, proof.LevelDrill, nil, atStep{check, func() {
					endEtcd(t, syscall.SIGTERM)
				}})
				wantUnsure(t, d, check, "ended by the machine")
			})
		}
	}
}

// endEtcd ends the scratch etcd, and waits until it has ended.
func endEtcd(t *testing.T, with syscall.Signal) {
	t.Helper()
	killEtcd(t, with)
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(50 * time.Millisecond) { // it has the lowest priority
		if len(children(t, os.Getpid())) == 0 {
			return
		}
	}
	t.Error("the scratch etcd did not end")
}

// killEtcd sends a signal to the scratch etcd that this process has started.
func killEtcd(t *testing.T, with syscall.Signal) {
	t.Helper()
	found := 0
	for _, pid := range children(t, os.Getpid()) {
		if strings.Contains(pid.args, etcdChild) || strings.Contains(pid.args, "--data-dir") {
			found++
			if err := syscall.Kill(pid.id, with); err != nil {
				t.Error(err)
			}
		}
	}
	if found != 1 {
		t.Errorf("%d scratch etcds are running", found)
	}
}

type process struct {
	id   int
	args string
}

// children are the processes that one has started, and theirs.
func children(t *testing.T, of int) []process {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	var found []process
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		text := string(b)
		fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
		if parent, _ := strconv.Atoi(fields[1]); parent != of || fields[0] == "Z" {
			continue
		}
		id, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err != nil {
			t.Fatal(err)
		}
		args, _ := os.ReadFile(filepath.Join(filepath.Dir(file), "cmdline"))
		found = append(found, process{id, string(args)})
		found = append(found, children(t, id)...)
	}
	return found
}

// TestInterrupted: a drill whose time is over is inconclusive, wherever it was, and leaves nothing.
func TestInterrupted(t *testing.T) {
	src := ordinary(t, "3.7")
	for _, step := range []string{drill.CheckManifest, restore.StepFetch, restore.StepCheck, drill.CheckContents, restore.StepMember, drill.CheckBoot, drill.CheckEtcdHashKV, drill.CheckWatch, drill.CheckShutdown} {
		t.Run(step, func(t *testing.T) {
			p := newPlace(t)
			_, id := p.publish(t, src, captureTime)
			d, err := drill.New(p.config)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			got := d.Drill(ctx, drill.Target{Name: "primary", Repo: p.repo}, id, proof.LevelDrill, nil, atStep{step, cancel})
			if (step == drill.CheckWatch || step == drill.CheckShutdown) && got.Outcome == proof.Passed {
				return // the event had come already: there was nothing left to interrupt
			}
			if got.Outcome != proof.Inconclusive || !strings.Contains(got.Cause, "cancel") {
				t.Errorf("outcome %s, cause %q", got.Outcome, got.Cause)
			}
			p.wantWiped(t)
			if left := children(t, os.Getpid()); len(left) > 0 {
				t.Errorf("still running: %v", left)
			}
		})
	}
}

// TestMinIO drills from a real object store: as it should be, without its bucket, and without its server.
func TestMinIO(t *testing.T) {
	server := servers.StartMinIO(t)
	server.CreateBucket(t, "backups", false)
	open := func(bucket string) storage.Bucket {
		b, err := s3.Open(t.Context(), s3.Config{
			Bucket: bucket, Region: server.Region, Endpoint: server.Endpoint, CAFile: server.CAFile, PathStyle: true,
			CredentialsFile: server.CredentialsFile,
		})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	src, p := ordinary(t, "3.6"), placeIn(t, open("backups"))
	_, id := p.publish(t, src, captureTime)
	wantPassed(t, p.drill(t, id, proof.LevelDrill, nil, nil), drill.CheckChain, drill.CheckMembers, drill.CheckAuth)
	good := p.bucket

	p.use(t, open("gone"))
	wantUnsure(t, p.drill(t, id, proof.LevelData, nil, nil), drill.CheckManifest, "bucket does not exist")

	p.use(t, storage.WithStallTimeout(good, 5*time.Second))
	server.Stop()
	d := p.drill(t, id, proof.LevelData, nil, nil)
	wantUnsure(t, d, drill.CheckManifest, "")
}
