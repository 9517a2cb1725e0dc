package restore_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"iter"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"

	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/restore"
	"github.com/drd-project/drd/internal/seal"
	"github.com/drd-project/drd/internal/snapshot"
	"github.com/drd-project/drd/internal/storage"
)

var update = flag.Bool("update", false, "write the golden files")

// fakeFacts are those of a snapshot that exists on paper only: a plan reads no payload.
func fakeFacts(revision int64) snapshot.Facts {
	return snapshot.Facts{
		Revision: revision, CompactRevision: revision / 2, Keys: 12_345, Revisions: 23_456,
		DBSize: 1 << 20, HashKV: 1234567890, StorageVersion: "3.6.0", Leases: 3,
	}
}

// announce publishes a snapshot of which only the sizes matter.
func announce(tb testing.TB, k *keys, revision int64, at time.Time, change func(*repo.Manifest), targets ...*target) *repo.Manifest {
	tb.Helper()
	return announceFacts(tb, k, fakeFacts(revision), at, change, targets...)
}

func announceFacts(tb testing.TB, k *keys, f snapshot.Facts, at time.Time, change func(*repo.Manifest), targets ...*target) *repo.Manifest {
	tb.Helper()
	file := filepath.Join(tb.TempDir(), "paper.db")
	if err := os.WriteFile(file, bytes.Repeat([]byte("paper..."), 1<<17+4), 0o600); err != nil {
		tb.Fatal(err)
	}
	return publish(tb, k, file, f, at, change, targets...)
}

func sources(targets ...*target) []restore.Source {
	var all []restore.Source
	for i, t := range targets {
		all = append(all, t.source([]string{"primary", "nas", "third"}[i]))
	}
	return all
}

// TestGolden: what people and programs read of a plan.
func TestGolden(t *testing.T) {
	k, primary, nas := newKeys(t), newTarget(t), newTarget(t)
	announce(t, k, 40_000, captureTime.Add(-6*time.Hour), nil, primary, nas)
	announce(t, k, 48_211, captureTime, func(m *repo.Manifest) {
		m.Alarms = []string{"NOSPACE on member 8e9e05c52164694d", "CORRUPT on member 91bc3c398fb3c146"}
		m.AuthEnabled = true
		m.Compared = []repo.Comparison{{Member: "91bc3c398fb3c146", Hash: 1, Revision: 48_211, CompactRevision: 24_105, Result: repo.ResultDiffers}}
	}, primary, nas)
	damaged := announce(t, k, 48_900, captureTime.Add(time.Minute), nil, primary)
	if err := os.Remove(primary.payloadFile(damaged)); err != nil {
		t.Fatal(err)
	}
	home := t.TempDir()
	leftover := filepath.Join(home, ".drd-restore-1")
	if err := os.Mkdir(leftover, 0o700); err != nil {
		t.Fatal(err)
	}
	bump, err := restore.BumpBy(5000)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		req   restore.Request
		trust *seal.Trust
	}{
		"file":     {restore.Request{Output: filepath.Join(home, "snapshot.db")}, k.trust},
		"data-dir": {restore.Request{DataDir: filepath.Join(home, "etcd"), WALDir: filepath.Join(home, "wal"), Bump: bump, ForEtcd: "3.5"}, k.trust},
		"older":    {restore.Request{ID: "20261122T04", Output: filepath.Join(home, "snapshot.db")}, k.trust},
		"insecure": {restore.Request{Output: filepath.Join(home, "snapshot.db"), InsecureSkipSignature: true}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			plan, err := restore.MakePlan(t.Context(), sources(primary, nas), test.trust, test.req, captureTime.Add(26*time.Hour+5*time.Minute))
			if err != nil {
				t.Fatal(err)
			}
			goldenPlan(t, name, plan, masked(home, primary.path, nas.path, k.signer.Fingerprint()))
		})
	}
}

