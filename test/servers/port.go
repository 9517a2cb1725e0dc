package servers

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strconv"
	"testing"
)

// Ports are drawn from below 32768, where Linux starts handing out source ports to outgoing connections: a server
// that is stopped for a while would lose its port to one of those.
const (
	firstPort = 20000
	lastPort  = 32767
)

// FreePort returns a port on 127.0.0.1 that nothing listens on, and that no other test gets before this one has ended, in whatever
// process: a server may be started on it much later, and again. A program that is no test's can take it all the same; the servers of
// this package try again with another one when that happens.
func FreePort(tb testing.TB) int {
	tb.Helper()
	return freePorts(tb, 1)[0]
}

// freePorts returns n different free ports.
func freePorts(tb testing.TB, n int) []int {
	tb.Helper()
	const tries = 1000 // a machine with so many of these ports taken has other trouble
	var ports []int
	for range tries {
		port := firstPort + rand.IntN(lastPort-firstPort+1)
		claim, err := claim(port)
		if err != nil {
			continue
		}
		tb.Cleanup(func() { _ = claim.Close() })
		if ports = append(ports, port); len(ports) == n {
			return ports
		}
	}
	tb.Fatalf("found %d free ports of %d between %d and %d", len(ports), n, firstPort, lastPort)
	return nil
}

// claim takes a free port for who holds the result. What keeps the other tests from it is a socket with the name of the port, which is in no
// file system, and which the kernel closes with the process at the latest.
func claim(port int) (io.Closer, error) {
	name, err := net.Listen("unix", fmt.Sprintf("@drd-test-port-%d", port))
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", address(port))
	if err != nil {
		_ = name.Close() // the port is what matters
		return nil, err
	}
	return name, l.Close()
}

func address(port int) string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
}
