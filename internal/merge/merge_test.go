package merge

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/seal"
	"github.com/drd-project/drd/internal/seal/sealtest"
	"github.com/drd-project/drd/internal/storage"
	"github.com/drd-project/drd/internal/storage/storagetest"
)

// TestPass: a day becomes one segment, and the hours after it one each, as far as they are over. Nothing is lost, and a second pass
// finds nothing to do.
func TestPass(t *testing.T) {
	n := newNode(t)
	n.hours(26)
	newest := n.last.Segment.Name()
	before := n.told()
	m := n.merger(n.at)
	done := n.pass(m)
	// The hour that ends with what was written last is not over.
	if want := "2-289* 290-301* 302-301 302-303 304-307 308-307 308-309 310-313"; n.left() != want {
		t.Errorf("left are %s, want %s", n.left(), want)
	}
	if done.Merged != 25+1 || done.Sources != 25*6+24 || done.Bytes == 0 {
		t.Errorf("%+v", done)
	}
	if diff := cmp.Diff(before, n.told()); diff != "" {
		t.Errorf("changes (-before +after):\n%s", diff)
	}
	all := n.listed()
	if e := all[len(all)-1]; e.Name != newest {
		t.Errorf("the newest is %s, was %s", e.Name, newest)
	}
	for range 2 {
		if done := n.pass(m); done.Merged > 0 {
			t.Errorf("again: %+v", done)
		}
		n.prune()
	}
	if done := n.pass(n.merger(n.at)); done.Merged > 0 {
		t.Errorf("after a restart: %+v", done)
	}
	if diff := cmp.Diff(before, n.told()); diff != "" || len(n.listed()) != 8 {
		t.Errorf("%d segments are left; changes (-before +after):\n%s", len(n.listed()), diff)
	}
	n.hours(1)
	if done := n.pass(m); done.Merged != 1 || done.Sources != 6 {
		t.Errorf("an hour later: %+v", done)
	}
}

// TestKilled: at whatever write a pass ends, what is there is whole or no segment, and the next pass finishes.
func TestKilled(t *testing.T) {
	for _, lost := range []bool{false, true} {
		for write := 1; write <= 4; write++ { // payload and record of two hours
			t.Run(fmt.Sprint(write, lost), func(t *testing.T) {
				n := newNode(t)
				n.hours(3)
				before, clean := n.told(), n.repo.Bucket()
				faulty := storagetest.NewFaulty(clean)
				n.open(faulty)
				if lost {
					faulty.LoseResponse(write)
				} else {
					faulty.FailCall(storagetest.OpCreate, write, nil)
				}
				m := n.merger(n.at)
				if _, err := m.Pass(t.Context()); !errors.Is(err, storagetest.ErrInjected) {
					t.Fatalf("%v", err)
				}
				litter := 0
				for _, e := range n.listed() {
					if e.State == repo.StateIncomplete {
						litter++
					} else if e.State != repo.StateOK {
						t.Errorf("%s is %s", e.Name, e.State)
					}
				}
				if litter > 1 {
					t.Errorf("%d payloads without a record", litter)
				}
				if left, err := os.ReadDir(m.cfg.Dir); err != nil || len(left) > 0 {
					t.Errorf("%d files are left, %v", len(left), err)
				}
				n.open(clean)
				n.pass(n.merger(n.at))
				left := strings.ReplaceAll(strings.ReplaceAll(n.left(), "incomplete ", ""), " incomplete", "")
				if want := "2-13* 14-25* 26-25 26-27 28-31 32-31 32-33 34-37"; left != want {
					t.Errorf("left are %s, want %s", left, want)
				}
				if litter == 0 {
					if diff := cmp.Diff(before, n.told()); diff != "" {
						t.Errorf("changes (-before +after):\n%s", diff)
					}
				}
			})
		}
	}
}

