package etcd

import (
	"errors"
	"net"
	"syscall"
	"time"
)

const (
	// gatherFor is how long what comes in small pieces may lie in the kernel.
	gatherFor = 20 * time.Millisecond
	// gatherMost is how many bytes in gatherFor are no small pieces any more: 13 MB a second, far below what a member can tell.
	gatherMost = 256 << 10
)

// gathering is a connection that reads seldom and much instead of often and little. A watch of a busy cluster brings a message of a few
// hundred bytes several thousand times a second; to wake a process for each was measured to cost more than all that is done with them.
// The first bytes after a silence are read at once.
type gathering struct {
	net.Conn
	raw     syscall.RawConn
	since   time.Time // of the last wait, or of the end of the silence after it
	bytes   int       // that have come since then
	drained bool      // the kernel had no more
}

// newGathering takes conn over, and closes it when it fails.
func newGathering(conn net.Conn) (net.Conn, error) {
	with, ok := conn.(syscall.Conn)
	if !ok {
		return conn, nil
	}
	raw, err := with.SyscallConn()
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return &gathering{Conn: conn, raw: raw}, nil
}

// Read may be called by one goroutine at a time, as gRPC and TLS do.
func (g *gathering) Read(p []byte) (int, error) {
	if g.drained && g.bytes < gatherMost {
		if err := g.wait(); err != nil {
			return 0, err
		}
	}
	n, err := g.Conn.Read(p)
	now := time.Now()
	if now.Sub(g.since) > 2*gatherFor { // after a silence, or in the midst of much
		g.since, g.bytes, g.drained = now, n, false
		return n, err
	}
	g.bytes += n
	g.drained = n < len(p)
	return n, err
}

// wait lets bytes come. The kernel is asked not to tell of them: Go's poller is woken by every piece that arrives, whether somebody reads
// or not.
func (g *gathering) wait() error {
	asked := g.wakeAt(gatherMost) == nil // else there are more wake-ups than there need be, and that is all
	time.Sleep(gatherFor)
	g.since, g.bytes = time.Now(), 0
	if !asked {
		return nil
	}
	return g.wakeAt(1)
}

// wakeAt has the kernel tell of bytes only when there are so many.
func (g *gathering) wakeAt(bytes int) error {
	var refused error
	err := g.raw.Control(func(fd uintptr) {
		refused = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVLOWAT, bytes)
	})
	return errors.Join(err, refused)
}
