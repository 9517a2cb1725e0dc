package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

// untilAsked returns a context that ends when drd is asked to give up, and what to call at the end. The first signal asks; a second SIGINT or
// SIGTERM ends a drd that hangs. A second SIGHUP does nothing, as it comes by itself: from the shell and from the kernel, or from systemd
// right after SIGTERM.
func untilAsked(root *cobra.Command, args []string) (context.Context, func()) {
	ctx, deaf := context.Background(), func() {}
	if endsByHangup(root, args) {
		ctx, deaf = signal.NotifyContext(ctx, syscall.SIGHUP)
	}
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	forget := context.AfterFunc(ctx, stop)
	// Caught, this signal leaves an error of the write: a reader that goes away (drd log | head) must not kill drd before it has
	// cleaned up.
	pipe := make(chan os.Signal, 1)
	signal.Notify(pipe, syscall.SIGPIPE)
	return ctx, func() {
		signal.Stop(pipe)
		forget()
		stop()
		deaf()
	}
}

// endsByHangup is false for the service, which reads its configuration again, and under nohup.
func endsByHangup(root *cobra.Command, args []string) bool {
	cmd, _, err := root.Find(args)
	return (err != nil || cmd.Name() != "daemon") && !signal.Ignored(syscall.SIGHUP)
}

// errNobodyReads is what a write says when standard output is a pipe that nobody reads from any more.
var errNobodyReads = errors.New("nobody reads the output any more")

// lastWrite is how long a write may still take once drd is asked to give up.
const lastWrite = time.Second

// patientWriter writes to where somebody may stop reading without going away, such as a pager: a write waits for him, and not longer than
// for the end of ctx, so that drd can clean up.
type patientWriter struct {
	ctx   context.Context
	w     io.Writer
	stuck chan struct{} // holds one when a write was given up
}

func newPatientWriter(ctx context.Context, w io.Writer) *patientWriter {
	return &patientWriter{ctx: ctx, w: w, stuck: make(chan struct{}, 1)}
}

// Write implements io.Writer. The kernel cannot be told to give up a write: the goroutine of one that is given up ends with the process,
// and is why the bytes are copied.
func (p *patientWriter) Write(text []byte) (int, error) {
	if len(p.stuck) > 0 {
		return 0, context.Cause(p.ctx)
	}
	type result struct {
		n   int
		err error
	}
	written := make(chan result, 1)
	text = bytes.Clone(text)
	go func() {
		n, err := p.w.Write(text)
		written <- result{n, err}
	}()
	var r result
	select {
	case r = <-written:
	case <-p.ctx.Done():
		select {
		case r = <-written:
		case <-time.After(lastWrite):
			select {
			case p.stuck <- struct{}{}:
			default: // another one was given up, too
			}
			return 0, fmt.Errorf("nobody reads: %w", context.Cause(p.ctx))
		}
	}
	if errors.Is(r.err, syscall.EPIPE) {
		r.err = errNobodyReads
	}
	return r.n, r.err
}
