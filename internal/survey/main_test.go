package survey_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/drd-project/drd/internal/survey"
)

// asChild makes the test binary play the child process, in the way that its value names.
const asChild = "DRD_TEST_SURVEY"

func TestMain(m *testing.M) {
	switch os.Getenv(asChild) {
	case "":
		os.Exit(m.Run())
	case "read":
		os.Exit(survey.Main(context.Background(), os.Args[1:], os.Stdout))
	case "interrupted":
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		os.Exit(survey.Main(ctx, os.Args[1:], os.Stdout))
	case "measured":
		if err := measured(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	case "out of memory":
		fmt.Fprintln(os.Stderr, "fatal error: runtime: out of memory\n\nruntime stack:")
		os.Exit(2)
	case "panic":
		panic("page 7: not a leaf")
	case "silent":
		os.Exit(0)
	case "slow":
		time.Sleep(time.Minute)
	}
}

// child is a Reader whose child behaves in the named way.
func child(t testing.TB, way string) survey.Reader {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return survey.Reader{Command: []string{"/usr/bin/env", asChild + "=" + way, self}}
}

// shell is a Reader whose child runs a line of shell.
func shell(t testing.TB, line string) survey.Reader {
	t.Helper()
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Fatal(err)
	}
	return survey.Reader{Command: []string{sh, "-c", line}}
}
