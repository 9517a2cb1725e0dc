package restore

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"

	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/snapshot"
)

func TestVersionsFor(t *testing.T) {
	for _, test := range []struct {
		target, storage, cluster string
		want                     versionEdit
		refused                  bool
	}{
		{"", "", "3.5.0", versionEdit{}, false},
		{"", "3.7.0", "3.7.0", versionEdit{}, false},
		{"3.7", "3.6.0", "3.6.0", versionEdit{}, false},
		{"3.7", "", "3.4.0", versionEdit{}, false},
		{"3.6", "3.7.0", "3.7.0", versionEdit{storage: "3.6.0", cluster: "3.6.0"}, false},
		{"3.6", "3.6.0", "3.6.0", versionEdit{}, false},
		{"3.5", "3.7.0", "3.7.0", versionEdit{dropStorage: true, cluster: "3.5.0"}, false},
		{"3.4", "3.6.0", "", versionEdit{dropStorage: true}, false},
		{"3.4", "", "3.5.0", versionEdit{cluster: "3.4.0"}, false},
		{"", "3.8.0", "3.8.0", versionEdit{}, true},
		{"3.6", "3.8.0", "3.8.0", versionEdit{}, true},
		{"", "garbage", "", versionEdit{}, true},
	} {
		got, err := versionsFor(test.target, test.storage, test.cluster)
		if got != test.want || (err != nil) != test.refused {
			t.Errorf("for %q, storage %q, cluster %q: %+v, %v", test.target, test.storage, test.cluster, got, err)
		}
	}
}

func TestParseBump(t *testing.T) {
	for text, want := range map[string]Bump{"auto": {}, "0": {fixed: true}, "1000000000": {fixed: true, by: 1_000_000_000}} {
		got, err := ParseBump(text)
		if err != nil || got != want || got.String() != text {
			t.Errorf("%q: %+v (%s), %v", text, got, got, err)
		}
	}
	for _, text := range []string{"", "-1", "1e9", "Auto", "9223372036854775807", "99999999999999999999"} {
		if got, err := ParseBump(text); err == nil {
			t.Errorf("%q was read as %+v", text, got)
		}
	}
}

func TestPlanEdits(t *testing.T) {
	ordinary := snapshot.Facts{Revision: 100, CompactRevision: 50}
	kubernetes := ordinary
	kubernetes.Kubernetes = true
	exact, err := BumpBy(0)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		facts snapshot.Facts
		bump  Bump
		want  int64
	}{
		"ordinary":          {ordinary, Bump{}, 0},
		"kubernetes":        {kubernetes, Bump{}, kubernetesBump},
		"kubernetes, exact": {kubernetes, exact, 0},
		"ordinary, bumped":  {ordinary, Bump{fixed: true, by: 7}, 7},
	} {
		e, err := planEdits(test.facts, Request{Bump: test.bump})
		if err != nil || e.bump != test.want || e.none() != (test.want == 0) {
			t.Errorf("%s: %+v, %v", name, e, err)
		}
	}
	_, err = planEdits(snapshot.Facts{Revision: math.MaxInt64 / 2}, Request{Bump: Bump{fixed: true, by: 1}})
	if err == nil || len(hint.Of(err)) == 0 {
		t.Errorf("a bump without room above: %v, hints %q", err, hint.Of(err))
	}
	for _, bump := range []Bump{exact, {}} {
		if _, err := planEdits(snapshot.Facts{Revision: math.MaxInt64 - 7}, Request{Bump: bump}); err != nil {
			t.Errorf("no bump of a large revision: %v", err)
		}
	}
}

