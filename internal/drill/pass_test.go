package drill_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/drd-project/drd/internal/drill"
	"github.com/drd-project/drd/internal/proof"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/scratch"
	"github.com/drd-project/drd/test/servers"
)

// wantPassed checks that every check of a drill passed, but for those that have a reason not to apply.
func wantPassed(t *testing.T, d proof.Drill, skipped ...string) {
	t.Helper()
	if d.Outcome != proof.Passed || d.Cause != "" {
		t.Fatalf("outcome %s: %s", d.Outcome, d.Cause)
	}
	for _, c := range d.Checks {
		want := proof.Passed
		if slices.Contains(skipped, c.Name) {
			want = proof.Skipped
		}
		if c.Outcome != want {
			t.Errorf("%s is %s (%s), want %s", c.Name, c.Outcome, c.Detail, want)
		}
	}
	if d.Seconds <= 0 || d.ManifestSHA256 == "" || d.ObjectBytes == 0 || d.DBSize == 0 || d.OpenedWith != "identity" {
		t.Errorf("not everything is recorded: %+v", d)
	}
}

// TestPasses drills real snapshots of every version, on the embedded server and on the version's own.
func TestPasses(t *testing.T) {
	for _, version := range []string{"3.4", "3.5", "3.6", "3.7"} {
		t.Run(version, func(t *testing.T) {
			s, p := ordinary(t, version), newPlace(t)
			_, id := p.publish(t, s, captureTime)
			for _, binary := range []string{"", servers.Tool(t, "etcd-"+version)} {
				if binary != "" {
					p.config.Etcd = scratch.Launcher{Binary: binary}
				}
				d := p.drill(t, id, proof.LevelDrill, nil, nil)
				wantPassed(t, d, drill.CheckChain, drill.CheckMembers, drill.CheckAuth)
				if got := at(d, drill.CheckEtcdHashKV).Found; got != fmt.Sprint(s.Live) {
					t.Errorf("the restored etcd answered hash %s, the live one %d", got, s.Live)
				}
				if d.RecoverySeconds <= 0 || d.RecoverySeconds > d.Seconds || (binary == "") != strings.Contains(d.Etcd, "embedded") {
					t.Errorf("recovery %v s of %v s, etcd %q", d.RecoverySeconds, d.Seconds, d.Etcd)
				}
			}
		})
	}
}

// TestDataLevel makes the checks that need no etcd, and no other.
func TestDataLevel(t *testing.T) {
	s, p := ordinary(t, "3.7"), newPlace(t)
	_, id := p.publish(t, s, captureTime)
	d := p.drill(t, id, proof.LevelData, nil, nil)
	wantPassed(t, d, drill.CheckChain, drill.CheckMembers)
	if at(d, drill.CheckBoot).Name != "" || d.Etcd != "" || d.RecoverySeconds != 0 || at(d, drill.CheckContents).Name == "" {
		t.Errorf("checks of a data proof: %+v", d.Checks)
	}
}

// TestContents drills stores that are unlike others.
func TestContents(t *testing.T) {
	skips := []string{drill.CheckChain, drill.CheckMembers, drill.CheckAuth}
	for name, tc := range map[string]struct {
		version string
		fill    func(context.Context, *clientv3.Client) error
		skipped []string
	}{
		"empty":        {"3.7", empty, append(slices.Clone(skips), drill.CheckSamples)},
		"large":        {"3.6", large, skips},
		"many":         {"3.7", many, skips},
		"full":         {"3.7", full, skips},
		"short-leases": {"3.5", shortLeases, skips},
		"auth":         {"3.7", withAuth, skips[:2]},
	} {
		t.Run(name, func(t *testing.T) {
			s, p := capture(t, tc.version, name, tc.fill), newPlace(t)
			if (name == "full") != (len(s.Facts.Alarms) > 0) || (name == "auth") != s.Facts.AuthEnabled || (name == "empty") != (s.Facts.Keys == 0) {
				t.Fatalf("the test's store is not what it should be: %+v", s.Facts)
			}
			_, id := p.publish(t, s, captureTime)
			wantPassed(t, p.drill(t, id, proof.LevelDrill, nil, nil), tc.skipped...)
		})
	}
}

