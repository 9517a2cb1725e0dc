package etcd

import (
	"io"
	"net"
	"path/filepath"
	"testing"
	"time"
)

// connected are the ends of a connection; what is read from the second one gathers.
func connected(t *testing.T, network, address string) (from, to net.Conn) {
	t.Helper()
	listener, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	ep := endpoint{network: network, address: listener.Addr().String()}
	if to, err = connectGathering(t.Context(), ep); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { to.Close() })
	if from, err = listener.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { from.Close() })
	if err := to.SetDeadline(time.Now().Add(time.Minute)); err != nil { // else one that is not woken would wait for ever
		t.Fatal(err)
	}
	return from, to
}

func networks(t *testing.T) map[string]string {
	return map[string]string{"tcp": "127.0.0.1:0", "unix": filepath.Join(t.TempDir(), "socket")}
}

// TestGatheringWakes: after a wait, one byte wakes the reader, and so does the end.
func TestGatheringWakes(t *testing.T) {
	for network, address := range networks(t) {
		t.Run(network, func(t *testing.T) {
			from, to := connected(t, network, address)
			buf := make([]byte, 64)
			for i := range 5 {
				if _, err := from.Write([]byte{byte(i)}); err != nil {
					t.Fatal(err)
				}
				if n, err := to.Read(buf); err != nil || n != 1 || buf[0] != byte(i) {
					t.Fatalf("read %d bytes, the first %d, %v; want byte %d", n, buf[0], err, i)
				}
			}
			late := time.AfterFunc(5*gatherFor, func() { from.Write([]byte{7}) }) // the reader has waited by then, and found nothing
			defer late.Stop()
			if n, err := to.Read(buf); err != nil || n != 1 || buf[0] != 7 {
				t.Fatalf("read %d bytes, %v; want one", n, err)
			}
			from.Close()
			if _, err := to.Read(buf); err != io.EOF { //nolint:errorlint // net.Conn's own
				t.Fatalf("at the end: %v", err)
			}
		})
	}
}

// TestGatheringReadsTogether: what comes in two pieces right after another one is read at once. Where the machine was too busy to send
// both while the reader waits, they are sent again.
func TestGatheringReadsTogether(t *testing.T) {
	for network, address := range networks(t) {
		t.Run(network, func(t *testing.T) {
			from, to := connected(t, network, address)
			gathers, ok := to.(*gathering)
			if !ok {
				t.Fatalf("a connection of type %T", to)
			}
			piece, buf := make([]byte, 100), make([]byte, 64<<10)
			const tries = 20
			together := 0
			end := time.Now().Add(time.Minute)
			for inTime := 0; inTime < tries; {
				for first := true; first || !gathers.drained; first = false { // after a silence the first one is read at once, and the second one tells that there are more
					if time.Now().After(end) {
						t.Fatalf("sent in time %d times of %d, drained %t", inTime, tries, gathers.drained)
					}
					from.Write(piece)
					if _, err := to.Read(buf); err != nil {
						t.Fatal(err)
					}
				}
				begun := time.Now()
				read := make(chan int, 1)
				go func() {
					n, _ := to.Read(buf)
					read <- n
				}()
				from.Write(piece)
				time.Sleep(gatherFor / 4)
				from.Write(piece)
				late := time.Since(begun) >= gatherFor // the reader may have waited long enough before
				n := <-read
				if !late {
					inTime++
				}
				if n == 2*len(piece) {
					if !late {
						together++
					}
					continue
				}
				if _, err := io.ReadFull(to, buf[:2*len(piece)-n]); err != nil {
					t.Fatal(err)
				}
			}
			if together < tries/2 {
				t.Errorf("%d times of %d what came together was read at once", together, tries)
			}
		})
	}
}
