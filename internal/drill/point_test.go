package drill_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	bolt "go.etcd.io/bbolt"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/protobuf/proto"

	"github.com/drd-project/drd/internal/archive"
	"github.com/drd-project/drd/internal/drill"
	"github.com/drd-project/drd/internal/mvcc"
	"github.com/drd-project/drd/internal/proof"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/seal"
	"github.com/drd-project/drd/internal/seal/sealtest"
	"github.com/drd-project/drd/internal/storage/storagetest"
)

const timeline = "0123456789abcdef"

// annals are a target with a snapshot of revision 31, segments up to 61, and what the live server said of its revision 61.
type annals struct {
	*place
	entries  []mvcc.Entry // all changes of the live server
	live     source       // of revision 61
	backup   *backup
	base     repo.ID
	segments []*repo.Segment
	previous string
}

// story writes so many revisions. It is the same whenever it is told.
func story(revisions int) func(ctx context.Context, c *clientv3.Client) error {
	return func(ctx context.Context, c *clientv3.Client) error {
		for i := range revisions {
			if _, err := c.Put(ctx, fmt.Sprintf("app/%02d", i%13), fmt.Sprint("value ", i)); err != nil {
				return err
			}
		}
		return nil
	}
}

// newAnnals uploads the snapshot, and three segments unless they are changed on the way.
func newAnnals(t *testing.T, change func(a *annals, s *repo.Segment)) *annals {
	t.Helper()
	a := &annals{place: newPlace(t)}
	a.config.SegmentKeys = func(context.Context, *repo.Repository, *repo.Segment) ([]age.Identity, string, error) {
		return a.keys.Identities, "identity", nil
	}
	early := capture(t, "3.6", "annals-31", story(30))
	a.live = capture(t, "3.6", "annals-61", story(60)) // the same server would have written the same
	a.backup, a.base = a.publish(t, early, captureTime)
	a.entries = entriesOf(t, a.live.File)
	for first := int64(32); first < 61; first += 10 {
		a.archive(t, first, first+9, a.entries, func(s *repo.Segment) {
			if change != nil {
				change(a, s)
			}
		})
	}
	return a
}

