package monitoring

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/drd-project/drd/test/program"
)

// runLimit bounds a run of drd that ends by itself. Seconds are usual.
const runLimit = 3 * time.Minute

// drd is the path of the program under test. TestMain sets it.
var drd string

func TestMain(m *testing.M) { os.Exit(program.Main(m, &drd)) }

// start runs a program in dir until it is stopped, or the test ends. Of a test that failed, its last output is shown.
func start(t *testing.T, dir, path string, args ...string) *program.Program {
	t.Helper()
	p := program.Start(t, 0, dir, path, args...)
	t.Cleanup(func() {
		if t.Failed() {
			out := p.Stdout.String() + p.Stderr.String()
			t.Logf("the last output of %s:\n%s", filepath.Base(path), out[max(0, len(out)-4000):])
		}
	})
	return p
}

// run runs drd and wants it to succeed.
func run(t *testing.T, dir string, args ...string) {
	t.Helper()
	p := program.Start(t, runLimit, dir, drd, args...)
	if code := p.Wait(); code != 0 {
		t.Fatalf("drd %v: exit code %d\n%s%s", args, code, &p.Stdout, &p.Stderr)
	}
}