// TestCommitOrder: the record of a merged segment is written after its payload was read back.
func TestCommitOrder(t *testing.T) {
	n := newNode(t)
	n.hours(2)
	faulty := storagetest.NewFaulty(n.repo.Bucket())
	var order []string
	n.open(hooked{faulty, func(key string) {
		order = append(order, fmt.Sprintf("%s after %d reads", key[strings.LastIndex(key, "-")+9:], faulty.Calls(storagetest.OpOpen)))
	}})
	m := n.merger(n.at)
	n.pass(m)
	// 12 records, 6 sources, and one read to prove it; then the record is read back.
	if want := []string{".zst.age after 18 reads", ".signed after 19 reads"}; !cmp.Equal(order, want) {
		t.Errorf("written were %q", order)
	}
	t.Run("damaged on the way", func(t *testing.T) {
		n := newNode(t)
		n.hours(2)
		faulty := storagetest.NewFaulty(n.repo.Bucket())
		n.open(faulty)
		faulty.FlipBit("0000000000000000002-0000000000000000013-", 200, true)
		if _, err := n.merger(n.at).Pass(t.Context()); !errors.Is(err, repo.ErrDamaged) && !strings.Contains(fmt.Sprint(err), "read back") {
			t.Errorf("%v", err)
		}
		if left := n.left(); strings.Contains(left, "*") || !strings.Contains(left, "incomplete") {
			t.Errorf("left are %s", left)
		}
	})
}

// TestDamagedSource: one that is damaged is named, once, is in no merged segment, and the others are merged around it.
func TestDamagedSource(t *testing.T) {
	n := newNode(t)
	var segments []*repo.Segment
	for range 6 {
		segments = append(segments, n.write(2, 9*time.Minute))
	}
	n.write(1, time.Hour)
	bad := segments[2]
	file := filepath.Join(n.root, filepath.FromSlash(n.repo.SegmentPayloadKey(bad)))
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	content[len(content)/2] ^= 1
	if err := errors.Join(os.Chmod(file, 0o600), os.WriteFile(file, content, 0o600)); err != nil {
		t.Fatal(err)
	}
	m := n.merger(n.at)
	done, err := m.Pass(t.Context())
	if err != nil || len(done.Bad) != 1 || !errors.Is(done.Bad[0], repo.ErrDamaged) || !strings.Contains(done.Bad[0].Error(), bad.Name().String()) {
		t.Errorf("%+v, %v", done, err)
	}
	if want := "2-5* 6-7 8-13* 14-14"; n.left() != want {
		t.Errorf("left are %s, want %s", n.left(), want)
	}
	if done := n.pass(m); done.Merged > 0 {
		t.Errorf("again: %+v", done)
	}
}

// TestBadContent: a segment that was sealed broken is told from one that broke.
func TestBadContent(t *testing.T) {
	n := newNode(t)
	n.write(2, 10*time.Minute)
	wrong, err := seal.OpenKeyRing(filepath.Join(t.TempDir(), "keys"))
	if err != nil {
		t.Fatal(err)
	}
	s := n.write(2, 10*time.Minute)
	n.write(2, 3*time.Hour)
	for _, e := range n.listed() {
		key, ok := n.keys.Ring.Get(e.Payload.Key)
		if e.Name == s.Name() {
			key, ok = n.keys.Ring.Get(n.repo.SegmentPayloadKey(n.last.Segment))
		}
		if err := wrong.Append(e.Payload.Key, key); err != nil || !ok {
			t.Fatal(err, ok)
		}
	}
	n.keys.Ring = wrong
	done, err := n.merger(n.at).Pass(t.Context())
	if err != nil || len(done.Bad) != 1 || errors.Is(done.Bad[0], repo.ErrDamaged) || !strings.Contains(done.Bad[0].Error(), s.Name().String()+" is as it was sealed") {
		t.Errorf("%+v, %v", done, err)
	}
}

// TestContradiction: a segment whose writer signed what is not so keeps those of its hour from being merged, and no other, and is told
// of once a day.
func TestContradiction(t *testing.T) {
	n := newNode(t)
	n.write(2, 30*time.Minute)
	n.sign = func(s *repo.Segment) { s.LastRevisionSHA256 = strings.Repeat("0", 64) }
	n.write(2, 29*time.Minute)
	n.write(2, 31*time.Minute)
	n.write(2, 20*time.Minute)
	n.write(2, 2*time.Hour)
	m := n.merger(n.at)
	done, err := m.Pass(t.Context())
	if err != nil || done.Merged != 1 || len(done.Bad) != 1 || !strings.Contains(done.Bad[0].Error(), "the last revision has hash") {
		t.Errorf("%+v, %v", done, err)
	}
	if want := "2-3 4-5 6-9* 10-11"; n.left() != want {
		t.Errorf("left are %s, want %s", n.left(), want)
	}
	if done := n.pass(m); done.Merged > 0 {
		t.Errorf("again: %+v", done)
	}
	if left, err := os.ReadDir(m.cfg.Dir); err != nil || len(left) > 0 {
		t.Errorf("%d files are left, %v", len(left), err)
	}
}

