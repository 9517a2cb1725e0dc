package demo

import (
	"net"
	"strconv"
	"testing"
)

// TestFreeAddress: the port is none that Linux would give to a connection that goes out.
func TestFreeAddress(t *testing.T) {
	for range 20 {
		address, err := freeAddress()
		if err != nil {
			t.Fatal(err)
		}
		_, port, err := net.SplitHostPort(address)
		if n, convErr := strconv.Atoi(port); err != nil || convErr != nil || n >= 32768 {
			t.Errorf("%s: %v, %v", address, err, convErr)
		}
	}
}
