package restore_test

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/drd-project/drd/internal/restore"
)

// kills is how many runs are to be killed, at moments spread at random over the time that a run takes.
const kills = 15

// TestKilled: whenever a restore is killed, nothing stands under the final name, or all of it does; the next one
// works, and says what the killed one left.
func TestKilled(t *testing.T) {
	k, target := newKeys(t), newTarget(t)
	file := bigFile(t, 48)
	facts := inspect(t, file)
	publish(t, k, file, facts, captureTime, nil, target)
	home := t.TempDir()
	reqs := []restore.Request{
		{Output: filepath.Join(home, "snapshot.db"), ForEtcd: "3.5"},
		{DataDir: filepath.Join(home, "etcd")},
	}
	whole := time.Hour
	for i := range reqs {
		whole = min(whole, took(t, runChild(t, k, target, reqs[i], false, nil))) // the moments must lie within a run
		remove(t, finalName(reqs[i]))
	}
	killed, leftovers := 0, 0
	// On a machine that has become faster since, runs end before their moment. Then the next moments come earlier, and there are more runs.
	for i := 0; i < kills || i < 10*kills && (killed < kills/3 || leftovers == 0); i++ {
		req := reqs[i%len(reqs)]
		after := time.Duration(rand.Int64N(int64(whole)))
		said := runChild(t, k, target, req, false, func(pid int) { time.Sleep(after); kill(t, pid, syscall.SIGKILL) })
		if strings.Contains(said, "done") {
			whole = min(whole, took(t, said))
		} else {
			killed++
		}
		if _, err := os.Lstat(finalName(req)); err == nil {
			wantComplete(t, req, facts.HashKV)
			remove(t, finalName(req))
		}
		left, err := filepath.Glob(filepath.Join(home, ".drd-restore-*"))
		if err != nil {
			t.Fatal(err)
		}
		leftovers += len(left)
		wantReported(t, k, target, req, left)
		for _, dir := range left {
			remove(t, dir)
		}
	}
	if killed < kills/3 || leftovers == 0 {
		t.Errorf("%d runs were killed, with %d leftovers: the moments prove nothing", killed, leftovers)
	}
	for _, req := range reqs {
		restored(t, k, req, target)
		wantComplete(t, req, facts.HashKV)
	}
}

func finalName(req restore.Request) string { return req.Output + req.DataDir }

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
}

func kill(t *testing.T, pid int, sig syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(pid, sig); err != nil && err != syscall.ESRCH {
		t.Error(err)
	}
}

// took is how long the run of a child took by its own clock. It must have ended well.
func took(t *testing.T, said string) time.Duration {
	t.Helper()
	var seconds float64
	_, text, _ := strings.Cut(said, "done in ")
	if _, err := fmt.Sscan(text, &seconds); err != nil || seconds <= 0 {
		t.Fatalf("the run did not end well: %s", said)
	}
	return time.Duration(seconds * float64(time.Second))
}

// runChild runs a restore to its end, calling disturb once it has begun, and returns what it said. With hold it has no end but by an
// interrupt.
func runChild(t *testing.T, k *keys, target *target, req restore.Request, hold bool, disturb func(pid int)) string {
	t.Helper()
	cmd := startChild(t, k, target, req, hold)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		said.WriteString(lines.Text() + "\n")
		if lines.Text() == "step "+restore.StepFetch && disturb != nil {
			disturb(cmd.Process.Pid)
		}
	}
	_ = cmd.Wait() // a killed child is what the test is about; what it said decides
	return said.String()
}

// wantComplete checks that what stands under the final name is whole.
func wantComplete(t *testing.T, req restore.Request, hash uint32) {
	t.Helper()
	file := req.Output
	if req.DataDir != "" {
		file = memberDB(req.DataDir)
		if found, err := filepath.Glob(filepath.Join(req.DataDir, "member", "wal", "*.wal")); err != nil || len(found) != 1 {
			t.Errorf("wal: %q, %v", found, err)
		}
	}
	if facts := inspect(t, file); facts.HashKV != hash {
		t.Errorf("%s: hash %d, want %d", file, facts.HashKV, hash)
	}
}

// wantReported checks that a plan names the leftovers and that they are still there.
func wantReported(t *testing.T, k *keys, target *target, req restore.Request, left []string) {
	t.Helper()
	plan, err := restore.MakePlan(t.Context(), []restore.Source{target.source("primary")}, k.trust, req, captureTime)
	if err != nil {
		t.Fatal(err)
	}
	if len(plan.Leftovers) != len(left) {
		t.Errorf("the plan names %q, there is %q", plan.Leftovers, left)
	}
	for _, dir := range left {
		if _, err := os.Lstat(dir); err != nil {
			t.Errorf("leftover: %v", err)
		}
		if !strings.Contains(strings.Join(plan.Warnings, "\n"), "rm -r "+dir) {
			t.Errorf("no warning names %s: %q", dir, plan.Warnings)
		}
	}
}

// TestInterrupted: on an interrupt the working directory goes too.
func TestInterrupted(t *testing.T) {
	k, target := newKeys(t), newTarget(t)
	file := bigFile(t, 48)
	publish(t, k, file, inspect(t, file), captureTime, nil, target)
	for _, req := range []restore.Request{
		{Output: filepath.Join(t.TempDir(), "snapshot.db")},
		{DataDir: filepath.Join(t.TempDir(), "etcd")},
		{DataDir: t.TempDir(), WALDir: t.TempDir()},
	} {
		said := runChild(t, k, target, req, true, func(pid int) { kill(t, pid, syscall.SIGINT) })
		if !strings.Contains(said, "error interrupt") {
			t.Errorf("the child said %q", said)
		}
		home := filepath.Dir(finalName(req))
		if req.WALDir != "" {
			wantOnly(t, req.WALDir)
			home = req.DataDir
		}
		wantOnly(t, home)
	}
}
