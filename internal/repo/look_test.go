package repo

import (
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"

	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/seal"
	"github.com/drd-project/drd/internal/storage"
)

func TestLook(t *testing.T) {
	s := newScene(t)
	c, want := s.look(t)
	clear(s.read)
	got, err := s.repo.Look(t.Context(), target, s.trust)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(Entry{})); diff != "" {
		t.Errorf("Look differs from Catalogue (-want +got):\n%s", diff)
	}
	if len(s.read) != 2 || s.read[s.repo.ManifestKey(good)] != 0 {
		t.Errorf("read %v", s.read)
	}
	near := target
	near.Member = target.Member >> 4 // its name begins that of target
	for _, none := range []ID{near, at(time.Hour, 9, 9)} {
		if e, err := s.repo.Look(t.Context(), none, s.trust); !errors.Is(err, ErrNothing) {
			t.Errorf("%s: %+v, %v", none, e, err)
		}
	}
	s.fault = func(op, _ string) error { return map[string]error{"list": storage.ErrDenied}[op] }
	if _, err := s.repo.Look(t.Context(), target, s.trust); !errors.Is(err, storage.ErrDenied) {
		t.Errorf("error is %v", err)
	}
	if len(c.Entries) != 2 {
		t.Errorf("%d entries", len(c.Entries))
	}
}

