package program

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// Child is the body of a process that drd starts of itself: it gets the arguments behind its name, and returns the exit code.
type Child func(ctx context.Context, args []string) int

// Play lets a test program play the children that drd would start of itself, by the first argument that it was started with. When it is
// one of them, code is its exit code; otherwise the tests are to be run. Without it, each child would run all tests again.
func Play(children map[string]Child) (code int, played bool) {
	if len(os.Args) > 1 && children[os.Args[1]] != nil {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		defer stop()
		return children[os.Args[1]](ctx, os.Args[2:]), true
	}
	// Under the race detector every process sleeps for a second before it exits, and there are many children.
	if err := os.Setenv("GORACE", os.Getenv("GORACE")+" atexit_sleep_ms=0"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1, true
	}
	return 0, false
}
