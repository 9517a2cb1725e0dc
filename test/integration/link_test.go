package integration

import (
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/drd-project/drd/test/servers"
)

// link is a way to a member that carries so many bytes of what the member sends, and then nothing until it is opened: a capture that goes
// through it stalls, however fast the machine is.
type link struct {
	member   string       // host:port
	listener net.Listener // where drd finds it
	open     func()       // lets it carry on, for good
	opened   chan struct{}
	full     chan struct{} // closed when it has stopped

	mu    sync.Mutex
	left  int64 // bytes that it will carry before it stops
	conns []net.Conn
}

// newLink makes one to a member without TLS. It goes with the test.
func newLink(t *testing.T, e *servers.Etcd, limit int64) *link {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &link{
		member: strings.TrimPrefix(e.Endpoint(), "http://"), listener: listener,
		opened: make(chan struct{}), full: make(chan struct{}), left: limit,
	}
	l.open = sync.OnceFunc(func() { close(l.opened) })
	var serving sync.WaitGroup
	serving.Go(func() { l.serve(&serving) })
	t.Cleanup(func() {
		_ = listener.Close() // it was only read from
		l.open()
		l.hangUp()
		serving.Wait()
	})
	return l
}

// section is that of the configuration for a member at the other end.
func (l *link) section() string {
	return fmt.Sprintf("endpoints: [%q]", "http://"+l.listener.Addr().String())
}

// serve ends with the listener.
func (l *link) serve(serving *sync.WaitGroup) {
	for {
		near, err := l.listener.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", l.member)
		if err != nil { // as if nobody listened here
			_ = near.Close()
			continue
		}
		l.mu.Lock()
		l.conns = append(l.conns, near, far)
		l.mu.Unlock()
		serving.Go(func() { l.carry(far, near) })
		serving.Go(func() { l.carry(near, counted{far, l}) })
	}
}

// carry copies until one end is closed, and closes the other.
func (l *link) carry(to io.WriteCloser, from io.ReadCloser) {
	_, _ = io.Copy(to, from) // how a connection ends is for its two ends to say
	_, _ = to.Close(), from.Close()
}

func (l *link) hangUp() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.conns {
		_ = c.Close() // it may be closed already
	}
}

// counted is the member's end of a connection.
type counted struct {
	net.Conn
	l *link
}

// Read implements io.Reader. What was read when the limit is reached waits for the link to be opened.
func (c counted) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if c.l.exhausted(int64(n)) {
		<-c.l.opened
	}
	return n, err
}

func (l *link) exhausted(n int64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	before := l.left
	l.left -= n
	if before > 0 && l.left <= 0 {
		close(l.full)
	}
	return l.left <= 0
}