// TestDiskFails: what this node's disk does not take is no segment's fault.
func TestDiskFails(t *testing.T) {
	n := newNode(t)
	n.hours(2)
	m := n.merger(n.at)
	m.cfg.Dir = filepath.Join(n.root, "not there")
	if _, err := m.Pass(t.Context()); !errors.Is(err, os.ErrNotExist) || len(m.aside) > 0 {
		t.Errorf("%v, %d are left alone", err, len(m.aside))
	}
}

// TestKeysGone: without the keys nothing is merged nor read; with an identity it goes on.
func TestKeysGone(t *testing.T) {
	n := newNode(t)
	n.hours(3)
	n.emptyRing()
	faulty := storagetest.NewFaulty(n.repo.Bucket())
	n.open(faulty)
	if done := n.pass(n.merger(n.at)); done.Merged > 0 || faulty.Calls(storagetest.OpOpen) > 1 {
		t.Errorf("%+v, %d reads", done, faulty.Calls(storagetest.OpOpen))
	}
	if done := n.pass(n.merger(n.at, sealtest.New(t).Identities...)); done.Merged > 0 {
		t.Errorf("with another identity: %+v", done)
	}
	if done := n.pass(n.merger(n.at, n.keys.Identities...)); done.Merged != 2 {
		t.Errorf("with the identity: %+v", done)
	}
	if want := "2-13* 14-25* 26-25 26-27 28-31 32-31 32-33 34-37"; n.left() != want {
		t.Errorf("left are %s, want %s", n.left(), want)
	}
	m := n.merger(n.at)
	m.cfg.Identities = nil
	n.hours(25) // some keys are there again
	if done := n.pass(m); done.Merged == 0 {
		t.Errorf("%+v", done)
	}
}

// TestOtherRecipients: who can open a segment can open what it is merged into. A node with another list of recipients leaves it.
func TestOtherRecipients(t *testing.T) {
	n := newNode(t)
	n.hours(3)
	other := sealtest.New(t)
	both, err := seal.ParseRecipients(append(lines(t, n.keys.RecipientsFile), lines(t, other.RecipientsFile)...), "")
	if err != nil {
		t.Fatal(err)
	}
	m := n.merger(n.at, n.keys.Identities...)
	m.cfg.Recipients = other.Recipients
	if done := n.pass(m); done.Merged > 0 {
		t.Errorf("for others alone: %+v", done)
	}
	m = n.merger(n.at)
	m.cfg.Recipients = both
	if done := n.pass(m); done.Merged != 2 {
		t.Errorf("for others too: %+v", done)
	}
}

func lines(t *testing.T, path string) []string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(b))
}

// TestTwoWriters: what overlaps is merged each by itself, and never across members or timelines.
func TestTwoWriters(t *testing.T) {
	n := newNode(t)
	other := *n
	other.member = "8e9f"
	other.write(3, 7*time.Minute) // begins a little later than the first one's
	forked := *n
	forked.line = "00000000000000b2"
	for range 4 {
		n.write(2, 10*time.Minute)
		other.write(2, 9*time.Minute)
		forked.write(1, 8*time.Minute)
	}
	for _, w := range []*node{n, &other, &forked} {
		w.write(2, 3*time.Hour)
	}
	n.pass(n.merger(n.at.Add(48 * time.Hour)))
	if want := "2-11* 2-12* 13-14 2-5* 6-7"; n.left() != want {
		t.Errorf("left are %s, want %s", n.left(), want)
	}
}

// TestTwoMergers: nodes that merge at the same time write two segments of which each is right.
func TestTwoMergers(t *testing.T) {
	n := newNode(t)
	n.hours(3)
	one, clean := n.merger(n.at), n.repo.Bucket()
	raced := false
	n.open(hooked{clean, func(string) {
		if !raced {
			raced = true
			n.pass(one)
		}
	}})
	n.pass(n.merger(n.at))
	if want := "2-13* 2-13* 14-25*"; !strings.HasPrefix(n.left(), want) || !raced {
		t.Errorf("left are %s, want %s", n.left(), want)
	}
	n.open(clean)
	n.prune()
	if done := n.pass(n.merger(n.at)); done.Merged > 0 {
		t.Errorf("%+v", done)
	}
}

