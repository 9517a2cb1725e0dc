package drill_test

import (
	"context"
	"fmt"
	"os"
	"testing"

	"github.com/drd-project/drd/internal/scratch"
	"github.com/drd-project/drd/internal/snapshot"
	"github.com/drd-project/drd/internal/survey"
	"github.com/drd-project/drd/test/program"
)

// The test binary plays the child processes of a drill.
const (
	inspectChild = "inspect-file"
	surveyChild  = "survey-file"
	etcdChild    = "scratch-etcd"
	victimChild  = "victim"
)

// sharedDir holds the snapshots that several tests drill.
var sharedDir string

func TestMain(m *testing.M) {
	code, played := program.Play(map[string]program.Child{
		inspectChild: func(ctx context.Context, args []string) int { return snapshot.InspectMain(ctx, args, os.Stdout) },
		surveyChild:  func(ctx context.Context, args []string) int { return survey.Main(ctx, args, os.Stdout) },
		etcdChild:    scratch.Main,
		victimChild:  func(ctx context.Context, args []string) int { return victimMain(ctx, args[0]) },
	})
	if !played {
		code = withSharedDir(m.Run)
	}
	os.Exit(code)
}

func withSharedDir(run func() int) int {
	dir, err := os.MkdirTemp("", "drd-drill-test-*")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	sharedDir = dir
	return run()
}

func self(tb testing.TB) string {
	tb.Helper()
	path, err := os.Executable()
	if err != nil {
		tb.Fatal(err)
	}
	return path
}