func goldenPlan(t *testing.T, name string, plan *restore.Plan, mask func(string) string) {
	t.Helper()
	var text bytes.Buffer
	if err := plan.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	document, err := json.MarshalIndent(plan, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, name+".txt", mask(text.String()))
	golden(t, name+".json", mask(string(document)+"\n"))
}

// masked replaces what differs from run to run.
func masked(home, primary, nas, fingerprint string) func(string) string {
	names := strings.NewReplacer(home, "/HOME", primary, "/PRIMARY", nas, "/NAS", fingerprint, "SHA256:SIGNER")
	free := regexp.MustCompile(`[0-9.]+ [KMGT]iB free|"free": [0-9]+`)
	needed := regexp.MustCompile(`"needed": [0-9]+`) // with segments it depends on that, too
	digest := regexp.MustCompile(`"manifest_sha256": "[0-9a-f]{64}"`)
	object := regexp.MustCompile(`"(object_)?size": [0-9]+|to download [0-9.]+ [KMG]?i?B`) // compressed by the library of the day
	return func(s string) string {
		s = free.ReplaceAllString(names.Replace(s), "FREE")
		s = object.ReplaceAllString(s, "OBJECT SIZE")
		s = needed.ReplaceAllString(s, `"needed": ROOM`)
		return digest.ReplaceAllString(s, `"manifest_sha256": "DIGEST"`)
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", "plan", name)
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

// TestChoice: which snapshot is chosen, from which targets.
func TestChoice(t *testing.T) {
	k, stranger := newKeys(t), newKeys(t)
	now := captureTime.Add(time.Hour)
	for _, test := range []struct {
		name  string
		build func(first, second *target) (want *repo.Manifest)
		id    func(*repo.Manifest) string
		from  string // names of the targets, in order
		warns string
	}{
		{name: "newest in the first", from: "primary nas", build: func(first, second *target) *repo.Manifest {
			announce(t, k, 100, captureTime.Add(-time.Hour), nil, first, second)
			return announce(t, k, 200, captureTime, nil, first, second)
		}},
		{name: "newest in the second only", from: "nas", build: func(first, second *target) *repo.Manifest {
			announce(t, k, 100, captureTime.Add(-time.Hour), nil, first, second)
			return announce(t, k, 200, captureTime, nil, second)
		}},
		{name: "newest by time, not by revision", from: "primary", build: func(first, _ *target) *repo.Manifest {
			announce(t, k, 9000, captureTime.Add(-time.Hour), nil, first)
			return announce(t, k, 2000, captureTime, rebuilt, first)
		}},
		{name: "a later one that stands behind", from: "primary", warns: "-r2000-8e9e05c52164694d is later but stands behind", build: func(first, _ *target) *repo.Manifest {
			announce(t, k, 2000, captureTime, cutOff, first)
			return announce(t, k, 9000, captureTime.Add(-time.Minute), nil, first)
		}},
		{name: "a later one that stands behind what another target has", from: "nas", warns: "choose it with --id", build: func(first, second *target) *repo.Manifest {
			announce(t, k, 2000, captureTime, cutOff, first)
			return announce(t, k, 9000, captureTime.Add(-time.Minute), nil, second)
		}},
		{name: "one that stands behind, by name", from: "primary", warns: "is later but stands behind", build: func(first, second *target) *repo.Manifest {
			announce(t, k, 9000, captureTime.Add(-time.Minute), nil, second)
			return announce(t, k, 2000, captureTime, cutOff, first)
		}, id: func(m *repo.Manifest) string { return m.ID }},
		{name: "one that stands behind, by beginning of the name", from: "primary", warns: "is later but stands behind", build: func(first, _ *target) *repo.Manifest {
			announce(t, k, 9000, captureTime.Add(-time.Minute), nil, first)
			return announce(t, k, 2000, captureTime, cutOff, first)
		}, id: func(m *repo.Manifest) string { return m.ID[:23] }},
		{name: "of a rebuilt cluster that lost its quorum, by name", from: "primary", build: func(first, _ *target) *repo.Manifest {
			announce(t, k, 9000, captureTime.Add(-2*time.Minute), nil, first)
			announce(t, k, 1900, captureTime.Add(-time.Minute), rebuilt, first)
			return announce(t, k, 2000, captureTime, cutOff, first)
		}, id: func(m *repo.Manifest) string { return m.ID }},
		{name: "payload lost in the first", from: "nas", warns: "primary: its copy of", build: func(first, second *target) *repo.Manifest {
			m := announce(t, k, 100, captureTime, nil, first, second)
			if err := os.Remove(first.payloadFile(m)); err != nil {
				t.Fatal(err)
			}
			return m
		}},
		{name: "planted newer one", from: "primary", warns: "unknown-signer", build: func(first, second *target) *repo.Manifest {
			m := announce(t, k, 100, captureTime.Add(-time.Hour), nil, first)
			announce(t, stranger, 200, captureTime, nil, first, second)
			return m
		}},
		{name: "dated in the future", from: "primary", warns: "dated in the future", build: func(first, _ *target) *repo.Manifest {
			announce(t, k, 200, now.Add(time.Hour), nil, first)
			return announce(t, k, 100, captureTime, nil, first)
		}},
		{name: "by name", from: "nas", build: func(first, second *target) *repo.Manifest {
			announce(t, k, 200, captureTime, nil, first)
			return announce(t, k, 100, captureTime.Add(-time.Hour), nil, second)
		}, id: func(m *repo.Manifest) string { return m.ID }},
		{name: "by beginning of the name", from: "primary nas", build: func(first, second *target) *repo.Manifest {
			announce(t, k, 200, captureTime, nil, first)
			return announce(t, k, 100, captureTime.Add(-24*time.Hour), nil, first, second)
		}, id: func(m *repo.Manifest) string { return m.ID[:9] }},
	} {
		t.Run(test.name, func(t *testing.T) {
			first, second := newTarget(t), newTarget(t)
			want := test.build(first, second)
			req := restore.Request{Output: filepath.Join(t.TempDir(), "f")}
			if test.id != nil {
				req.ID = test.id(want)
			}
			plan, err := restore.MakePlan(t.Context(), sources(first, second), k.trust, req, now)
			if err != nil {
				t.Fatal(err)
			}
			from := plan.Source.Name
			for _, o := range plan.Fallbacks {
				from += " " + o.Name
			}
			if plan.Snapshot.ID != want.ID || from != test.from {
				t.Errorf("%s from %q, want %s from %q", plan.Snapshot.ID, from, want.ID, test.from)
			}
			if said := strings.Join(plan.Warnings, "\n"); !strings.Contains(said, test.warns) || (test.warns == "") != (said == "") {
				t.Errorf("warnings %q, want %q", said, test.warns)
			}
		})
	}
}

// rebuilt is on a timeline that begins with lower revisions.
func rebuilt(m *repo.Manifest) {
	leader := m.Member.ID
	m.Timeline, m.TimelineParent, m.Leader = "00000000000000b2", m.Timeline, &leader
}

// cutOff comes from a member that knew no leader.
func cutOff(m *repo.Manifest) {
	rebuilt(m)
	*m.Leader = ""
}

// TestWholeID: a snapshot that is named is restored whatever else lies in the repository, and nothing else is read for it.
func TestWholeID(t *testing.T) {
	k, target := newKeys(t), newTarget(t)
	wanted := announce(t, k, 100, captureTime, nil, target)
	newer := announce(t, k, 200, captureTime.Add(time.Hour), nil, target)
	reads := &counting{Bucket: target.bucket}
	r, err := repo.Open(reads, cluster)
	if err != nil {
		t.Fatal(err)
	}
	req := restore.Request{ID: wanted.ID, Output: filepath.Join(t.TempDir(), "f")}
	plan, err := restore.MakePlan(t.Context(), []restore.Source{{Name: "primary", Repo: r}}, k.trust, req, captureTime.Add(2*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	want := []restore.NewerPoint{{ID: newer.ID, State: string(repo.StateUnread)}}
	if diff := cmp.Diff(want, plan.Newer); diff != "" || plan.Snapshot.ID != wanted.ID || len(plan.Warnings) != 0 {
		t.Errorf("%s, warnings %q, newer (-want +got):\n%s", plan.Snapshot.ID, plan.Warnings, diff)
	}
	if n := reads.opened.Load(); n != 2 {
		t.Errorf("%d objects were read, want the manifest and its signature", n)
	}
}

// counting counts the objects that are read.
type counting struct {
	storage.Bucket
	opened atomic.Int32
}

func (c *counting) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	c.opened.Add(1)
	return c.Bucket.Open(ctx, key, offset, length)
}

// TestSkippedButGood: who skips signatures and names signers still learns that the signature is good.
func TestSkippedButGood(t *testing.T) {
	k, stranger, target := newKeys(t), newKeys(t), newTarget(t)
	announce(t, k, 100, captureTime, nil, target)
	req := restore.Request{Output: filepath.Join(t.TempDir(), "f"), InsecureSkipSignature: true}
	for trust, want := range map[*seal.Trust]string{k.trust: restore.SignatureVerified, stranger.trust: restore.SignatureSkipped, nil: restore.SignatureSkipped} {
		plan, err := restore.MakePlan(t.Context(), sources(target), trust, req, captureTime)
		if err != nil {
			t.Fatal(err)
		}
		if plan.Signature.State != want {
			t.Errorf("signature %+v, want %s", plan.Signature, want)
		}
	}
}

// TestPlanIsPrintable: what a store answers does not reach the terminal as it is.
func TestPlanIsPrintable(t *testing.T) {
	k, target := newKeys(t), newTarget(t)
	m := announce(t, k, 100, captureTime, nil, target)
	announce(t, k, 200, captureTime.Add(time.Minute), nil, target)
	r, err := repo.Open(hostile{target.bucket, m.ID}, cluster)
	if err != nil {
		t.Fatal(err)
	}
	down := unreachableTarget(t)
	plan, err := restore.MakePlan(t.Context(), []restore.Source{{Name: "primary", Repo: r}, down.source("nas\x1b[2J")}, k.trust,
		restore.Request{Output: filepath.Join(t.TempDir(), "f")}, captureTime.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	if err := plan.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	if len(plan.Warnings) != 2 || !strings.Contains(text.String(), "unreadable") {
		t.Errorf("warnings %q", plan.Warnings)
	}
	for line := range strings.Lines(text.String() + strings.Join(plan.Warnings, "\n")) {
		if strings.ContainsFunc(strings.TrimRight(line, "\n"), func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("not printable: %q", line)
		}
	}
}

// hostile answers for one snapshot with what moves the cursor.
type hostile struct {
	storage.Bucket
	id string
}

func (h hostile) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	if strings.Contains(key, h.id) {
		return nil, errors.New("503 \x1b[2K\x1b[1Asigned by  cp-1\u202e\nretry")
	}
	return h.Bucket.Open(ctx, key, offset, length)
}

// unreachable is a bucket that cannot be listed.
type unreachable struct{ storage.Bucket }

var errUnreachable = errors.New("connection refused")

func (unreachable) List(context.Context, string) iter.Seq2[storage.Object, error] {
	return func(yield func(storage.Object, error) bool) { yield(storage.Object{}, errUnreachable) }
}

func (unreachable) Open(context.Context, string, int64, int64) (io.ReadCloser, error) {
	return nil, errUnreachable
}

func unreachableTarget(t *testing.T) *target {
	t.Helper()
	inner := newTarget(t)
	r, err := repo.Open(unreachable{inner.bucket}, cluster)
	if err != nil {
		t.Fatal(err)
	}
	return &target{path: inner.path, bucket: inner.bucket, repo: r}
}

// TestUnreachable: a target that is down does not stop a restore from another; nor is "nothing there" said when one was not seen.
func TestUnreachable(t *testing.T) {
	k, down, empty, up := newKeys(t), unreachableTarget(t), newTarget(t), newTarget(t)
	announce(t, k, 100, captureTime, nil, up)
	req := restore.Request{Output: filepath.Join(t.TempDir(), "f")}
	plan, err := restore.MakePlan(t.Context(), sources(down, up), k.trust, req, captureTime)
	if err != nil {
		t.Fatal(err)
	}
	if plan.Source.Name != "nas" || !strings.Contains(strings.Join(plan.Warnings, "\n"), "primary could not be read") {
		t.Errorf("from %s, warnings %q", plan.Source.Name, plan.Warnings)
	}
	for _, targets := range [][]*target{{down}, {down, empty}} {
		_, err := restore.MakePlan(t.Context(), sources(targets...), k.trust, req, captureTime)
		if !errors.Is(err, errUnreachable) || errors.Is(err, repo.ErrNothing) {
			t.Errorf("%d targets: %v", len(targets), err)
		}
	}
}

// TestNothing: the errors of a search that found nothing.
func TestNothing(t *testing.T) {
	k, stranger, target := newKeys(t), newKeys(t), newTarget(t)
	req := restore.Request{Output: filepath.Join(t.TempDir(), "f")}
	plan := func(trust *seal.Trust, req restore.Request) error {
		_, err := restore.MakePlan(t.Context(), sources(target), trust, req, captureTime)
		return err
	}
	wantHint := func(err error, want string) {
		t.Helper()
		if !errors.Is(err, repo.ErrNothing) || !strings.Contains(strings.Join(hint.Of(err), "\n"), want) {
			t.Errorf("%v, hints %q, want %q", err, hint.Of(err), want)
		}
	}
	wantHint(plan(k.trust, req), "name of the cluster")

	other, err := repo.Open(target.bucket, "stage")
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := *target
	elsewhere.repo = other
	announce(t, k, 100, captureTime, func(m *repo.Manifest) { m.Cluster = "stage" }, &elsewhere)
	wantHint(plan(k.trust, req), "primary holds these clusters: stage")

	m := announce(t, stranger, 100, captureTime, nil, target)
	wantHint(plan(k.trust, req), "--trust FILE")
	req.ID = "2031"
	wantHint(plan(k.trust, req), "drd list")
	req.ID = m.ID
	if err := plan(k.trust, req); err == nil || !strings.Contains(err.Error(), "unknown-signer") {
		t.Errorf("a snapshot of a stranger: %v", err)
	}
	if err := plan(nil, req); err == nil || !strings.Contains(strings.Join(hint.Of(err), "\n"), "--insecure-skip-signature") {
		t.Errorf("no trust at all: %v", err)
	}
	req.InsecureSkipSignature = true
	if err := plan(nil, req); err != nil {
		t.Errorf("signatures skipped: %v", err)
	}
}

// TestNoRoom: a plan that cannot be carried out is refused with the numbers.
func TestNoRoom(t *testing.T) {
	k, target := newKeys(t), newTarget(t)
	announce(t, k, 100, captureTime, func(m *repo.Manifest) {
		m.DBSize = 1 << 60
		m.Plain.Size = m.DBSize + 32
	}, target)
	_, err := restore.MakePlan(t.Context(), sources(target), k.trust, restore.Request{DataDir: filepath.Join(t.TempDir(), "etcd")}, captureTime)
	if err == nil || !strings.Contains(err.Error(), "1.0 EiB needed") || len(hint.Of(err)) == 0 {
		t.Errorf("%v, hints %q", err, hint.Of(err))
	}
}