func TestCompareEdited(t *testing.T) {
	before := snapshot.Facts{Revision: 100, CompactRevision: 50, Keys: 10, Revisions: 60, HashKV: 1, Leases: 2, StorageVersion: "3.7.0"}
	good := before
	good.Leases = 3
	e := edits{leases: []int64{7}}
	if err := compareEdited(before, good, snapshot.Hash{}, e); err != nil {
		t.Error(err)
	}
	for want, spoil := range map[string]func(*snapshot.Facts){
		"keys: expected 10, found 9":              func(f *snapshot.Facts) { f.Keys-- },
		"revision: expected 100, found 101":       func(f *snapshot.Facts) { f.Revision++ },
		"compact revision: expected 50, found 51": func(f *snapshot.Facts) { f.CompactRevision++ },
		"hashkv: expected 1, found 2":             func(f *snapshot.Facts) { f.HashKV++ },
		"lease records: expected 3, found 2":      func(f *snapshot.Facts) { f.Leases-- },
		"without a record: expected 0, found 1":   func(f *snapshot.Facts) { f.MissingLeases = []int64{1} },
		"alarms: expected 0, found 1":             func(f *snapshot.Facts) { f.Alarms = []string{"CORRUPT"} },
		`storage version: expected "3.7.0"`:       func(f *snapshot.Facts) { f.StorageVersion = "" },
	} {
		bad := good
		spoil(&bad)
		if err := compareEdited(before, bad, snapshot.Hash{}, e); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// TestCompareBumped: a bump changes the hash of the store, but not that of what was there before.
func TestCompareBumped(t *testing.T) {
	before := snapshot.Facts{Revision: 100, CompactRevision: 50, Keys: 10, Revisions: 60, HashKV: 1}
	good := snapshot.Facts{Revision: 1100, CompactRevision: 1100, Keys: 10, Revisions: 61, HashKV: 999}
	e := edits{bump: 1000}
	if err := compareEdited(before, good, snapshot.Hash{Value: 1}, e); err != nil {
		t.Error(err)
	}
	fewer := good
	fewer.Revisions = 3
	err := compareEdited(before, fewer, snapshot.Hash{Value: 1}, e)
	if err == nil || !strings.Contains(err.Error(), "revisions stored: expected 61, found 3") {
		t.Error(err)
	}
	err = compareEdited(before, good, snapshot.Hash{Value: 2}, e)
	if err == nil || !strings.Contains(err.Error(), "hashkv before the bump: expected 1, found 2") {
		t.Error(err)
	}
}

// pump sends data through both kinds of stage and returns what each consumer received.
func pump(ctx context.Context, src io.Reader, use func(data []byte) error) (consumed [2][]byte, err error) {
	g, ctx := errgroup.WithContext(ctx)
	ahead, fan := newReadAhead(ctx), newFanOut(ctx, 2)
	g.Go(func() error { ahead.fill(src); return nil })
	for i := range consumed {
		g.Go(func() error {
			return fan.consume(i, func(data []byte) error {
				consumed[i] = append(consumed[i], data...)
				return use(data)
			})
		})
	}
	g.Go(func() error {
		defer fan.close()
		return fan.copy(ahead, func(int64) {})
	})
	err = g.Wait()
	return consumed, err
}

func TestPipeline(t *testing.T) {
	random := rand.NewChaCha8([32]byte{})
	for _, size := range []int{0, 1, blockSize - 1, blockSize, blockSize + 1, (aheadBlocks + plainBlocks + 3) * blockSize} {
		data := make([]byte, size)
		if _, err := random.Read(data); err != nil {
			t.Fatal(err)
		}
		for name, src := range map[string]io.Reader{
			"plain": bytes.NewReader(data), "halves": iotest.HalfReader(bytes.NewReader(data)), "late end": iotest.DataErrReader(bytes.NewReader(data)),
		} {
			got, err := pump(t.Context(), src, func([]byte) error { return nil })
			if err != nil || !bytes.Equal(got[0], data) || !bytes.Equal(got[1], data) {
				t.Errorf("%d bytes, %s: %d and %d bytes, %v", size, name, len(got[0]), len(got[1]), err)
			}
		}
	}
}

func TestPipelineFailures(t *testing.T) {
	broken := errors.New("broken")
	data := make([]byte, 40*blockSize)
	for name, test := range map[string]struct {
		src  io.Reader
		use  func([]byte) error
		want error
	}{
		"source":         {io.MultiReader(bytes.NewReader(data), iotest.ErrReader(broken)), func([]byte) error { return nil }, broken},
		"source cut":     {io.MultiReader(bytes.NewReader(data), iotest.ErrReader(io.ErrUnexpectedEOF)), func([]byte) error { return nil }, io.ErrUnexpectedEOF},
		"first consumer": {bytes.NewReader(data), func([]byte) error { return broken }, broken},
	} {
		if _, err := pump(t.Context(), test.src, test.use); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	_, err := pump(ctx, bytes.NewReader(data), func([]byte) error { cancel(broken); return nil })
	if !errors.Is(err, broken) {
		t.Errorf("cancelled: %v", err)
	}
}

// TestProcesses: which processes count as an etcd of the data directory, by what /proc says of them.
func TestProcesses(t *testing.T) {
	const dataDir = "/no-such-data/etcd" // a directory that this machine has would be looked into
	other := otherProcess()
	for name, test := range map[string]struct {
		files map[string]string // name below /proc/PID
		links map[string]string
		want  bool
	}{
		"flag":             {map[string]string{"comm": "etcd\n", "cmdline": "etcd\x00--data-dir\x00/no-such-data/etcd\x00"}, nil, true},
		"flag with =":      {map[string]string{"comm": "etcd\n", "cmdline": "etcd\x00-data-dir=/no-such-data/etcd/\x00"}, nil, true},
		"environment":      {map[string]string{"comm": "etcd\n", "cmdline": "etcd\x00", "environ": "A=b\x00ETCD_DATA_DIR=/no-such-data/etcd\x00"}, nil, true},
		"relative":         {map[string]string{"comm": "etcd\n", "cmdline": "etcd\x00--data-dir\x00etcd\x00"}, map[string]string{"cwd": "/no-such-data"}, true},
		"open file":        {map[string]string{"comm": "k3s-server\n"}, map[string]string{"fd/7": "/no-such-data/etcd/member/snap/db"}, true},
		"other directory":  {map[string]string{"comm": "etcd\n", "cmdline": "etcd\x00--data-dir\x00/no-such-data/other\x00"}, nil, false},
		"other program":    {map[string]string{"comm": "vi\n", "cmdline": "vi\x00--data-dir\x00/no-such-data/etcd\x00"}, nil, false},
		"other container":  {map[string]string{"comm": "etcd\n", "cmdline": "etcd\x00--data-dir=/no-such-data/etcd\x00"}, map[string]string{"ns/mnt": "mnt:[2]"}, false},
		"other open file":  {map[string]string{"comm": "sh\n"}, map[string]string{"fd/7": "/no-such-data/etcd.old/member/snap/db"}, false},
		"flag beats name":  {map[string]string{"comm": "etcd\n", "cmdline": "etcd\x00--data-dir=/x\x00", "environ": "ETCD_DATA_DIR=/no-such-data/etcd\x00"}, nil, false},
		"nothing readable": {nil, nil, false},
	} {
		proc := t.TempDir()
		links := map[string]string{"self/ns/mnt": "mnt:[1]", other + "/ns/mnt": "mnt:[1]", other + "/root": "/"}
		for n, to := range test.links {
			links[other+"/"+n] = to
		}
		for n, content := range test.files {
			place(t, filepath.Join(proc, other, n), func(path string) error { return os.WriteFile(path, []byte(content), 0o600) })
		}
		for n, to := range links {
			place(t, filepath.Join(proc, n), func(path string) error { return os.Symlink(to, path) })
		}
		err := checkNotInUse(dataDir, proc)
		if (err != nil) != test.want || (err != nil && !strings.Contains(err.Error(), "process "+other)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestProcessBehindALink: the files that a process holds are found through a symbolic link above the data directory,
// also when they were deleted or moved.
func TestProcessBehindALink(t *testing.T) {
	base := canonical(t.TempDir())
	link := filepath.Join(base, "lib")
	place(t, filepath.Join(base, "data", "x"), func(path string) error { return os.WriteFile(path, nil, 0o600) })
	if err := os.Symlink(filepath.Join(base, "data"), link); err != nil {
		t.Fatal(err)
	}
	place(t, filepath.Join(base, "data", "etcd", "member", "wal"), func(path string) error {
		f, err := os.Create(path)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := os.RemoveAll(filepath.Join(base, "data", "etcd")); err != nil {
			return err
		}
		holder := exec.CommandContext(t.Context(), "sleep", "60")
		holder.ExtraFiles = []*os.File{f}
		if err := holder.Start(); err != nil {
			return err
		}
		t.Cleanup(func() {
			_ = holder.Process.Kill()
			_ = holder.Wait()
		})
		return nil
	})
	for _, dir := range []string{filepath.Join(base, "data", "etcd"), filepath.Join(link, "etcd")} {
		if err := checkNotInUse(dir, "/proc"); err == nil || !strings.Contains(err.Error(), "in use by a running etcd") {
			t.Errorf("%s: %v", dir, err)
		}
	}
	if err := checkNotInUse(filepath.Join(link, "other"), "/proc"); err != nil {
		t.Error(err)
	}
}

// TestStartedWithALink: nor does it matter which of them names the directory by a link.
func TestStartedWithALink(t *testing.T) {
	base := canonical(t.TempDir())
	link := filepath.Join(base, "lib")
	place(t, filepath.Join(base, "data", "x"), func(path string) error { return os.WriteFile(path, nil, 0o600) })
	if err := os.Symlink(filepath.Join(base, "data"), link); err != nil {
		t.Fatal(err)
	}
	names := []string{filepath.Join(base, "data", "etcd"), filepath.Join(link, "etcd")} // neither is there any more
	other := otherProcess()
	for _, theirs := range names {
		proc := t.TempDir()
		for n, content := range map[string]string{"comm": "etcd\n", "cmdline": "etcd\x00--data-dir=" + theirs + "\x00"} {
			place(t, filepath.Join(proc, other, n), func(path string) error { return os.WriteFile(path, []byte(content), 0o600) })
		}
		for n, to := range map[string]string{"self/ns/mnt": "mnt:[1]", other + "/ns/mnt": "mnt:[1]", other + "/root": "/"} {
			place(t, filepath.Join(proc, n), func(path string) error { return os.Symlink(to, path) })
		}
		for _, ours := range names {
			if err := checkNotInUse(ours, proc); err == nil {
				t.Errorf("etcd runs with %s, and %s is not in use", theirs, ours)
			}
		}
	}
}

// otherProcess is a process ID that is not this test's own, which is never looked at.
func otherProcess() string { return strconv.Itoa(os.Getpid() + 1) }

func place(t *testing.T, path string, put func(path string) error) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := put(path); err != nil {
		t.Fatal(err)
	}
}

// TestMoveNewPortable: the way for file systems without RENAME_NOREPLACE replaces nothing either.
func TestMoveNewPortable(t *testing.T) {
	for _, move := range []func(old, path string) error{moveNew, moveNewPortable} {
		dir := t.TempDir()
		name := func(s string) string { return filepath.Join(dir, s) }
		for _, path := range []string{name("file"), name("taken")} {
			place(t, path, func(path string) error { return os.WriteFile(path, []byte(filepath.Base(path)), 0o600) })
		}
		for _, path := range []string{name("dir/in"), name("full/in"), name("empty/in")} {
			place(t, path, func(path string) error { return os.WriteFile(path, []byte("x"), 0o600) })
		}
		if err := os.Remove(name("empty/in")); err != nil {
			t.Fatal(err)
		}
		for _, onto := range [][2]string{{"file", "taken"}, {"file", "empty"}, {"dir", "full"}, {"dir", "taken"}} {
			if err := move(name(onto[0]), name(onto[1])); err == nil {
				t.Errorf("%s was moved onto %s", onto[0], onto[1])
			}
		}
		for _, onto := range [][2]string{{"file", "new file"}, {"dir", "new dir"}} {
			if err := move(name(onto[0]), name(onto[1])); err != nil {
				t.Error(err)
			}
		}
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, e := range entries {
			names = append(names, e.Name())
		}
		if diff := cmp.Diff([]string{"empty", "full", "new dir", "new file", "taken"}, names); diff != "" {
			t.Error(diff)
		}
	}
}
