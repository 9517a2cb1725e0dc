package demo

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	bolt "go.etcd.io/bbolt"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"

	"github.com/drd-project/drd/internal/proof"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/scratch"
	"github.com/drd-project/drd/internal/seal"
	"github.com/drd-project/drd/internal/snapshot"
	"github.com/drd-project/drd/internal/survey"
	"github.com/drd-project/drd/internal/verify"
)

var update = flag.Bool("update", false, "write the golden file anew")

// newDemo is a demo with a smaller cluster and shorter pauses, in a directory of the test.
func newDemo(t *testing.T, out io.Writer) *demo {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	few := kinds()
	for i := range few {
		few[i].count /= 10
	}
	return &demo{columns: columns, kinds: few, changes: 60, pause: 100 * time.Millisecond, lull: 300 * time.Millisecond, Config: Config{
		Parent: t.TempDir(), Out: out,
		Inspector: snapshot.Inspector{Command: []string{self, inspectChild}},
		Survey:    survey.Reader{Command: []string{self, surveyChild}},
		Etcd:      scratch.Launcher{Command: []string{self, etcdChild}},
		Program:   drd,
		Build:     repo.Build{Version: "test"},
		Log:       slog.New(slog.NewTextHandler(t.Output(), nil)),
	}}
}

// wantGone checks that nothing is left in the directory in which a demo made its own.
func wantGone(t *testing.T, parent string) {
	t.Helper()
	left, err := os.ReadDir(parent)
	if err != nil {
		t.Fatal(err)
	}
	if len(left) != 0 {
		t.Errorf("the demo left %v in %s", left, parent)
	}
}

func TestStory(t *testing.T) {
	var out bytes.Buffer
	d := newDemo(t, &out)
	d.columns = 1 << 20 // where lines break depends on numbers that are different every time
	if err := d.run(t.Context()); err != nil {
		t.Fatalf("the demo failed: %v\n%s", err, out.String())
	}
	wantGone(t, d.Parent)
	wantGolden(t, "testdata/story.golden", steady(out.String(), d.place))
}

// steady replaces what differs from run to run.
func steady(text string, p place) string {
	text = strings.ReplaceAll(text, string(p), "DIR")
	for _, r := range []struct{ pattern, with string }{
		{`\d{8}T\d{6}Z-r\d+-[0-9a-f]+`, "ID"},
		{`\d{8}T\d{6}Z-` + memberName, "RECORD"},
		{`\*-r\d+-\*`, "*-rN-*"},
		{`SHA256:[A-Za-z0-9+/]{43}`, "SHA256:FINGERPRINT"},
		{`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ`, "TIME"},
		{`\d\d:\d\d:\d\d\.\d UTC`, "TIME"},
		{`(timeline +)[0-9a-f]{16}`, "${1}TIMELINE"},
		{`127\.0\.0\.1:\d+`, "HOST:PORT"},
		{`\d+\.\d+\.\d+`, "VERSION"},
		{`\d+(\.\d+)? ([KMGTP]i)?B\b`, "SIZE"},
		{`(\d+m)?\d+(\.\d+)? ?s\b`, "SECONDS"},
		{`\d+ +\d+ +equal`, "N  N  equal"},
		{`\d+ (revisions|changes|orders)`, "N $1"},
		{`\d+ segments?`, "N segments"},
		{`lost \d+\.`, "lost N."},
		{`Order \d+`, "Order N"},
		{`\b\d{2,}\b`, "N"},
		// Where nothing was written for a second, the manifests know the revision.
		{`(?s)exactly: a revision from N to N, which a segment tells once it is open(.*?)tell SECONDS, `, "exactly: a revision$1"},
		{`exactly: revision N`, "exactly: a revision"},
		{`(\S) {2,}`, "$1  "}, // the width of columns
	} {
		text = regexp.MustCompile(r.pattern).ReplaceAllString(text, r.with)
	}
	return text
}

func wantGolden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("the story differs from %s (-want +got); go test -update writes it anew:\n%s", path, diff)
	}
}

