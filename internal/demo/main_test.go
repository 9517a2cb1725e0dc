package demo

import (
	"context"
	"os"
	"testing"

	"github.com/drd-project/drd/internal/scratch"
	"github.com/drd-project/drd/internal/snapshot"
	"github.com/drd-project/drd/internal/survey"
	"github.com/drd-project/drd/test/program"
)

// The arguments with which the test binary plays the child processes of drd.
const (
	inspectChild = "inspect-file"
	surveyChild  = "survey-file"
	etcdChild    = "scratch-etcd"
)

func TestMain(m *testing.M) {
	code, played := program.Play(map[string]program.Child{
		inspectChild: func(ctx context.Context, args []string) int { return snapshot.InspectMain(ctx, args, os.Stdout) },
		surveyChild:  func(ctx context.Context, args []string) int { return survey.Main(ctx, args, os.Stdout) },
		etcdChild:    scratch.Main,
	})
	if !played {
		code = program.Main(m, &drd)
	}
	os.Exit(code)
}

// drd is the path of the program, which the second act runs as a daemon.
var drd string
