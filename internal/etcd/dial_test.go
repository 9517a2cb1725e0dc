package etcd

import (
	"net"
	"testing"

	"google.golang.org/grpc/credentials/insecure"
)

// TestBrokenBeforeItIsRead: a connection that breaks when gRPC writes to it, before anything was read from it, is known as one that the
// server ended without a word.
func TestBrokenBeforeItIsRead(t *testing.T) {
	ours, theirs := net.Pipe()
	t.Cleanup(func() { _, _ = ours.Close(), theirs.Close() })
	last := &lastFailure{}
	conn, _, err := (&observed{TransportCredentials: insecure.NewCredentials(), last: last}).ClientHandshake(t.Context(), "", ours)
	if err != nil {
		t.Fatal(err)
	}
	if got := last.get(); !brokenOff(got) {
		t.Errorf("before anything was read: %v", got)
	}
	written := make(chan error, 1)
	go func() {
		_, err := theirs.Write([]byte{1})
		written <- err
	}()
	if _, err := conn.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if err := <-written; err != nil {
		t.Fatal(err)
	}
	if got := last.get(); got != nil {
		t.Errorf("when something was read: %v", got)
	}
}
