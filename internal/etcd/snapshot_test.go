package etcd_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/drd-project/drd/internal/etcd"
	"github.com/drd-project/drd/test/servers"
)

// allVersions are the servers that drd promises to back up.
var allVersions = []string{"3.4", "3.5", "3.6", "3.7"}

// fill writes n keys of size bytes each, and compacts and deletes a little so that the store has all
// kinds of records.
func fill(tb testing.TB, member *servers.Etcd, n, size int) {
	tb.Helper()
	kv := member.Client(tb)
	value := strings.Repeat("v", size)
	for i := range n {
		if _, err := kv.Put(tb.Context(), fmt.Sprintf("/key/%06d", i), value); err != nil {
			tb.Fatal(err)
		}
	}
	if _, err := kv.Delete(tb.Context(), "/key/000000"); err != nil {
		tb.Fatal(err)
	}
}

// read takes the stream to its end. It checks on the way what the contract says of each chunk.
func read(tb testing.TB, s etcd.Stream, w io.Writer) (last etcd.Chunk, total uint64) {
	tb.Helper()
	for first := true; ; first = false {
		chunk, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return last, total
		}
		if err != nil {
			tb.Fatalf("after %d bytes: %v", total, err)
		}
		if !first && chunk.Remaining+uint64(len(chunk.Blob)) != last.Remaining && last.Remaining != 0 {
			tb.Fatalf("%d bytes remained, then %d came and %d remain", last.Remaining, len(chunk.Blob), chunk.Remaining)
		}
		if _, err := w.Write(chunk.Blob); err != nil {
			tb.Fatal(err)
		}
		total += uint64(len(chunk.Blob))
		last = chunk
		last.Blob = bytes.Clone(chunk.Blob)
	}
}

// TestSnapshotIsTheFileOfEtcdctl reads a snapshot to a file, which must carry its own hash and be
// accepted by etcd's tools.
func TestSnapshotIsTheFileOfEtcdctl(t *testing.T) {
	for _, version := range allVersions {
		t.Run(version, func(t *testing.T) {
			member := servers.StartEtcd(t, servers.EtcdConfig{Version: version, ClientTLS: servers.NewCA(t)})
			fill(t, member, 300, 10<<10)
			c := connect(t, configOf(member))
			var status etcd.Status
			until(t, "a status with the version of the data", func() bool { // which a new member writes down after it has begun to serve
				var err error
				if status, err = c.Status(t.Context()); err != nil {
					t.Fatal(err)
				}
				return version < "3.6" || status.StorageVersion != ""
			})
			stream, err := c.SnapshotStream(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			var file bytes.Buffer
			last, _ := read(t, stream, &file)

			data, trailer := file.Bytes()[:file.Len()-sha256.Size], file.Bytes()[file.Len()-sha256.Size:]
			if sum := sha256.Sum256(data); !bytes.Equal(sum[:], trailer) || !bytes.Equal(last.Blob, trailer) {
				t.Errorf("the last blob %x is not the hash %x of what came before", last.Blob, sum)
			}
			if last.StorageVersion != status.StorageVersion {
				t.Errorf("storage version %q in the stream, %q in the status", last.StorageVersion, status.StorageVersion)
			}
			if got := etcdutlStatus(t, file.Bytes()); got.Revision != status.Revision || got.Version != status.StorageVersion {
				t.Errorf("etcdutl says %+v, the member was at revision %d, version %q", got, status.Revision, status.StorageVersion)
			}
		})
	}
}

type fileStatus struct {
	Revision int64  `json:"revision"`
	Version  string `json:"version"`
}

func etcdutlStatus(t *testing.T, snapshot []byte) fileStatus {
	t.Helper()
	path := filepath.Join(t.TempDir(), "snapshot.db")
	if err := os.WriteFile(path, snapshot, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), servers.Tool(t, "etcdutl-3.7"), "snapshot", "status", path, "-w", "json").Output()
	if err != nil {
		t.Fatalf("etcdutl snapshot status: %v", err)
	}
	var status fileStatus
	if err := json.Unmarshal(out, &status); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	return status
}

// A stream that is given up must end at once, and leave the client as it was.
func TestSnapshotIsGivenUpByItsContext(t *testing.T) {
	member := servers.StartEtcd(t, servers.EtcdConfig{})
	fill(t, member, 100, 500<<10) // more than the windows of a stream hold
	c := connect(t, configOf(member))
	ctx, cancel := context.WithCancel(t.Context())
	stream, err := c.SnapshotStream(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	cancel()
	for range 1000 { // what had arrived already may still come
		if _, err = stream.Recv(); err != nil {
			break
		}
	}
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
	if _, err := c.Status(t.Context()); err != nil {
		t.Errorf("the client is of no use afterwards: %v", err)
	}
}

// A member that dies in the middle must give an error, not an end.
func TestSnapshotOfADyingMember(t *testing.T) {
	member := servers.StartEtcd(t, servers.EtcdConfig{})
	fill(t, member, 100, 500<<10)
	c := connect(t, configOf(member))
	stream, err := c.SnapshotStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	member.Kill()
	for range 10000 {
		if _, err = stream.Recv(); err != nil {
			break
		}
	}
	if !errors.Is(err, etcd.ErrUnreachable) {
		t.Errorf("got %v, want ErrUnreachable", err)
	}
}

// BenchmarkSnapshotStream reads a database of some 300 MB and throws it away. What it costs drd
// itself is in the metric cpu-s/GB; etcd's part is not in it.
func BenchmarkSnapshotStream(b *testing.B) {
	for _, mode := range []struct {
		name string
		ca   *servers.CA
	}{{"plain", nil}, {"tls", servers.NewCA(b)}} {
		b.Run(mode.name, func(b *testing.B) {
			member := servers.StartEtcd(b, servers.EtcdConfig{ClientTLS: mode.ca})
			fillFast(b, member, 300<<20)
			c := connect(b, configOf(member))
			var total uint64
			before := cpuTime(b)
			for b.Loop() {
				stream, err := c.SnapshotStream(b.Context())
				if err != nil {
					b.Fatal(err)
				}
				total += discard(b, stream)
			}
			b.SetBytes(int64(total) / int64(b.N))
			b.ReportMetric((cpuTime(b)-before).Seconds()/(float64(total)/1e9), "cpu-s/GB")
		})
	}
}

func discard(b *testing.B, s etcd.Stream) (total uint64) {
	b.Helper()
	for {
		chunk, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return total
		}
		if err != nil {
			b.Fatal(err)
		}
		total += uint64(len(chunk.Blob))
	}
}

// fillFast writes about size bytes in the largest values etcd takes by default.
func fillFast(b *testing.B, member *servers.Etcd, size int) {
	b.Helper()
	kv := member.Client(b)
	value := strings.Repeat("0123456789abcdef", 1<<20/16)
	for i := range size / len(value) {
		if _, err := kv.Put(b.Context(), fmt.Sprintf("/key/%06d", i), value); err != nil {
			b.Fatal(err)
		}
	}
}

// cpuTime is what this process has used, user and system.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