// entriesOf are the changes that a store of 61 revisions holds.
func entriesOf(t *testing.T, file string) []mvcc.Entry {
	t.Helper()
	path := filepath.Join(t.TempDir(), "db")
	content, err := os.ReadFile(file)
	if err == nil {
		err = os.WriteFile(path, content[:len(content)-32], 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	db, err := bolt.Open(path, 0o400, &bolt.Options{ReadOnly: true, Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var all []mvcc.Entry
	err = db.View(func(tx *bolt.Tx) error {
		return tx.Bucket([]byte("key")).ForEach(func(k, v []byte) error {
			p, err := mvcc.ParsePosition(k)
			all = append(all, mvcc.Entry{Position: p, Value: bytes.Clone(v)})
			return err
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func secondOf(revision int64) time.Time {
	return captureTime.Add(time.Duration(revision) * time.Second)
}

// archive uploads a segment of these revisions.
func (a *annals) archive(t *testing.T, first, last int64, entries []mvcc.Entry, change func(*repo.Segment)) *repo.Segment {
	t.Helper()
	return a.archiveFor(t, a.keys.Recipients, first, last, entries, change)
}

func (a *annals) archiveFor(t *testing.T, to *seal.Recipients, first, last int64, entries []mvcc.Entry, change func(*repo.Segment)) *repo.Segment {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	d, err := archive.Begin(t.TempDir(), to, first)
	must(err)
	for _, e := range entries {
		if e.Main < first || e.Main > last {
			continue
		}
		if e.Sub == 0 {
			d.Stamp(secondOf(e.Main))
		}
		must(d.Append(e))
	}
	sealed, err := d.Finish(archive.Facts{
		Cluster: cluster, EtcdClusterID: "cdf818194e3a8c32", Timeline: timeline, Member: repo.Member{ID: "8e9e05c52164694d", Name: "node-1"},
		From: secondOf(first), To: secondOf(last + 1), CompactRevision: -1, Previous: a.previous, Build: repo.Build{Version: "test"},
	})
	must(err)
	if change != nil {
		change(sealed.Segment)
	}
	signed, err := repo.SignSegment(sealed.Segment, a.keys.Signer)
	must(err)
	must(a.repo.PutSegment(t.Context(), signed, sealed.Open))
	a.previous = signed.Digest()
	a.segments = append(a.segments, sealed.Segment)
	return sealed.Segment
}

// payload is the file of the sealed content of the i-th segment.
func (a *annals) payload(i int) string {
	return filepath.Join(a.path, filepath.FromSlash(a.repo.SegmentPayloadKey(a.segments[i])))
}

func (a *annals) record(i int) string {
	return filepath.Join(a.path, filepath.FromSlash(a.repo.SegmentRecordKey(a.segments[i].Name())))
}

// rewrite changes a file of the target; nil removes it.
func rewrite(t *testing.T, path string, change func([]byte) []byte) {
	t.Helper()
	content, err := os.ReadFile(path)
	if err == nil {
		err = os.Remove(path)
	}
	if content = change(content); err == nil && content != nil {
		err = os.WriteFile(path, content, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func (a *annals) try(t *testing.T, p drill.Point, level proof.Level) proof.Drill {
	t.Helper()
	p.Near, p.Timeline = a.base, timeline
	if p.Kind == "" {
		p.Kind = proof.PointOlder
	}
	d, err := drill.New(a.config)
	if err != nil {
		t.Fatal(err)
	}
	got, err := d.DrillPoint(t.Context(), drill.Target{Name: "primary", Repo: a.repo}, p, level, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	a.wantWiped(t)
	a.wantRecordable(t, got)
	return got
}

// checkpoint is what a live member said of the newest revision.
func (a *annals) checkpoint() repo.Checkpoint {
	return repo.Checkpoint{Revision: 61, CompactRevision: -1, Hash: a.live.Live, Member: "8e9e05c52164694d"}
}

// TestPointPasses: an archived revision is made of a snapshot and segments, and etcd serves it.
func TestPointPasses(t *testing.T) {
	a := newAnnals(t, func(a *annals, s *repo.Segment) {
		if s.Last == 61 {
			s.Checkpoints = []repo.Checkpoint{a.checkpoint()}
		}
	})
	d := a.try(t, drill.Point{Kind: proof.PointNewest, Revision: 61}, proof.LevelArchive)
	wantPassed(t, d, drill.CheckChain, drill.CheckMembers, drill.CheckAuth, drill.CheckFork)
	if got := at(d, drill.CheckEtcdHashKV).Found; got != fmt.Sprint(a.live.Live) {
		t.Errorf("etcd answered hash %s, the live one %d", got, a.live.Live)
	}
	p := d.Archived
	if p.Segments != 3 || p.Revision != 61 || p.Replayed != 30 || p.Compared != 1 || p.Base != proof.Passed || p.First != a.segments[0].Name().String() ||
		p.Last != a.segments[2].Name().String() || len(p.SHA256) != 64 || p.Bytes == 0 || d.Snapshot != a.base.String() || d.Revision != 31 || d.RecoverySeconds <= 0 {
		t.Errorf("%+v of %+v", p, d)
	}
	if got := at(d, drill.CheckSegmentChain).Found; !strings.HasPrefix(got, "2 of 3") {
		t.Errorf("chain: %s", got)
	}
}

// TestPointKinds: a revision that no live hash covers, one that the snapshot holds itself, a time, and the data alone.
func TestPointKinds(t *testing.T) {
	a := newAnnals(t, nil)
	skips := []string{drill.CheckChain, drill.CheckMembers, drill.CheckAuth, drill.CheckFork, drill.CheckCheckpoints}
	d := a.try(t, drill.Point{Revision: 45}, proof.LevelArchive)
	wantPassed(t, d, skips...)
	if d.Archived.Segments != 2 || d.Archived.Compared != 0 || at(d, drill.CheckCheckpoints).Detail != "no live hash covers it" {
		t.Errorf("%+v, %+v", d.Archived, at(d, drill.CheckCheckpoints))
	}
	d = a.try(t, drill.Point{Revision: 20}, proof.LevelArchive)
	wantPassed(t, d, append(skips, drill.CheckSegmentChain, drill.CheckSegments, drill.CheckSegmentContent)...)
	if d.Archived.Segments != 0 || d.Archived.Revision != 20 || d.Archived.SHA256 != "" {
		t.Errorf("%+v", d.Archived)
	}
	d = a.try(t, drill.Point{At: secondOf(50)}, proof.LevelArchiveData)
	wantPassed(t, d, skips...)
	if d.Archived.Revision != 49 || d.Archived.At == nil || at(d, drill.CheckBoot).Name != "" || d.Etcd != "" {
		t.Errorf("%+v", d.Archived)
	}
}

// TestPointDamages: each kind of damage to the archive is found, by the check whose name says where it lies.
func TestPointDamages(t *testing.T) {
	file := func(which func(*annals, int) string, change func([]byte) []byte) func(*testing.T, *annals) {
		return func(t *testing.T, a *annals) { rewrite(t, which(a, 1), change) }
	}
	again := func(change func(entries []mvcc.Entry) []mvcc.Entry, first, last int64, keep bool) func(*testing.T, *annals) {
		return func(t *testing.T, a *annals) {
			if !keep {
				rewrite(t, a.payload(1), func([]byte) []byte { return nil })
				rewrite(t, a.record(1), func([]byte) []byte { return nil })
			}
			a.previous = a.segments[1].Previous
			a.archive(t, first, last, change(slices.Clone(a.entries)), nil)
		}
	}
	altered := func(revision int64) func([]mvcc.Entry) []mvcc.Entry {
		return func(all []mvcc.Entry) []mvcc.Entry {
			for i, e := range all {
				if e.Main == revision {
					all[i].Value = flip(-1)(e.Value)
				}
			}
			return all
		}
	}
	none := func([]byte) []byte { return nil }
	for name, test := range map[string]struct {
		check, cause string
		outcome      proof.Outcome
		base         proof.Outcome
		spoil        func(t *testing.T, a *annals)
	}{
		"payload: bit flip":  {drill.CheckSegments, "SHA-256", proof.Failed, "", file((*annals).payload, flip(-40))},
		"payload: missing":   {drill.CheckPlan, "revisions 42 to 51 are missing", proof.Failed, "", file((*annals).payload, none)},
		"payload: truncated": {drill.CheckPlan, "payload-size", proof.Failed, "", file((*annals).payload, func(b []byte) []byte { return b[:len(b)-1] })},
		"record: bit flip":   {drill.CheckPlan, "bad-signature", proof.Failed, "", file((*annals).record, flip(200))},
		"gap": {drill.CheckPlan, "revisions 42 to 51 are missing", proof.Failed, "", func(t *testing.T, a *annals) {
			rewrite(t, a.payload(1), none)
			rewrite(t, a.record(1), none)
		}},
		"sealed for another key": {drill.CheckSegmentContent, "no identity matches", proof.Failed, proof.Passed, func(t *testing.T, a *annals) {
			rewrite(t, a.payload(1), none)
			rewrite(t, a.record(1), none)
			a.previous = a.segments[1].Previous
			a.archiveFor(t, sealtest.New(t).Recipients, 42, 51, a.entries, func(s *repo.Segment) { s.Object.Recipients = a.keys.Recipients.Fingerprints() })
		}},
		"no key here": {drill.CheckSegmentContent, "no key on this host", proof.Inconclusive, "", func(_ *testing.T, a *annals) {
			a.config.SegmentKeys = nil
		}},
		"signed again with another change": {drill.CheckCheckpoints, "HashKV at revision 61", proof.Failed, proof.Passed, again(altered(47), 42, 51, false)},
		"fork: the same end":               {drill.CheckFork, "tell different things of revision 51", proof.Failed, "", again(altered(51), 42, 51, true)},
		"fork: overlapping":                {drill.CheckReplay, "the history forks", proof.Failed, proof.Passed, again(altered(41), 41, 51, false)},
		"a lease that nobody tells of": {drill.CheckSegmentContent, "lease", proof.Failed, proof.Passed, func(t *testing.T, a *annals) {
			a.malformed(t)
		}},
		"the snapshot: bit flip": {drill.CheckObject, "SHA-256", proof.Failed, proof.Failed, func(t *testing.T, a *annals) {
			rewrite(t, filepath.Join(a.path, cluster, "snapshots", a.base.String(), payloadName), flip(-1000))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAnnals(t, func(a *annals, s *repo.Segment) {
				if s.Last == 61 {
					s.Checkpoints = []repo.Checkpoint{a.checkpoint()}
				}
			})
			test.spoil(t, a)
			d := a.try(t, drill.Point{Revision: 61}, proof.LevelArchive)
			c := at(d, test.check)
			if d.Outcome != test.outcome || c.Outcome != test.outcome || !strings.Contains(d.Cause, test.cause) || !strings.HasPrefix(d.Cause, test.check+":") {
				t.Errorf("%s: %s (%s is %s)", d.Outcome, d.Cause, test.check, c.Outcome)
			}
			if d.Archived.Base != test.base {
				t.Errorf("the snapshot alone: %q, want %q", d.Archived.Base, test.base)
			}
		})
	}
}

// malformed puts in the place of the second segment one whose changes name a lease that it does not tell of.
func (a *annals) malformed(t *testing.T) {
	t.Helper()
	for _, path := range []string{a.payload(1), a.record(1)} {
		rewrite(t, path, func([]byte) []byte { return nil })
	}
	var plain, sealed bytes.Buffer
	w := archive.NewWriter(&plain, 42)
	w.Lease(7, 3600)
	for _, e := range a.entries {
		if e.Main < 42 || e.Main > 51 {
			continue
		}
		kv := new(mvccpb.KeyValue)
		err := proto.Unmarshal(e.Value, kv)
		if err == nil {
			kv.Lease = 7
			e.Value, err = proto.Marshal(kv)
		}
		if err != nil {
			t.Fatal(err)
		}
		w.Stamp(secondOf(e.Main))
		if err := w.Append(e); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.Close(); err != nil {
		t.Fatal(err)
	}
	content := bytes.Replace(plain.Bytes(), []byte{0x30, 7, 0x90, 0x1c}, []byte{0x30, 8, 0x90, 0x1c}, 1)
	out, err := seal.Default().Seal(&sealed, a.keys.Recipients)
	if err == nil {
		_, err = out.Write(content)
	}
	if err == nil {
		err = out.Close()
	}
	s := *a.segments[1]
	s.Plain = repo.SegmentPlain{SHA256: sumOf(content), Size: int64(len(content))}
	s.Object.SHA256, s.Object.Size = sumOf(sealed.Bytes()), int64(sealed.Len())
	s.Object.Name = s.Name().String() + seal.Default().Extension()
	signed, signErr := repo.SignSegment(&s, a.keys.Signer)
	if err = errors.Join(err, signErr); err == nil {
		err = a.repo.PutSegment(t.Context(), signed, func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(sealed.Bytes())), nil })
	}
	if err != nil {
		t.Fatal(err)
	}
}

func sumOf(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// TestPointUnsure: what is not the archive's fault says nothing about it.
func TestPointUnsure(t *testing.T) {
	a := newAnnals(t, nil)
	faulty := storagetest.NewFaulty(a.bucket)
	a.use(t, faulty)
	unsure := func(name, check string) {
		t.Helper()
		if d := a.try(t, drill.Point{Revision: 61}, proof.LevelArchiveData); d.Outcome != proof.Inconclusive || !strings.HasPrefix(d.Cause, check+":") {
			t.Errorf("%s: %s %s", name, d.Outcome, d.Cause)
		}
	}
	faulty.CutReads(a.repo.SegmentPayloadKey(a.segments[1]), 50, false)
	unsure("a connection that ends", drill.CheckSegments)
	faulty.SetDown(errors.New("the store is away"))
	unsure("a store that is away", drill.CheckPlan)
	faulty.SetDown(nil)
	d, err := drill.New(a.config)
	if err != nil {
		t.Fatal(err)
	}
	p := drill.Point{Kind: proof.PointOlder, Revision: 99, Near: a.base, Asked: true}
	if _, err := d.DrillPoint(t.Context(), drill.Target{Name: "primary", Repo: a.repo}, p, proof.LevelArchive, nil, nil); !errors.Is(err, repo.ErrNothing) {
		t.Errorf("a revision that never was: %v", err)
	}
}
