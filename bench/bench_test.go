//go:build bench

// Package bench compares drd with what people do by hand: etcdctl, zstd, age and an S3 upload, and the
// reverse. Both do their work in one run, in turns, on the same machine, store and database, so that the ratios mean
// something even where the seconds do not. Of the archive, which nobody keeps by hand, it tells what it costs the cluster and
// the node, and how far behind it is. RESULTS.md keeps what was found; `make bench` repeats it.
package bench

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"golang.org/x/sync/errgroup"

	"github.com/drd-project/drd/test/servers"
)

const (
	valueSize = 2 << 10
	opaque    = 840 // bytes of each value that do not compress: tokens, certificates, UIDs. The whole compresses about 4 to 1.
	cluster   = "bench"
	bucket    = "bench"
)

// setting reads a number from the environment, so that a small run is possible.
func setting(t *testing.T, name string, usual int) int {
	s := os.Getenv(name)
	if s == "" {
		return usual
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// bench is one comparison: a filled etcd, a store, and a configured drd.
type bench struct {
	t     *testing.T
	etcd  *servers.Etcd
	store *servers.MinIO
	dir   string
	drd   string

	metrics        string     // URL of a daemon's
	s3             *s3.Client // made when it is first needed
	replayed, base int64      // changes, and the revision of the snapshot that they followed, in the newest replay
}

func TestCompareWithTheTools(t *testing.T) {
	puts, rounds := setting(t, "DRD_BENCH_PUTS", 350_000), setting(t, "DRD_BENCH_ROUNDS", 5)
	// GODEBUG=cpu.sha=off makes every Go program here do without the processor's SHA instructions, which many servers lack.
	debug := "GODEBUG=" + os.Getenv("GODEBUG")
	b := &bench{t: t, dir: workDir(t), etcd: servers.StartEtcd(t, servers.EtcdConfig{Env: []string{debug}, Args: []string{"--quota-backend-bytes", strconv.Itoa(8 << 30)}})}
	b.store = servers.StartMinIO(t, servers.WithEnv(debug))
	b.store.CreateBucket(t, bucket, false)
	b.build()
	b.fill(puts)
	b.configure("")
	b.restartEtcd()

	r := &results{t: t, samples: map[string][]float64{}}
	for round := range rounds {
		t.Logf("round %d of %d", round+1, rounds)
		b.round(r, round)
	}
	r.report(b)
}

// workDir is on a disk, as production is; TMPDIR chooses which.
func workDir(t *testing.T) string {
	dir, err := os.MkdirTemp("", "drd-bench-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func (b *bench) build() {
	b.drd = filepath.Join(b.dir, "drd")
	args := append([]string{"build", "-trimpath", "-o", b.drd}, strings.Fields(os.Getenv("DRD_BENCH_BUILD"))...)
	cmd := exec.Command("go", append(args, "../cmd/drd")...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		b.t.Fatalf("build drd: %v\n%s", err, out)
	}
}

// fill writes puts values of 2 KiB over six sevenths as many keys. The values look like Kubernetes objects: field names that
// repeat, and secrets that do not.
func (b *bench) fill(puts int) {
	begin := time.Now()
	client := b.etcd.Client(b.t)
	var g errgroup.Group
	const writers = 32
	for w := range writers {
		g.Go(func() error {
			random := rand.New(rand.NewPCG(1, uint64(w)))
			for i := w; i < puts; i += writers {
				if _, err := client.Put(context.Background(), keyOf(i%(puts*6/7)), object(random, valueSize, opaque)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		b.t.Fatal(err)
	}
	b.t.Logf("%d puts in %s", puts, time.Since(begin).Round(time.Second))
}

func keyOf(i int) string { return fmt.Sprintf("/registry/pods/namespace-%d/pod-%d", i%50, i) }

// object is a value of so many bytes, of which about opaque do not compress.
func object(random *rand.Rand, size, opaque int) string {
	var s strings.Builder
	fmt.Fprintf(&s, `{"apiVersion":"v1","kind":"Secret","metadata":{"uid":"%016x%016x","resourceVersion":"%d"},"data":{"token":"`, random.Uint64(), random.Uint64(), random.Uint32())
	for range opaque / 8 {
		s.WriteString(base64.RawStdEncoding.EncodeToString(binary.LittleEndian.AppendUint64(nil, random.Uint64())))
	}
	s.WriteString(`"},`)
	for i := 0; s.Len() < size; i++ {
		fmt.Fprintf(&s, `"f:field-%d":{".":{},"f:name":{},"f:value":"%d","f:terminationMessagePath":{},"f:terminationMessagePolicy":{}},`, i, random.Uint32N(1000))
	}
	return s.String()[:size]
}

// restartEtcd starts every run from the same state: a database that was read in, not one that was just written.
func (b *bench) restartEtcd() {
	b.etcd.Stop()
	b.etcd.Start()
}

// configure writes drd's configuration; more follows the list of targets, and may begin with another one.
func (b *bench) configure(more string) {
	b.run("drd keygen", b.drd, "keygen", "--dir", b.path("keys"), "--name", "bench")
	config := fmt.Sprintf(`cluster: %s
etcd: {endpoints: ["%s"]}
state_dir: %s
runtime_dir: %s
seal: {recipients_file: %s}
signing: {key_file: %s}
targets:
  - name: store
    s3: {bucket: %s, prefix: drd, endpoint: "%s", ca_file: "%s", credentials_file: "%s", path_style: true}
`, cluster, b.etcd.Endpoint(), b.path("state"), b.path("run"), b.path("keys/recipient.txt"), b.path("keys/signing.key"),
		bucket, b.store.Endpoint, b.store.CAFile, b.store.CredentialsFile) + more
	if err := os.WriteFile(b.path("config.yaml"), []byte(config), 0o600); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) path(name string) string { return filepath.Join(b.dir, name) }

// round runs every contestant once.
func (b *bench) round(r *results, n int) {
	plain, sealed := b.path("snapshot.db"), b.path("snapshot.db.zst.age")
	key := fmt.Sprintf("byhand/%d", n)
	save := b.timed(r, "etcdctl snapshot save", func() {
		b.run("etcdctl", servers.Tool(b.t, "etcdctl-3.7"), "--endpoints", b.etcd.Endpoint(), "snapshot", "save", plain)
	})
	upload := b.timed(r, "zstd -1 | age, upload", func() {
		b.shell(fmt.Sprintf(`%s -q -1 -c %s | %s -R %s -o %s`, servers.Tool(b.t, "zstd"), plain, servers.Tool(b.t, "age"), b.path("keys/recipient.txt"), sealed))
		b.upload(sealed, key)
	})
	r.add("by hand: snapshot", save+upload)
	os.Remove(plain)
	os.Remove(sealed)

	id := b.snapshot(r)

	download := b.timed(r, "download, age -d | zstd -d", func() {
		b.download(key, sealed)
		b.shell(fmt.Sprintf(`%s -d -i %s %s | %s -q -d -o %s`, servers.Tool(b.t, "age"), b.path("keys/identity.txt"), sealed, servers.Tool(b.t, "zstd"), plain))
	})
	restore := b.timed(r, "etcdutl snapshot restore", func() {
		b.run("etcdutl", servers.Tool(b.t, "etcdutl-3.7"), "snapshot", "restore", plain, "--data-dir", b.path("byhand"))
	})
	r.add("by hand: restore", download+restore)
	for _, p := range []string{plain, sealed, b.path("byhand")} {
		os.RemoveAll(p)
	}
	b.restore(r, id)
}

// snapshot runs drd snapshot and returns the snapshot's ID.
func (b *bench) snapshot(r *results) string {
	var out struct {
		Snapshot struct{ ID string }
		Targets  []struct {
			Commit float64 `json:"commit_seconds"`
			Proved float64 `json:"proved_seconds"`
		}
	}
	memory := watch(b.drd, func() {
		b.timed(r, "drd snapshot", func() {
			stdout := b.run("drd snapshot", b.drd, "--config", b.path("config.yaml"), "snapshot", "--json")
			if err := json.Unmarshal(stdout, &out); err != nil {
				b.t.Fatal(err)
			}
		})
	})
	r.add("drd snapshot: committed", out.Targets[0].Commit)
	r.add("drd snapshot: read back", out.Targets[0].Proved)
	r.add("drd snapshot: anonymous MiB", memory)
	return out.Snapshot.ID
}

func (b *bench) restore(r *results, id string) {
	memory := watch(b.drd, func() {
		b.timed(r, "drd restore", func() {
			b.run("drd restore", b.drd, "--config", b.path("config.yaml"), "restore", "--id", id, "--identity", b.path("keys/identity.txt"),
				"--data-dir", b.path("bydrd"), "--bump-revision", "0", "--yes")
		})
	})
	r.add("drd restore: anonymous MiB", memory)
	os.RemoveAll(b.path("bydrd"))
}

// run runs one program and returns its standard output.
func (b *bench) run(what, name string, args ...string) []byte {
	var stderr strings.Builder
	cmd := exec.Command(name, args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		b.t.Fatalf("%s: %v\n%s", what, err, stderr.String())
	}
	return out
}

func (b *bench) shell(script string) {
	b.run(script, "bash", "-o", "pipefail", "-c", script)
}

// timed runs one contestant. What others left for the kernel to write or to give back to the disk is waited for first:
// nobody shall pay for the one before.
func (b *bench) timed(r *results, name string, f func()) float64 {
	syscall.Sync()
	time.Sleep(time.Second)
	begin := time.Now()
	f()
	took := time.Since(begin).Seconds()
	r.add(name, took)
	return took
}

// watch runs f and returns the peak of the anonymous memory, in MiB, of all processes of a program together, its children
// of the same program among them: file pages that the kernel may drop at any time do not count.
func watch(program string, f func()) float64 {
	done := make(chan struct{})
	var peak int64
	var wg sync.WaitGroup
	wg.Go(func() {
		// Seldom enough to cost the contestants nothing: a look at every process of the machine takes milliseconds.
		for tick := time.NewTicker(250 * time.Millisecond); ; {
			select {
			case <-done:
				tick.Stop()
				return
			case <-tick.C:
				peak = max(peak, anonymous(program))
			}
		}
	})
	f()
	close(done)
	wg.Wait()
	return float64(peak) / 1024
}

// anonymous sums RssAnon, in KiB, of all processes of a program.
func anonymous(program string) int64 {
	var sum int64
	for _, status := range ofProcesses(program, "status") {
		for line := range strings.Lines(status) {
			if value, ok := strings.CutPrefix(line, "RssAnon:"); ok {
				n, _ := strconv.ParseInt(strings.Fields(value)[0], 10, 64)
				sum += n
			}
		}
	}
	return sum
}

// ofProcesses reads a file below /proc of all processes that run the program at this path, by whatever name: a child that was
// started as /proc/self/exe is called "exe".
func ofProcesses(program, file string) []string {
	links, _ := filepath.Glob("/proc/[0-9]*/exe")
	var found []string
	for _, link := range links {
		if path, err := os.Readlink(link); err != nil || path != program {
			continue
		}
		if b, err := os.ReadFile(filepath.Join(filepath.Dir(link), file)); err == nil { // else it has ended
			found = append(found, string(b))
		}
	}
	return found
}

// results are the samples of every contestant, in the order in which they first appear.
type results struct {
	t       *testing.T
	names   []string
	samples map[string][]float64
}

func (r *results) add(name string, v float64) {
	if r.samples[name] == nil {
		r.names = append(r.names, name)
	}
	r.samples[name] = append(r.samples[name], v)
	r.t.Logf("%-32s %8.2f", name, v)
}

func (r *results) median(name string) float64 {
	s := slices.Sorted(slices.Values(r.samples[name]))
	if len(s)%2 == 1 {
		return s[len(s)/2]
	}
	return (s[len(s)/2-1] + s[len(s)/2]) / 2
}

func (r *results) report(b *bench) {
	r.table()
	fmt.Printf("\n| ratio of medians | |\n|---|---|\n")
	r.ratio("drd committed / etcdctl snapshot save alone", "drd snapshot: committed", "etcdctl snapshot save")
	r.ratio("drd read back / by hand", "drd snapshot: read back", "by hand: snapshot")
	r.ratio("drd snapshot, whole command / by hand", "drd snapshot", "by hand: snapshot")
	r.ratio("by hand / drd restore", "by hand: restore", "drd restore")
}