// TestKubernetes: what a cluster lost is a warning, and no failure.
func TestKubernetes(t *testing.T) {
	s, p := capture(t, "3.6", "kubernetes", kubernetes), newPlace(t)
	_, id := p.publish(t, s, captureTime)
	d := p.drill(t, id, proof.LevelDrill, nil, nil)
	wantPassed(t, d, drill.CheckChain, drill.CheckMembers, drill.CheckAuth)
	if d.Kubernetes == nil || d.Kubernetes.Resources["pods"] != 30 {
		t.Fatalf("census %+v", d.Kubernetes)
	}
	wantWarnings(t, d, "kube-system is missing")

	before := &proof.Kubernetes{Resources: map[string]int64{"pods": 61, "secrets": 1, "deployments": 5, "namespaces": 3}}
	d = p.drill(t, id, proof.LevelData, before, nil)
	wantWarnings(t, d, "kube-system is missing", "30 pods are left of 61", "all 1 secrets are gone")

	s, p = ordinary(t, "3.7"), newPlace(t)
	_, id = p.publish(t, s, captureTime)
	wantWarnings(t, p.drill(t, id, proof.LevelData, &proof.Kubernetes{Resources: map[string]int64{"pods": 2}}, nil), "all 2 pods are gone")
}

func wantWarnings(t *testing.T, d proof.Drill, want ...string) {
	t.Helper()
	if len(d.Warnings) != len(want) {
		t.Errorf("warnings %q, want %q", d.Warnings, want)
		return
	}
	for i, text := range want {
		if !strings.Contains(d.Warnings[i], text) {
			t.Errorf("warning %q, want %q", d.Warnings[i], text)
		}
	}
}

// TestChain: the manifest that is named as the one before is looked for, and believed only where both can be true.
func TestChain(t *testing.T) {
	s, p := ordinary(t, "3.7"), newPlace(t)
	plain := plainOf(t, s)
	first, _ := p.publish(t, s, captureTime.Add(-2*time.Hour))
	between := p.backupOf(t, plain, s.Facts, captureTime.Add(-time.Hour))
	p.put(t, between)
	linked := func(at time.Time, previous string, change func(*repo.Manifest)) proof.Drill {
		b := p.backupOf(t, plain, s.Facts, at)
		b.manifest.Previous = previous
		if change != nil {
			change(b.manifest)
		}
		return p.drill(t, p.put(t, b), proof.LevelData, nil, nil)
	}
	d := linked(captureTime, between.digest, nil)
	if c := at(d, drill.CheckChain); c.Outcome != proof.Passed || c.Found != between.digest || len(d.Warnings) != 0 {
		t.Errorf("a good link: %+v, warnings %q", c, d.Warnings)
	}
	d = linked(captureTime.Add(time.Second), first.digest, nil)
	if c := at(d, drill.CheckChain); c.Outcome != proof.Passed {
		t.Errorf("a link past others: %+v", c)
	}
	wantWarnings(t, d, "2 snapshots of the member lie between")
	d = linked(captureTime.Add(2*time.Second), strings.Repeat("ab", 32), nil)
	if c := at(d, drill.CheckChain); c.Outcome != proof.Skipped || d.Outcome != proof.Passed {
		t.Errorf("a link to what is gone: %+v, %s", c, d.Outcome)
	}
	d = linked(captureTime.Add(3*time.Second), first.digest, func(m *repo.Manifest) { m.EtcdClusterID = "1" })
	if d.Outcome != proof.Failed || !strings.HasPrefix(d.Cause, "chain: it is of etcd cluster 1") {
		t.Errorf("a link between clusters: %s, %s", d.Outcome, d.Cause)
	}
}

