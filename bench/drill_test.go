//go:build bench

package bench

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"
	"testing"

	"github.com/drd-project/drd/test/servers"
)

// drilled is what `drd verify --json` tells of one drill.
type drilled struct {
	Outcome, Cause  string
	Seconds         float64
	RecoverySeconds float64 `json:"recovery_seconds"`
	ObjectBytes     int64   `json:"object_bytes"`
	DBSize          int64   `json:"db_size"`
	Checks          []struct {
		Name, Outcome string
		Seconds       float64
	}
}

// TestDrill measures drills of a database of more than 2 GiB, beside the same restore by hand up to an etcd that serves.
func TestDrill(t *testing.T) {
	puts, rounds := setting(t, "DRD_BENCH_PUTS", 600_000), setting(t, "DRD_BENCH_ROUNDS", 3)
	quota := []string{"--quota-backend-bytes", strconv.Itoa(8 << 30)}
	b := &bench{t: t, dir: workDir(t), etcd: servers.StartEtcd(t, servers.EtcdConfig{Args: quota})}
	b.store = servers.StartMinIO(t)
	b.store.CreateBucket(t, bucket, false)
	b.build()
	b.fill(puts)
	b.configure("")
	b.restartEtcd()
	r := &results{t: t, samples: map[string][]float64{}}
	id := b.snapshot(r)
	b.etcd.Stop() // a drill on a verifier host has no etcd beside it

	for round := range rounds {
		t.Logf("round %d of %d", round+1, rounds)
		b.byHand(r, id, quota)
		b.drill(r, id)
	}
	r.table()
	r.ratio("drill up to an answer / by hand up to an answer", "drill: etcd answers after", "by hand: etcd answers after")
}

// drill runs one and notes how long each check took.
func (b *bench) drill(r *results, id string) {
	var out struct {
		Results []struct{ Record struct{ Drills []drilled } }
	}
	memory := watch(b.drd, func() {
		b.timed(r, "drd verify", func() {
			stdout := b.run("drd verify", b.drd, "--config", b.path("config.yaml"), "verify", id, "--json", "--no-record")
			if err := json.Unmarshal(stdout, &out); err != nil {
				b.t.Fatal(err)
			}
		})
	})
	if len(out.Results) != 1 || len(out.Results[0].Record.Drills) != 1 || out.Results[0].Record.Drills[0].Outcome != "passed" {
		b.t.Fatalf("the drill did not pass: %+v", out)
	}
	d := out.Results[0].Record.Drills[0]
	r.add("drill: database GiB", float64(d.DBSize)/(1<<30))
	r.add("drill: object GiB", float64(d.ObjectBytes)/(1<<30))
	r.add("drill: anonymous MiB", memory)
	r.add("drill: etcd answers after", d.RecoverySeconds)
	rest := d.Seconds
	for _, c := range d.Checks {
		rest -= c.Seconds
		if c.Seconds >= 0.05 { // what takes less is in the rest
			r.add("drill: "+c.Name, c.Seconds)
		} else {
			rest += c.Seconds
		}
	}
	r.add("drill: the rest", rest)
}

// byHand restores the object that drd stored with age, zstd and etcdutl, and starts etcd on it.
func (b *bench) byHand(r *results, id string, quota []string) {
	sealed, plain, data := b.path("snapshot.db.zst.age"), b.path("snapshot.db"), b.path("byhand")
	download := b.timed(r, "download, age -d | zstd -d", func() {
		b.download(fmt.Sprintf("drd/%s/snapshots/%s/snapshot.db.zst.age", cluster, id), sealed)
		b.shell(fmt.Sprintf(`%s -d -i %s %s | %s -q -d -o %s`, servers.Tool(b.t, "age"), b.path("keys/identity.txt"), sealed, servers.Tool(b.t, "zstd"), plain))
	})
	restore := b.timed(r, "etcdutl snapshot restore", func() {
		b.run("etcdutl", servers.Tool(b.t, "etcdutl-3.7"), "snapshot", "restore", plain, "--data-dir", data)
	})
	var e *servers.Etcd
	boot := b.timed(r, "etcd starts and answers", func() {
		e = servers.StartEtcd(b.t, servers.EtcdConfig{DataDir: data, ExistingDataDir: true, Args: quota})
	})
	e.Stop()
	r.add("by hand: etcd answers after", download+restore+boot)
	for _, p := range []string{sealed, plain, data} {
		if err := os.RemoveAll(p); err != nil {
			b.t.Fatal(err)
		}
	}
}

// table writes the samples as RESULTS.md has them.
func (r *results) table() {
	fmt.Printf("\n| seconds, unless it says otherwise | median | least | most |\n|---|---|---|---|\n")
	for _, n := range r.names {
		fmt.Printf("| %s | %.2f | %.2f | %.2f |\n", n, r.median(n), slices.Min(r.samples[n]), slices.Max(r.samples[n]))
	}
}

func (r *results) ratio(what, a, b string) {
	fmt.Printf("| %s | %.2f |\n", what, r.median(a)/r.median(b))
}
