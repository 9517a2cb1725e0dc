package integration

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/drd-project/drd/test/program"
)

// runLimit bounds one run of drd. Seconds are usual; a dead target is tried for half a minute.
const runLimit = 3 * time.Minute

// drd is the path of the program under test. TestMain sets it.
var drd string

func TestMain(m *testing.M) { os.Exit(program.Main(m, &drd)) }

// result is a finished run of drd.
type result struct {
	args           []string
	code           int // exit code, -1 when a signal ended it
	stdout, stderr string
}

func (r result) String() string {
	return fmt.Sprintf("drd %s: exit code %d\nstdout:\n%s\nstderr:\n%s", strings.Join(r.args, " "), r.code, r.stdout, r.stderr)
}

// decode reads the JSON document of a run. The document must be all there is on standard output.
func decode[T any](t *testing.T, r result) T {
	t.Helper()
	var v T
	if err := json.Unmarshal([]byte(r.stdout), &v); err != nil {
		t.Fatalf("read the JSON document: %v\n%v", err, r)
	}
	return v
}

// wants fails the test unless the run wrote each of the texts to standard error.
func (r result) wants(t *testing.T, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if !strings.Contains(r.stderr, text) {
			t.Errorf("standard error lacks %q\n%v", text, r)
		}
	}
}

// shows fails the test unless the run wrote each of the texts to standard output.
func (r result) shows(t *testing.T, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if !strings.Contains(r.stdout, text) {
			t.Errorf("standard output lacks %q\n%v", text, r)
		}
	}
}

// command is a run of drd under way.
type command struct {
	*program.Program
	args []string
}

// start begins a run in dir.
func start(t *testing.T, dir string, args ...string) *command {
	t.Helper()
	return &command{program.Start(t, runLimit, dir, drd, args...), args}
}

// wait returns when the run has ended.
func (c *command) wait() result {
	return result{args: c.args, code: c.Wait(), stdout: c.Stdout.String(), stderr: c.Stderr.String()}
}