// TestSabotage: what a restore got wrong must be seen, and be an error.
func TestSabotage(t *testing.T) {
	for name, test := range map[string]struct {
		dir     string // of the restore that is spoiled
		prefix  string // of the key
		change  func(keys *bolt.Bucket, at []byte, kv *mvccpb.KeyValue) error
		differs string
		equal   string
	}{
		"one value is changed": {
			dir:     "etcd",
			change:  changeValue,
			differs: "HashKV", equal: "keys",
		},
		"one key is gone": {
			dir:     "etcd",
			change:  removeKey,
			differs: "keys", equal: "revision",
		},
		"a key of the namespace is gone": {
			dir: "before-the-mistake", prefix: "/registry/deployments/shop/",
			change:  removeKey,
			differs: "objects of namespace shop", equal: "newest order",
		},
		"a value is changed behind the segments": {
			dir:     "before-the-disaster",
			change:  changeValue,
			differs: "HashKV there", equal: "newest order",
		},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			d := newDemo(t, &out)
			d.sabotage = func(dataDir string) error {
				if filepath.Base(dataDir) != test.dir {
					return nil
				}
				return changeStore(dataDir, test.prefix, test.change)
			}
			if err := d.run(t.Context()); !errors.Is(err, errDiffers) {
				t.Fatalf("error %v, want %v\n%s", err, errDiffers, out.String())
			}
			wantGone(t, d.Parent)
			for fact, verdict := range map[string]string{test.differs: "DIFFERS", test.equal: "equal"} {
				if !regexp.MustCompile(`(?m)^   ` + fact + ` +\d+ +\d+  ` + verdict + `$`).Match(out.Bytes()) {
					t.Errorf("the table does not say that %s is %s:\n%s", fact, verdict, out.String())
				}
			}
		})
	}
}

func changeValue(keys *bolt.Bucket, at []byte, kv *mvccpb.KeyValue) error {
	kv.Value[0] ^= 1
	b, err := proto.Marshal(kv)
	if err != nil {
		return err
	}
	return keys.Put(at, b)
}

func removeKey(keys *bolt.Bucket, at []byte, _ *mvccpb.KeyValue) error { return keys.Delete(at) }

// changeStore changes a key of a data directory that was never changed or deleted after it was created: what happens
// to its one entry happens to the key.
func changeStore(dataDir, prefix string, change func(*bolt.Bucket, []byte, *mvccpb.KeyValue) error) error {
	db, err := bolt.Open(filepath.Join(dataDir, "member", "snap", "db"), 0o600, &bolt.Options{Timeout: time.Second})
	if err != nil {
		return err
	}
	err = db.Update(func(tx *bolt.Tx) error {
		keys := tx.Bucket([]byte("key"))
		at, kv, err := untouched(keys, prefix)
		if err != nil {
			return err
		}
		return change(keys, at, kv)
	})
	return errors.Join(err, db.Close())
}

// untouched is the only entry of some key with the prefix, but not the last entry of all, which holds the store's revision.
func untouched(keys *bolt.Bucket, prefix string) (at []byte, kv *mvccpb.KeyValue, err error) {
	entries := make(map[string][][]byte)
	values := make(map[string]*mvccpb.KeyValue)
	err = keys.ForEach(func(k, v []byte) error {
		kv := &mvccpb.KeyValue{}
		if err := proto.Unmarshal(v, kv); err != nil {
			return err
		}
		entries[string(kv.Key)] = append(entries[string(kv.Key)], bytes.Clone(k))
		values[string(kv.Key)] = kv
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	last, _ := keys.Cursor().Last()
	for key, all := range entries {
		if strings.HasPrefix(key, prefix) && len(all) == 1 && binary.BigEndian.Uint64(all[0]) != binary.BigEndian.Uint64(last) && len(values[key].Value) > 0 {
			return all[0], values[key], nil
		}
	}
	return nil, nil, errors.New("the store has no key with one entry")
}

// cancelAt cancels a context when a text was written.
type cancelAt struct {
	bytes.Buffer
	text   string
	cancel context.CancelFunc
}

func (c *cancelAt) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte(c.text)) {
		c.cancel()
	}
	return c.Buffer.Write(p)
}

func TestInterrupted(t *testing.T) {
	for _, text := range []string{"A cluster", "config check", "verify ", "forged/2", "rm -rf", "etcdctl endpoint", "etcdctl del"} {
		t.Run(text, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			d := newDemo(t, &cancelAt{text: text, cancel: cancel})
			if err := d.run(ctx); !errors.Is(err, context.Canceled) {
				t.Errorf("error %v, want %v", err, context.Canceled)
			}
			wantGone(t, d.Parent)
		})
	}
}