func TestRecent(t *testing.T) {
	m := newMemory()
	r := open(t, m)
	s, trust := signer(t)
	far := ID{Time: time.Now().UTC().Truncate(time.Second).Add(24 * time.Hour), Revision: 9, Member: 1}
	ids := []ID{at(-3*time.Hour, 1, 1), at(-2*time.Hour, 2, 1), at(-time.Hour, 3, 1), at(0, 4, 1), far}
	for i := range ids[:4] { // in the past of any clock
		ids[i].Time = ids[i].Time.AddDate(-10, 0, 0)
	}
	for _, id := range ids {
		put(t, r, s, sample(id, []byte("x")), []byte("x"))
	}
	delete(m.objects, r.ManifestKey(ids[2])) // costs nothing to judge
	for n, want := range map[int][]State{
		0:  {StateUnread, StateUnread, StateIncomplete, StateUnread, StateUnread},
		1:  {StateUnread, StateUnread, StateIncomplete, StateOK, StateUnread},
		2:  {StateUnread, StateOK, StateIncomplete, StateOK, StateUnread},
		3:  {StateOK, StateOK, StateIncomplete, StateOK, StateUnread},
		4:  {StateOK, StateOK, StateIncomplete, StateOK, StateOK},
		99: {StateOK, StateOK, StateIncomplete, StateOK, StateOK},
	} {
		clear(m.read)
		c, err := r.Recent(t.Context(), trust, n)
		if err != nil {
			t.Fatal(err)
		}
		var got []State
		for i, e := range c.Entries {
			got = append(got, e.State)
			if e.ID.String() != ids[i].String() || e.Payload.Key == "" || e.Modified.IsZero() {
				t.Errorf("%d: entry %+v", n, e)
			}
			if e.State == StateUnread && (e.Manifest != nil || e.Problem != nil || e.Restorable(true)) {
				t.Errorf("%d: an unread entry claims more: %+v", n, e)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" || c.ForeignCount != 0 {
			t.Errorf("%d: (-want +got):\n%s", n, diff)
		}
		if len(m.read) != 2*min(n, 4) {
			t.Errorf("%d: %d objects were read", n, len(m.read))
		}
	}
}

// Somebody may write to the bucket, plants snapshots as large as a manifest may be, and signs them with a key of his own.
func TestPlantedManifestsAreNotKept(t *testing.T) {
	m := newMemory()
	r := open(t, m)
	_, trust := signer(t)
	stranger, _ := signer(t)
	payload := []byte("p")
	const planted = 100
	for i := range planted {
		id := at(time.Duration(i)*time.Second-100_000*time.Hour, 1, memberA) // in the past of any clock
		doc := sample(id, payload)
		doc.Distro = map[string]string{"x": strings.Repeat("x", maxManifest-4<<10)}
		signed, err := Sign(doc, stranger)
		if err != nil {
			t.Fatal(err)
		}
		m.set(r.ManifestKey(id), signed.Bytes)
		m.set(r.SignatureKey(id), signed.Signature)
		m.set(r.PayloadKey(id, payloadName), payload)
	}
	before := heap()
	c, err := r.Catalogue(t.Context(), trust)
	if err != nil {
		t.Fatal(err)
	}
	if grown := heap() - before; grown > planted*4<<10 {
		t.Errorf("%d planted manifests keep %d KiB of memory", planted, grown>>10)
	}
	runtime.KeepAlive(m) // what it holds was there before
	for _, e := range c.Entries {
		if e.State != StateUnknownSigner || e.Manifest != nil || e.Restorable(true) {
			t.Fatalf("%+v", e)
		}
	}
	if c.ForeignCount != 0 {
		t.Errorf("payloads are called foreign: %v", c.Foreign)
	}
	// They still witness the timeline: a node may well trust only itself.
	if timeline, _ := c.NextTimeline(testCluster, Position{"cdf818194e3a8c32", 2, 5, 900}); timeline != "00000000000000a1" {
		t.Errorf("timeline %s", timeline)
	}
}

func heap() int64 {
	var stats runtime.MemStats
	runtime.GC()
	runtime.GC() // pools outlive one
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}

// An unknown signer's claim to a place in the history is believed only where it fits its own name.
func TestClaimsMustFit(t *testing.T) {
	for name, change := range map[string]func(*Manifest){
		"none":             func(*Manifest) {},
		"cluster":          func(m *Manifest) { m.Cluster = "prod-west" },
		"id":               func(m *Manifest) { m.ID = good.String() },
		"revision":         func(m *Manifest) { m.Revision++ },
		"etcd cluster":     func(m *Manifest) { m.EtcdClusterID = "x" },
		"timeline":         func(m *Manifest) { m.Timeline = "\x1b" },
		"parent":           func(m *Manifest) { m.TimelineParent = "x" },
		"its own parent":   func(m *Manifest) { m.TimelineParent = m.Timeline },
		"format":           func(m *Manifest) { m.Format = 2 },
		"no manifest ever": nil,
	} {
		s := newScene(t)
		s.signer, _ = signer(t)
		b := []byte("{")
		if change != nil {
			m := sample(target, []byte("sealed"))
			change(m)
			var err error
			if b, err = json.Marshal(m); err != nil {
				t.Fatal(err)
			}
		}
		s.plant(t, b)
		_, e := s.look(t)
		if e.State != StateUnknownSigner || (e.place() != nil) != (name == "none") {
			t.Errorf("%s: state %s, place %+v", name, e.State, e.place())
		}
	}
}

// A problem tells what libraries say of planted bytes: on one short, printable line.
func TestProblemsArePrintable(t *testing.T) {
	s := newScene(t)
	s.set(s.repo.SignatureKey(target), hostileSignature(t, "x\x1b[2K\x1b[1Asigned by  cp-1\u202e\n"+strings.Repeat("y", 10_000)))
	_, e := s.look(t)
	if e.State != StateBadSignature || !errors.Is(e.Problem, seal.ErrBadSignature) {
		t.Errorf("state %s, %v", e.State, e.Problem)
	}
	checkPrintable(t, e.Problem)

	s = newScene(t)
	s.fault = func(op, key string) error {
		if op == "open" && key == s.repo.ManifestKey(target) {
			return hint.New(fmt.Errorf("%w: <Message>\x1b]0;pwned\a\n\u2066%s", storage.ErrDenied, strings.Repeat("z", 1000)), "ask\x1b[2J")
		}
		return nil
	}
	_, e = s.look(t)
	if e.State != StateUnreadable || !errors.Is(e.Problem, storage.ErrDenied) || len(hint.Of(e.Problem)) != 1 {
		t.Errorf("state %s, %v, hints %q", e.State, e.Problem, hint.Of(e.Problem))
	}
	checkPrintable(t, e.Problem)
}

func checkPrintable(t *testing.T, problem error) {
	t.Helper()
	for _, text := range append(hint.Of(problem), problem.Error()) {
		if !isPrintable(text) || len(text) > maxProblem || text == "" {
			t.Errorf("%d bytes: %q", len(text), text)
		}
	}
}

// hostileSignature is armored and in the form of a signature; the name of the key's algorithm is the attacker's.
func hostileSignature(t *testing.T, algorithm string) []byte {
	t.Helper()
	body := ssh.Marshal(struct {
		Version                         uint32
		Key, Namespace, Res, Hash, Blob string
	}{
		1, string(ssh.Marshal(struct{ Algorithm string }{algorithm})), "drd", "", "sha512",
		string(ssh.Marshal(ssh.Signature{Format: "ssh-ed25519", Blob: []byte("xx")})),
	})
	return pem.EncodeToMemory(&pem.Block{Type: "SSH SIGNATURE", Bytes: append([]byte("SSHSIG"), body...)})
}

func TestPrintable(t *testing.T) {
	for text, want := range map[string]string{
		"as it is, ä…":           "as it is, ä…",
		" two\nlines\n":          "two; lines",
		"\x1b[2J\u202e\u00a0\tx": "?[2J???x",
	} {
		if got := Printable(text); got != want {
			t.Errorf("Printable(%q) = %q, want %q", text, got, want)
		}
	}
	if got := Shorten("äääää", 8); got != "ää…" {
		t.Errorf("shortened to %q", got)
	}
}

// A Catalogue reads the newest 20,000 manifests, and no more, however many there are.
func TestCatalogueIsBounded(t *testing.T) {
	m := newMemory()
	r := open(t, m)
	const extra = 5
	for i := range int64(maxRead + extra) {
		m.set(r.ManifestKey(ID{Time: testTime.AddDate(-5, 0, 0).Add(time.Duration(i) * time.Second), Revision: 1, Member: 1}), []byte("{}"))
	}
	c, err := r.Catalogue(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for i, e := range c.Entries {
		if want := map[bool]State{true: StateUnread, false: StateBadManifest}[i < extra]; e.State != want {
			t.Fatalf("entry %d of %d is %s", i, len(c.Entries), e.State)
		}
	}
}