// TestMembers: hashes of live members are compared with the same moment of our file.
func TestMembers(t *testing.T) {
	s := ordinary(t, "3.7")
	f := s.Facts
	good := drill.Triple{Member: "a", Revision: f.Revision, CompactRevision: f.CompactRevision, Hash: f.HashKV, Seen: captureTime}
	with := func(change func(*drill.Triple)) drill.Triple {
		c := good
		c.Member = "b"
		change(&c)
		return c
	}
	differs := with(func(c *drill.Triple) { c.Hash++ })
	third := with(func(c *drill.Triple) { c.Member = "c" })
	otherThird := with(func(c *drill.Triple) { c.Member, c.Hash = "c", c.Hash+2 })
	earlier := with(func(c *drill.Triple) {
		c.Revision -= 10
		c.CompactRevision += 20
		c.Hash = s.hashAt(t, c.Revision, c.CompactRevision)
	})
	for name, tc := range map[string]struct {
		triples  []drill.Triple
		want     proof.Outcome
		warnings int
	}{
		"agrees":                  {[]drill.Triple{good}, proof.Passed, 0},
		"differs":                 {[]drill.Triple{differs}, proof.Failed, 0},
		"agreed earlier":          {[]drill.Triple{earlier}, proof.Passed, 0},
		"differed earlier":        {[]drill.Triple{good, with(func(c *drill.Triple) { c.Revision -= 10 })}, proof.Passed, 1},
		"differed later":          {[]drill.Triple{differs, earlier}, proof.Failed, 0},
		"one agrees, one differs": {[]drill.Triple{good, differs}, proof.Passed, 1},
		"one agrees, two differ":  {[]drill.Triple{differs, good, otherThird}, proof.Passed, 1},
		"two differ":              {[]drill.Triple{differs, otherThird}, proof.Failed, 0},
		"two agree, one differs":  {[]drill.Triple{good, differs, third}, proof.Passed, 1},
		"of another cluster":      {[]drill.Triple{with(func(c *drill.Triple) { c.Hash++; c.EtcdClusterID = "1" })}, proof.Skipped, 0},
		"of another history":      {[]drill.Triple{with(func(c *drill.Triple) { c.Hash++; c.Since = captureTime.Add(time.Second) })}, proof.Skipped, 0},
		"of this history":         {[]drill.Triple{with(func(c *drill.Triple) { c.Hash++; c.Since = captureTime })}, proof.Failed, 0},
		"of another day":          {[]drill.Triple{with(func(c *drill.Triple) { c.Hash++; c.Seen = captureTime.Add(24 * time.Hour) })}, proof.Skipped, 0},
		"of what is compacted":    {[]drill.Triple{with(func(c *drill.Triple) { c.Hash++; c.CompactRevision-- })}, proof.Skipped, 0},
		"of what was not yet":     {[]drill.Triple{with(func(c *drill.Triple) { c.Hash++; c.Revision++ })}, proof.Skipped, 0},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			p.config.Triples = func(revision, compact int64) []drill.Triple {
				if revision != f.Revision || compact != f.CompactRevision {
					t.Errorf("asked for %d, %d", revision, compact)
				}
				return tc.triples
			}
			_, id := p.publish(t, s, captureTime)
			d := p.drill(t, id, proof.LevelData, nil, nil)
			if c := at(d, drill.CheckMembers); c.Outcome != tc.want || len(d.Warnings) != tc.warnings {
				t.Errorf("%+v, warnings %q", c, d.Warnings)
			}
		})
	}
}

// TestMembersOfNothing: two healthy members give different hashes of an empty key space while a compaction is half done.
func TestMembersOfNothing(t *testing.T) {
	s, p := capture(t, "3.7", "empty", empty), newPlace(t)
	p.config.Triples = func(revision, compact int64) []drill.Triple {
		return []drill.Triple{{Member: "a", Revision: revision, CompactRevision: compact, Hash: s.Facts.HashKV + 1, Seen: captureTime}}
	}
	_, id := p.publish(t, s, captureTime)
	d := p.drill(t, id, proof.LevelData, nil, nil)
	if c := at(d, drill.CheckMembers); c.Outcome != proof.Skipped || d.Outcome != proof.Passed {
		t.Errorf("%+v, %s", c, d.Outcome)
	}
}

// TestPendingCompaction: a compaction that was under way when the snapshot was taken goes on in the restored etcd.
func TestPendingCompaction(t *testing.T) {
	src := ordinary(t, "3.7")
	for name, behind := range map[string]int64{"before the last revision": 10, "of the last revision": 0} {
		t.Run(name, func(t *testing.T) {
			s := &scene{place: newPlace(t), source: src, plain: plainOf(t, src)}
			s.backup = s.backupOf(t, s.plain, src.Facts, captureTime)
			plain := s.rewritten(t, func(tx *bolt.Tx) error {
				position := binary.BigEndian.AppendUint64(nil, uint64(src.Facts.Revision-behind))
				position = binary.BigEndian.AppendUint64(append(position, '_'), 0)
				return tx.Bucket([]byte("meta")).Put([]byte("scheduledCompactRev"), position)
			})
			file := filepath.Join(t.TempDir(), "pending.db")
			if err := os.WriteFile(file, plain, 0o600); err != nil {
				t.Fatal(err)
			}
			facts, err := inspector(t).Inspect(t.Context(), file, nil)
			if err != nil {
				t.Fatal(err)
			}
			if facts.CompactRevision != facts.Revision-behind {
				t.Fatalf("the test's store is compacted at %d of %d", facts.CompactRevision, facts.Revision)
			}
			b := s.backupOf(t, plain, facts, captureTime)
			d := s.drill(t, s.put(t, b), proof.LevelDrill, nil, nil)
			wantPassed(t, d, drill.CheckChain, drill.CheckMembers, drill.CheckAuth)
		})
	}
}
