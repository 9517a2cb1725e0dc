package demo

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/drd-project/drd/internal/scratch"
	"github.com/drd-project/drd/internal/snapshot"
	"github.com/drd-project/drd/internal/survey"
)

// The arguments with which the test binary plays the child processes of drd.
const (
	inspectChild = "inspect-file"
	surveyChild  = "survey-file"
	etcdChild    = "scratch-etcd"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		code := -1
		switch os.Args[1] {
		case inspectChild:
			code = snapshot.InspectMain(ctx, os.Args[2:], os.Stdout)
		case surveyChild:
			code = survey.Main(ctx, os.Args[2:], os.Stdout)
		case etcdChild:
			code = scratch.Main(ctx, os.Args[2:])
		}
		stop()
		if code >= 0 {
			os.Exit(code)
		}
	}
	// Under the race detector every process sleeps for a second before it exits, and there are many children here.
	if err := os.Setenv("GORACE", os.Getenv("GORACE")+" atexit_sleep_ms=0"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(testMain(m))
}

// drd is the path of the program, which the second act runs as a daemon.
var drd string

func testMain(m *testing.M) int {
	dir, err := os.MkdirTemp("", "drd-demo-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "make a directory for drd:", err)
		return 1
	}
	defer os.RemoveAll(dir)
	drd = filepath.Join(dir, "drd")
	if out, err := exec.Command("go", "build", "-o", drd, "github.com/drd-project/drd/cmd/drd").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build drd: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}
