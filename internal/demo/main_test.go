package demo

import (
	"context"
	"fmt"
	"os"
	"os/signal"
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
	os.Exit(m.Run())
}
