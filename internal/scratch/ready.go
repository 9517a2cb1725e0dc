package scratch

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

const (
	// readyEvery is the pause between two questions whether it serves. The answer is part of a measured recovery time.
	readyEvery = 20 * time.Millisecond
	// askLimit bounds one question: an etcd accepts connections before it answers.
	askLimit = 5 * time.Second
	// startFactor times the stall bounds the whole start: an etcd that only complains makes its log grow for ever.
	startFactor = 30
	// minWork is how much CPU time is progress, in ticks of which a second has 100. A store that is in the page cache is
	// loaded by computing alone, at 2 s a GiB where the CPU is not shared; a process that waits uses nothing.
	minWork = 10
)

// patience is how long a start may make no progress, and how long it may take.
type patience struct{ stall, whole time.Duration }

// awaitReady returns when the etcd has answered a linearizable read.
func (e *Etcd) awaitReady(ctx context.Context, limit patience) error {
	begin := time.Now()
	seen := progress{since: begin}
	for {
		err := e.ask(ctx)
		if err == nil {
			return nil
		}
		seen.look(e.child)
		switch now := time.Now(); {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case now.Sub(seen.since) > limit.stall:
			return e.stalled(fmt.Sprintf("no progress for %s", limit.stall), err)
		case now.Sub(begin) > limit.whole:
			return e.stalled(fmt.Sprintf("it does not serve after %s", limit.whole), err)
		}
		select {
		case <-e.child.exited:
			// It ends before it serves, so whoever asked it to, it was not us.
			return e.child.verdict()
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(readyEvery):
		}
	}
}

func (e *Etcd) stalled(what string, last error) error {
	return fmt.Errorf("%w: %s: %w; its log ends with: %s", ErrStalled, what, last, e.child.log.words())
}

// ask wants a linearizable read answered, and learns what the etcd is.
func (e *Etcd) ask(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	_, err := pb.NewKVClient(e.conn).Range(ctx, &pb.RangeRequest{Key: []byte{0}, Limit: 1, KeysOnly: true})
	// The refusal comes after the read was agreed on, from a store that knows its users.
	e.auth = err != nil && rpctypes.ErrorDesc(err) == rpctypes.ErrorDesc(rpctypes.ErrGRPCUserEmpty)
	if err != nil && !e.auth {
		return err
	}
	e.version, err = e.askVersion(ctx)
	return err
}

// askVersion reads /version: it is for everybody, and Status is not when the store has users.
func (e *Etcd) askVersion(ctx context.Context) (string, error) {
	dial := func(ctx context.Context, _, address string) (net.Conn, error) { return e.dial(ctx, address) }
	transport := &http.Transport{DisableKeepAlives: true, DialContext: dial}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://scratch-etcd/version", nil)
	if err != nil {
		return "", err
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return "", fmt.Errorf("ask for its version: %w", err)
	}
	defer resp.Body.Close()
	var answer struct {
		Server string `json:"etcdserver"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, 4<<10)).Decode(&answer); err != nil {
		return "", fmt.Errorf("ask for its version: %s: %w", resp.Status, err)
	}
	if answer.Server == "" {
		return "", fmt.Errorf("ask for its version: %s, and no version", resp.Status)
	}
	return answer.Server, nil
}

// progress is what a start was last seen to get done.
type progress struct {
	since  time.Time
	logged int64
	done   work
}

// work is what the kernel has counted of a process.
type work struct {
	loads int64 // page faults that waited for the disk: a store is read through mapped memory
	ticks int64 // of CPU time
}

func (p *progress) look(c *child) {
	logged, done := c.log.size(), workOf(c.process.Pid)
	if logged > p.logged || done.loads > p.done.loads || done.ticks-p.done.ticks >= minWork {
		*p = progress{time.Now(), logged, done}
	}
}

// workOf reads fields 12, 14 and 15 of proc_pid_stat(5); zero when the process is gone.
func workOf(pid int) work {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return work{}
	}
	// Field 2 is the name, in parentheses and with anything in it; field 3 is the first one after it.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) <= 15-3 {
		return work{}
	}
	number := func(field int) int64 {
		n, _ := strconv.ParseInt(fields[field-3], 10, 64)
		return n
	}
	return work{loads: number(12), ticks: number(14) + number(15)}
}
