package servers

import (
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

// FreePort returns a port on 127.0.0.1 that nothing listens on. Another program can take it before it is used;
// the servers of this package try again with another one when that happens.
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
		// Every listener stays open until all ports are found, so that they differ.
		l, err := net.Listen("tcp", address(port))
		if err != nil {
			continue
		}
		defer l.Close()
		if ports = append(ports, port); len(ports) == n {
			return ports
		}
	}
	tb.Fatalf("found %d free ports of %d between %d and %d", len(ports), n, firstPort, lastPort)
	return nil
}

func address(port int) string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
}
