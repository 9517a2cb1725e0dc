package scratch

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// TestServes: the embedded server and every version of the program serve what was restored, take a write, and stop.
func TestServes(t *testing.T) {
	for name, l := range launchers(t) {
		t.Run(name, func(t *testing.T) {
			version := sourceOf(name)
			d := restoredFrom(t, version)
			dir := socketDir(t)
			for _, want := range []string{testValue, "again"} { // the second time in the same directories
				e := start(t, l, dir, d)
				if !strings.HasPrefix(e.Version(), version+".") || e.Embedded() != (name == "embedded") || e.AuthEnabled() {
					t.Errorf("version %s, embedded %t, auth %t", e.Version(), e.Embedded(), e.AuthEnabled())
				}
				if got := read(t, e); got != want {
					t.Errorf("%s is %q, want %q", testKey, got, want)
				}
				put(t, e, testKey, "again")
				if err := e.Err(); err != nil {
					t.Errorf("while it runs: %v", err)
				}
				if err := errors.Join(e.Stop(), e.Stop(), e.Err()); err != nil {
					t.Errorf("stop: %v", err)
				}
				gone(t, e.child.process.Pid)
			}
		})
	}
}

// answered makes a request until it is answered: etcd gives up on one after five seconds, which the lowest priority on a busy machine
// may not be enough for.
func answered(tb testing.TB, e *Etcd, request func() error) {
	tb.Helper()
	for end := time.Now().Add(patient); ; time.Sleep(100 * time.Millisecond) {
		err := request()
		if err == nil {
			return
		}
		if status.Code(err) != codes.Unavailable || e.Err() != nil || time.Now().After(end) {
			tb.Fatal(err)
		}
	}
}

func put(tb testing.TB, e *Etcd, key, value string) {
	tb.Helper()
	answered(tb, e, func() error {
		_, err := pb.NewKVClient(e.Conn()).Put(tb.Context(), &pb.PutRequest{Key: []byte(key), Value: []byte(value)})
		return err
	})
}

func read(tb testing.TB, e *Etcd) string {
	tb.Helper()
	var answer *pb.RangeResponse
	answered(tb, e, func() (err error) {
		answer, err = pb.NewKVClient(e.Conn()).Range(tb.Context(), &pb.RangeRequest{Key: []byte(testKey)})
		return err
	})
	if len(answer.Kvs) != 1 {
		tb.Fatalf("%d keys", len(answer.Kvs))
	}
	return string(answer.Kvs[0].Value)
}

// patient is how long what must happen may take: a process with the lowest priority takes a while to end, too.
const patient = time.Minute

// gone waits until a process has ended: a zombie has, unless it still has threads.
func gone(tb testing.TB, pid int) {
	tb.Helper()
	for end := time.Now().Add(patient); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
		if err != nil || bytes.Contains(stat, []byte(") Z ")) && len(threads) <= 1 {
			return
		}
	}
	tb.Errorf("process %d is still there", pid)
}

// TestKilled: whoever ends it, politely or not, the backup is not blamed.
func TestKilled(t *testing.T) {
	d := restoredFrom(t, "3.7")
	for name, l := range map[string]Launcher{"embedded": embedded(t), "program": binary(t, "3.7")} {
		for _, signal := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM} {
			t.Run(name+"/"+signal.String(), func(t *testing.T) {
				e := start(t, l, socketDir(t), d)
				if err := syscall.Kill(e.child.process.Pid, signal); err != nil {
					t.Fatal(err)
				}
				select {
				case <-e.Exited():
				case <-time.After(patient):
					t.Fatal("it does not end")
				}
				_, err := pb.NewKVClient(e.Conn()).Range(t.Context(), &pb.RangeRequest{Key: []byte(testKey)})
				if err == nil {
					t.Error("a dead etcd answers")
				}
				for range 2 {
					if err := e.Stop(); !errors.Is(err, ErrKilled) || errors.Is(err, ErrRefused) {
						t.Errorf("stop: %v", err)
					}
				}
				if err := e.Err(); !errors.Is(err, ErrKilled) {
					t.Errorf("err: %v", err)
				}
			})
		}
	}
}

func TestKilledWhileItStarts(t *testing.T) {
	d := restoredFrom(t, "3.7")
	l := Launcher{Command: []string{"/bin/sh", "-c", "echo loading; kill -9 $$"}}
	if _, err := l.Start(t.Context(), socketDir(t), d); !errors.Is(err, ErrKilled) {
		t.Errorf("start: %v", err)
	}
}