func TestOutputFails(t *testing.T) {
	r, w := io.Pipe()
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	d := newDemo(t, w)
	if err := d.run(t.Context()); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("error %v, want %v", err, io.ErrClosedPipe)
	}
	wantGone(t, d.Parent)
}

// TestKeep looks into the directory that is left, and tries the checks of chapter 5 on what they must not accept.
func TestKeep(t *testing.T) {
	var out bytes.Buffer
	d := newDemo(t, &out)
	d.Keep = true
	if err := d.run(t.Context()); err != nil {
		t.Fatalf("the demo failed: %v\n%s", err, out.String())
	}
	wantNarrow(t, out.String())
	if _, err := os.Stat(d.place.path("node")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the lost node is still there: %v", err)
	}
	target := []string{"target"}
	_, err := d.mustRefuse(t.Context(), target, d.newest.ID, d.ids, seal.ErrNoIdentity)
	if err == nil || !strings.Contains(err.Error(), "although it must be refused") {
		t.Errorf("a restore that succeeds where it must not: error %v", err)
	}
	if err := os.Remove(d.place.path("forged", "back.db")); err != nil {
		t.Fatal(err)
	}
	stranger, err := d.strangersKey()
	if err != nil {
		t.Fatal(err)
	}
	_, err = d.mustRefuse(t.Context(), target, d.newest.ID, stranger, seal.ErrBadSignature)
	if !errors.Is(err, seal.ErrNoIdentity) || !strings.Contains(err.Error(), "another reason") {
		t.Errorf("a restore that fails for another reason: error %v", err)
	}
}

// wantNarrow checks that a story fits a log: its lines are short and have nothing in them for a terminal.
func wantNarrow(t *testing.T, text string) {
	t.Helper()
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		if n := utf8.RuneCountInString(line); n > columns {
			t.Errorf("a line has %d columns: %s", n, line)
		}
		if strings.ContainsFunc(line, unicode.IsControl) {
			t.Errorf("control characters in %q", line)
		}
	}
}

func TestNoSuchParent(t *testing.T) {
	d := newDemo(t, io.Discard)
	d.Parent = filepath.Join(d.Parent, "missing")
	if err := d.run(t.Context()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v, want %v", err, os.ErrNotExist)
	}
	long := filepath.Join(t.TempDir(), strings.Repeat("x", maxSocketPath))
	if err := os.Mkdir(long, 0o700); err != nil {
		t.Fatal(err)
	}
	d.Parent = long
	if err := d.run(t.Context()); err == nil || !strings.Contains(err.Error(), "too long") {
		t.Errorf("error %v for a path that no socket can have", err)
	}
	wantGone(t, long)
}

// TestProvedBy: what is no proof must not be told as one.
func TestProvedBy(t *testing.T) {
	passed := proof.Drill{
		Snapshot: "ID", Outcome: proof.Passed, OpenedWith: verify.KindRetained,
		Checks: []proof.Check{{Outcome: proof.Passed}, {Outcome: proof.Skipped}, {Outcome: proof.Passed}},
	}
	for name, test := range map[string]struct {
		change func(*verify.Result, *proof.Drill)
		want   string
	}{
		"passed":       {func(*verify.Result, *proof.Drill) {}, ""},
		"failed":       {func(_ *verify.Result, d *proof.Drill) { d.Outcome, d.Cause = proof.Failed, "hashkv: other" }, "is failed: hashkv: other"},
		"inconclusive": {func(_ *verify.Result, d *proof.Drill) { d.Outcome = proof.Inconclusive }, "is inconclusive"},
		"another key":  {func(_ *verify.Result, d *proof.Drill) { d.OpenedWith = verify.KindIdentity }, "with another key"},
		"no record":    {func(r *verify.Result, _ *proof.Drill) { r.Recorded, r.Unrecorded = false, errDiffers }, "is not in nas"},
	} {
		t.Run(name, func(t *testing.T) {
			d := passed
			r := verify.Result{Target: targetName, Recorded: true}
			test.change(&r, &d)
			r.Record = &proof.Record{Drills: []proof.Drill{d}}
			checks, err := provedBy(r)
			switch {
			case test.want == "" && (err != nil || checks != 2):
				t.Errorf("%d checks, error %v", checks, err)
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
				t.Errorf("error %v, want %q", err, test.want)
			}
		})
	}
}
