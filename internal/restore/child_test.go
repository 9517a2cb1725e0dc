package restore_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime/metrics"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/restore"
	"github.com/drd-project/drd/internal/seal"
	"github.com/drd-project/drd/internal/snapshot"
	"github.com/drd-project/drd/internal/storage/dir"
)

// childOrder is what a restore in a child process needs to know.
type childOrder struct {
	Target, AllowedSigners, Identity string
	Request                          restore.Request
	Hold                             bool // in the download, until an interrupt
}

// startChild prepares a restore in a process of its own.
func startChild(t *testing.T, k *keys, target *target, req restore.Request, hold bool) *exec.Cmd {
	t.Helper()
	order, err := json.Marshal(childOrder{Target: target.path, AllowedSigners: k.allowedSigners, Identity: k.identityFile, Request: req, Hold: hold})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "order.json")
	if err := os.WriteFile(path, order, 0o600); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, restoreChild, path)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// restoreMain is the child: it restores, and says on standard output which step it is in.
func restoreMain(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	peak := watchMemory()
	if err := obey(ctx, args[0]); err != nil {
		fmt.Println("error", err)
		return 1
	}
	fmt.Println("peak", peak())
	return 0
}

func obey(ctx context.Context, path string) error {
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var order childOrder
	if err := json.Unmarshal(content, &order); err != nil {
		return err
	}
	identities, err := seal.LoadIdentities([]string{order.Identity}, nil)
	if err != nil {
		return err
	}
	trust, err := seal.LoadTrust(order.AllowedSigners)
	if err != nil {
		return err
	}
	bucket, err := dir.Open(order.Target, dir.Options{})
	if err != nil {
		return err
	}
	r, err := repo.Open(bucket, cluster)
	if err != nil {
		return err
	}
	plan, err := restore.MakePlan(ctx, []restore.Source{{Name: "primary", Repo: r}}, trust, order.Request, captureTime.Add(time.Hour))
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	var progress restore.Progress = sayStep{}
	if order.Hold {
		progress = holding{interrupted: ctx.Done()}
	}
	result, err := restore.Run(ctx, plan, identities, snapshot.Inspector{Command: []string{self, inspectChild}}, progress)
	if err != nil {
		return err
	}
	fmt.Println("done in", result.Seconds)
	return nil
}

// sayStep prints the name of each step.
type sayStep struct{}

func (sayStep) Step(name string, _ int64) { fmt.Println("step", name) }
func (sayStep) Add(int64)                 {}
func (sayStep) Notice(text string)        { fmt.Println("notice", text) }

// holding stays in the download after its first block until an interrupt: however late that comes, it meets a restore under way.
type holding struct {
	sayStep
	interrupted <-chan struct{}
}

func (h holding) Add(int64) { <-h.interrupted }

// bigFile is a snapshot of about mib MiB: that of a server with more entries written behind its last revision, as etcd
// writes them, with values that compress to about a third.
func bigFile(tb testing.TB, mib int) string {
	tb.Helper()
	return growFile(tb, capture(tb, "3.7", "app/"), filepath.Join(tb.TempDir(), "big.db"), mib)
}

// TestMemory: the memory of a run does not depend on the size of the snapshot.
func TestMemory(t *testing.T) {
	const limit = 150 // MiB that the Go runtime holds; memory maps are not among them
	k, target := newKeys(t), newTarget(t)
	file := bigFile(t, 256)
	publish(t, k, file, inspect(t, file), captureTime, nil, target)
	for name, req := range map[string]restore.Request{
		"data dir": {DataDir: filepath.Join(t.TempDir(), "etcd")},
		"file":     {Output: filepath.Join(t.TempDir(), "f"), ForEtcd: "3.5"},
	} {
		t.Run(name, func(t *testing.T) { wantMemory(t, k, target, req, limit) })
	}
}

// TestArchiveMemory: nor does it depend on how much was archived.
func TestArchiveMemory(t *testing.T) {
	const limit = 256 // MiB: eight segments are read ahead, each with a decoder of its own
	k, target := newKeys(t), newTarget(t)
	base := capture(t, "3.7", "app/")
	publish(t, k, base.File, base.Facts, captureTime, nil, target)
	last := archiveAfter(t, k, base.Revision, 40, 5000, target) // 200 MB
	wantMemory(t, k, target, restore.Request{Output: filepath.Join(t.TempDir(), "f"), Revision: last - 7}, limit)
}

func wantMemory(t *testing.T, k *keys, target *target, req restore.Request, limit int) {
	t.Helper()
	said := runChild(t, k, target, req, false, nil)
	_, peak, found := strings.Cut(said, "peak ")
	mib, err := strconv.Atoi(strings.TrimSpace(peak))
	if !found || err != nil || mib == 0 || mib > limit {
		t.Errorf("want at most %d MiB: %s", limit, said)
	}
	t.Logf("%d MiB", mib)
}

// watchMemory samples the memory of this process until stop is called, which returns the highest value in MiB.
func watchMemory() (stop func() uint64) {
	done, peak := make(chan struct{}), make(chan uint64)
	go func() {
		var highest uint64
		for {
			highest = max(highest, memoryInUse())
			select {
			case <-done:
				peak <- highest >> 20
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
	}()
	return func() uint64 { close(done); return <-peak }
}

// memoryInUse is what the Go runtime has from the system and did not give back, in bytes.
func memoryInUse() uint64 {
	samples := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(samples)
	return samples[0].Value.Uint64() - samples[1].Value.Uint64()
}