// TestParentKilled: a drd that is killed leaves no etcd behind.
func TestParentKilled(t *testing.T) {
	d := restoredFrom(t, "3.7")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for name, l := range map[string]Launcher{"embedded": embedded(t), "program": binary(t, "3.7")} {
		t.Run(name, func(t *testing.T) {
			launcher, err := json.Marshal(l)
			if err != nil {
				t.Fatal(err)
			}
			data, err := json.Marshal(d)
			if err != nil {
				t.Fatal(err)
			}
			parent := exec.CommandContext(t.Context(), self, parentChild, string(launcher), string(data), socketDir(t))
			parent.Stderr = t.Output()
			out, err := parent.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := parent.Start(); err != nil {
				t.Fatal(err)
			}
			var pid int
			if _, err := fmt.Fscan(out, &pid); err != nil {
				t.Fatal(err)
			}
			if err := syscall.Kill(pid, 0); err != nil {
				t.Fatalf("the etcd does not run: %v", err)
			}
			if err := parent.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			gone(t, pid)
			if err := parent.Wait(); err == nil {
				t.Error("the parent was not killed")
			}
		})
	}
}

// TestAuth: a store with users comes up with its guard, which can then be taken away to read it.
func TestAuth(t *testing.T) {
	for _, version := range versions {
		t.Run(version, func(t *testing.T) {
			d := restoredWithAuth(t, version)
			for _, l := range []Launcher{binary(t, version), embedded(t)} {
				withAuth(t, l, d)
			}
		})
	}
}

func withAuth(t *testing.T, l Launcher, d Data) {
	copied := t.TempDir()
	if err := os.CopyFS(copied, os.DirFS(d.Dir)); err != nil {
		t.Fatal(err)
	}
	d.Dir = copied
	dir := socketDir(t)
	e := start(t, l, dir, d)
	if !e.AuthEnabled() {
		t.Error("authentication is off")
	}
	if _, err := pb.NewKVClient(e.Conn()).Range(t.Context(), &pb.RangeRequest{Key: []byte(testKey)}); err == nil {
		t.Error("it lets everybody read")
	}
	if err := e.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := DisableAuth(d.Dir); err != nil {
		t.Fatal(err)
	}
	e = start(t, l, dir, d)
	if got := read(t, e); e.AuthEnabled() || got != testValue {
		t.Errorf("auth %t, %q", e.AuthEnabled(), got)
	}
	if err := e.Stop(); err != nil {
		t.Error(err)
	}
}

func restoredWithAuth(t *testing.T, version string) Data {
	member := live(t, version)
	client := member.Client(t)
	_, err1 := client.UserAdd(t.Context(), "root", "secret")
	_, err2 := client.RoleAdd(t.Context(), "root")
	_, err3 := client.UserGrantRole(t.Context(), "root", "root")
	_, err4 := client.AuthEnable(t.Context())
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		t.Fatal(err)
	}
	root, err := clientv3.New(clientv3.Config{
		Endpoints: []string{member.Endpoint()}, Username: "root", Password: "secret", DialTimeout: patient, Logger: zap.NewNop(),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	return restored(t, member, root)
}

// TestCancelled: a start that is not wanted any more leaves nothing.
func TestCancelled(t *testing.T) {
	d := restoredFrom(t, "3.7")
	dir := socketDir(t)
	pidFile := dir + "/pid"
	ctx, cancel := context.WithCancelCause(t.Context())
	reason := errors.New("not wanted any more")
	go func() {
		for end := time.Now().Add(patient); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
			if _, err := os.Stat(pidFile); err == nil {
				break
			}
		}
		cancel(reason)
	}()
	l := Launcher{Command: []string{"/bin/sh", "-c", "echo $$ >new; mv new pid; exec sleep 600"}, StartStall: 5 * patient}
	if _, err := l.Start(ctx, dir, d); !errors.Is(err, reason) {
		t.Errorf("start: %v", err)
	}
	text, err := os.ReadFile(pidFile)
	if err != nil {
		t.Fatal(err)
	}
	var pid int
	if _, err := fmt.Sscan(string(text), &pid); err != nil {
		t.Fatal(err)
	}
	gone(t, pid)
	if _, err := l.Start(ctx, dir, d); !errors.Is(err, reason) {
		t.Errorf("start when it is over: %v", err)
	}
}