// TestUntrusted: a node whose signature counts for nothing writes nothing, and says so once.
func TestUntrusted(t *testing.T) {
	n := newNode(t)
	n.hours(3)
	m := n.merger(n.at)
	m.cfg.Signer = sealtest.New(t).Signer
	done, err := m.Pass(t.Context())
	if err != nil || done.Merged > 0 || len(done.Bad) != 2 || !errors.Is(done.Bad[0], seal.ErrUnknownSigner) {
		t.Errorf("%+v, %v", done, err)
	}
	if done := n.pass(m); done.Merged > 0 {
		t.Errorf("again: %+v", done)
	}
	if left := n.left(); strings.Contains(left, "*") || strings.Contains(left, string(repo.StateIncomplete)) {
		t.Errorf("left are %s", left)
	}
}

// TestTargetFails: what a target does not give is no segment's fault, and nothing is set aside for it.
func TestTargetFails(t *testing.T) {
	n := newNode(t)
	n.hours(2)
	clean := n.repo.Bucket()
	for _, op := range []storagetest.Op{storagetest.OpList, storagetest.OpStat} {
		faulty := storagetest.NewFaulty(clean)
		n.open(faulty)
		for i := range 4 {
			faulty.FailCall(op, i+1, nil)
		}
		m := n.merger(n.at)
		done, err := m.Pass(t.Context())
		if op == storagetest.OpList && !errors.Is(err, storagetest.ErrInjected) {
			t.Errorf("%s: %v", op, err)
		}
		// Where nobody may ask, the write decides.
		if op == storagetest.OpStat && (err != nil || done.Merged != 1 || faulty.Calls(op) == 0) {
			t.Errorf("%s: %v, %+v", op, err, done)
		}
	}
	n = newNode(t)
	n.hours(2)
	faulty := storagetest.NewFaulty(n.repo.Bucket())
	n.open(faulty)
	m := n.merger(n.at)
	if _, err := m.look(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	n.open(faulty)
	faulty.SetDown(storage.ErrDenied)
	for _, r := range plan(m.usable(nil), func(repo.SegmentName) bool { return false }, n.at) {
		err := m.merge(t.Context(), nil, r)
		var done Result
		if left := m.leave(t.Context(), r, err, &done); !errors.Is(left, storage.ErrDenied) || len(m.aside)+len(done.Bad) > 0 {
			t.Errorf("%v, %v, %+v", err, left, done)
		}
	}
	faulty.SetDown(nil)
	if done := n.pass(m); done.Merged != 1 {
		t.Errorf("%+v", done)
	}
}

// TestRests: a target with very many segments is not listed every ten minutes.
func TestRests(t *testing.T) {
	n := newNode(t)
	n.hours(2)
	payload := []byte("x")
	for i := range 20 * 50 { // litter is listed too
		if _, err := n.repo.Bucket().Create(t.Context(), n.repo.SegmentsPrefix(timeline)+fmt.Sprintf("%019d-%019d-%08x.zst.age", i+1, i+1, i), bytes.NewReader(payload)); err != nil {
			t.Fatal(err)
		}
	}
	faulty := storagetest.NewFaulty(n.repo.Bucket())
	n.open(faulty)
	now := n.at
	m := n.merger(now)
	m.cfg.Now = func() time.Time { return now }
	n.pass(m)
	looks := faulty.Calls(storagetest.OpList)
	now = now.Add(59 * time.Second)
	if n.pass(m); faulty.Calls(storagetest.OpList) != looks {
		t.Errorf("it was listed again at once")
	}
	now = now.Add(time.Second)
	if n.pass(m); faulty.Calls(storagetest.OpList) == looks {
		t.Errorf("it was never listed again")
	}
}

func TestSweep(t *testing.T) {
	d := filepath.Join(t.TempDir(), "merge")
	if err := Sweep(d); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{storage.TempPrefix + "1", "other"} {
		if err := os.WriteFile(filepath.Join(d, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := Sweep(d); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(d)
	if err != nil || len(left) != 1 || left[0].Name() != "other" {
		t.Errorf("%v, %v", left, err)
	}
	if err := Sweep(filepath.Join(d, "other")); err == nil {
		t.Error("a file in the way")
	}
}
