package scratch

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc"
)

// Etcd is an etcd that serves restored data. Its methods are safe for concurrent use.
type Etcd struct {
	child    *child
	root     *os.File // the directory of its sockets
	conn     *grpc.ClientConn
	embedded bool
	version  string
	auth     bool

	stop sync.Once
	end  error
}

// Conn is the connection to it. When a call on it fails, Stop tells whether the etcd died, and how.
func (e *Etcd) Conn() *grpc.ClientConn { return e.conn }

// Version is what it says it is, such as "3.7.0".
func (e *Etcd) Version() string { return e.version }

// Embedded reports whether it is the server that drd carries, not an etcd program of the node.
func (e *Etcd) Embedded() bool { return e.embedded }

// AuthEnabled reports whether the store came up with authentication enabled: a read by nobody was refused. To read such a
// store stop the etcd, call DisableAuth, and start it again.
func (e *Etcd) AuthEnabled() bool { return e.auth }

// Notes are the protections that this machine did not grant, a printable line each.
func (e *Etcd) Notes() []string { return e.child.notes }

// Exited is closed when the etcd has ended, whoever ended it.
func (e *Etcd) Exited() <-chan struct{} { return e.child.exited }

// Err is nil while it runs and after a Stop that it obeyed; else how it ended: see Stop. It may be a moment behind a call
// that failed; Stop is not.
func (e *Etcd) Err() error {
	select {
	case <-e.child.exited:
		return e.child.verdict()
	default:
		return nil
	}
}

// Stop ends the etcd and waits for its end: SIGTERM, and SIGKILL when that has not helped within 10 seconds. The error
// says how it had ended before it was asked to; it wraps ErrKilled or ErrRefused. Later calls return the same.
func (e *Etcd) Stop() error {
	e.stop.Do(func() {
		e.child.ask(syscall.SIGTERM)
		select {
		case <-e.child.exited:
		case <-time.After(stopLimit):
		}
		e.kill()
		if err := e.child.verdict(); err != nil {
			e.end = fmt.Errorf("etcd on restored data: %w", err)
		}
	})
	return e.end
}

// kill ends the child, if it has not ended yet, and lets go of everything.
func (e *Etcd) kill() {
	e.child.ask(syscall.SIGKILL)
	<-e.child.exited
	if e.conn != nil {
		_ = e.conn.Close() // it reports only that it was closed before
	}
	if e.root != nil {
		_ = e.root.Close() // opened for its name alone
	}
}

// dial goes through the open directory: the path of a socket may have 107 bytes, and directories are longer.
func (e *Etcd) dial(ctx context.Context, _ string) (net.Conn, error) {
	select {
	case <-e.child.exited:
		return nil, errors.New("the etcd has ended")
	default:
	}
	var d net.Dialer
	return d.DialContext(ctx, "unix", fmt.Sprintf("/proc/self/fd/%d/%s", e.root.Fd(), clientSocket))
}
