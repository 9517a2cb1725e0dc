package dir_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/storage"
	"github.com/drd-project/drd/internal/storage/dir"
	"github.com/drd-project/drd/internal/storage/storagetest"
)

func open(t *testing.T) (*dir.Bucket, string) {
	t.Helper()
	root := t.TempDir()
	b, err := dir.Open(root, dir.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return b, root
}

func create(t *testing.T, b *dir.Bucket, key, text string) {
	t.Helper()
	if _, err := b.Create(t.Context(), key, strings.NewReader(text)); err != nil {
		t.Fatal(err)
	}
}

func keys(t *testing.T, b *dir.Bucket) []string {
	t.Helper()
	var all []string
	for obj, err := range b.List(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, obj.Key)
	}
	return all
}

// files returns every path under root, directories with a slash.
func files(t *testing.T, root string) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		name, _ := filepath.Rel(root, path)
		if d.IsDir() {
			name += "/"
		}
		all = append(all, name)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestConformance(t *testing.T) {
	storagetest.Conformance(t, func(t *testing.T) storage.Bucket {
		b, _ := open(t)
		return b
	})
}

func TestFilesArePrivateAndPlain(t *testing.T) {
	b, root := open(t)
	create(t, b, "cluster/snapshots/one", "content")
	if diff := cmp.Diff([]string{"./", "cluster/", "cluster/snapshots/", "cluster/snapshots/one"}, files(t, root)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	for name, want := range map[string]fs.FileMode{"cluster": 0o700 | fs.ModeDir, "cluster/snapshots": 0o700 | fs.ModeDir, "cluster/snapshots/one": 0o600} {
		info, err := os.Lstat(filepath.Join(root, name))
		if err != nil || info.Mode() != want {
			t.Errorf("%s has mode %v, want %v (%v)", name, info.Mode(), want, err)
		}
	}
}

func TestDeleteRemovesEmptyDirectories(t *testing.T) {
	b, root := open(t)
	create(t, b, "a/b/c/one", "1")
	create(t, b, "a/b/two", "2")
	if err := b.Delete(t.Context(), "a/b/c/one"); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"./", "a/", "a/b/", "a/b/two"}, files(t, root)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if err := b.Delete(t.Context(), "a/b/two"); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"./"}, files(t, root)); diff != "" {
		t.Errorf("the root has to stay (-want +got):\n%s", diff)
	}
}

// TestCreateBesideDelete: a directory that Delete finds empty may vanish under a Create.
func TestCreateBesideDelete(t *testing.T) {
	b, _ := open(t)
	done := make(chan error, 2)
	for _, name := range []string{"deep/er/one", "deep/er/two"} {
		go func() {
			var failed error
			for range 200 {
				_, err := b.Create(context.Background(), name, strings.NewReader(name))
				failed = errors.Join(failed, err, b.Delete(context.Background(), name))
			}
			done <- failed
		}()
	}
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func TestMissingRoot(t *testing.T) {
	root := filepath.Join(t.TempDir(), "not", "mounted")
	_, err := dir.Open(root, dir.Options{})
	if err == nil || !strings.Contains(err.Error(), root) || len(hint.Of(err)) == 0 {
		t.Fatalf("Open of a missing root: %v, hints %q", err, hint.Of(err))
	}
	if _, err := os.Lstat(root); !errors.Is(err, fs.ErrNotExist) {
		t.Fatal("Open made the root")
	}
	b, err := dir.Open(root, dir.Options{Create: true})
	if err != nil {
		t.Fatal(err)
	}
	create(t, b, "key", "text")
	if err := os.RemoveAll(root); err != nil { // unmounted while the daemon runs
		t.Fatal(err)
	}
	if _, err := b.Create(t.Context(), "key", strings.NewReader("text")); err == nil || len(hint.Of(err)) == 0 {
		t.Errorf("Create without the root: %v", err)
	}
	_, err = b.Stat(t.Context(), "key")
	if err == nil || errors.Is(err, storage.ErrNotExist) {
		t.Errorf("without the root an object is reported missing, which is more than is known: %v", err)
	}
	for _, err := range b.List(t.Context(), "") {
		if err == nil || errors.Is(err, storage.ErrNotExist) {
			t.Errorf("List without the root: %v", err)
		}
	}
}

func TestRootThatIsAFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, make := range []bool{false, true} {
		if _, err := dir.Open(file, dir.Options{Create: make}); err == nil || errors.Is(err, storage.ErrExists) || errors.Is(err, storage.ErrNotExist) {
			t.Errorf("Open of a file, create is %v: %v", make, err)
		}
	}
}

func TestForeignFilesAreNoObjects(t *testing.T) {
	b, root := open(t)
	create(t, b, "inside/object", "mine")
	outside := t.TempDir()
	for _, err := range []error{
		os.WriteFile(filepath.Join(outside, "secret"), []byte("secret"), 0o600),
		os.Symlink(filepath.Join(outside, "secret"), filepath.Join(root, "link-file")),
		os.Symlink(outside, filepath.Join(root, "link-dir")),
		os.Symlink("inside/object", filepath.Join(root, "link-inside")),
		os.Symlink("inside", filepath.Join(root, "link-inside-dir")),
		os.Symlink("../..", filepath.Join(root, "inside", "up")),
		os.WriteFile(filepath.Join(root, "ünïcode"), nil, 0o600),
		os.WriteFile(filepath.Join(root, storage.TempPrefix+"short"), nil, 0o600),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]string{"inside/object"}, keys(t, b)); diff != "" {
		t.Errorf("List (-want +got):\n%s", diff)
	}
	for _, prefix := range []string{"link-dir/", "link-inside-dir/", "inside/up/"} {
		for obj, err := range b.List(t.Context(), prefix) {
			t.Errorf("List %s yields %q, %v", prefix, obj.Key, err)
		}
	}
	for _, key := range []string{"link-file", "link-dir/secret", "link-inside", "inside/up/x", "link-dir"} {
		if r, err := b.Open(t.Context(), key, 0, -1); err == nil {
			t.Errorf("Open %s follows a symbolic link (close: %v)", key, r.Close())
		}
		if _, err := b.Stat(t.Context(), key); err == nil {
			t.Errorf("Stat %s follows a symbolic link", key)
		}
		if err := b.Delete(t.Context(), key); err == nil {
			t.Errorf("Delete %s follows a symbolic link", key)
		}
	}
	for _, key := range []string{"link-dir/new", "link-file", "inside/up/new"} {
		if _, err := b.Create(t.Context(), key, strings.NewReader("x")); err == nil {
			t.Errorf("Create %s goes through a symbolic link", key)
		}
	}
	if diff := cmp.Diff([]string{"./", "secret"}, files(t, outside)); diff != "" {
		t.Errorf("the directory outside was touched (-want +got):\n%s", diff)
	}
}

func TestKeyBelowAnObject(t *testing.T) {
	b, _ := open(t)
	create(t, b, "file", "x")
	_, err := b.Create(t.Context(), "file/below", strings.NewReader("y"))
	if err == nil || errors.Is(err, storage.ErrExists) || errors.Is(err, storage.ErrNotExist) {
		t.Errorf("Create below an object: %v", err)
	}
	create(t, b, "dir/below", "x")
	if _, err := b.Create(t.Context(), "dir", strings.NewReader("y")); !errors.Is(err, storage.ErrExists) {
		t.Errorf("Create where a directory is: %v", err)
	}
}

// blocking is a source that holds a Create open.
type blocking struct{ reached, release chan struct{} }

func (b *blocking) Read([]byte) (int, error) {
	close(b.reached)
	<-b.release
	return 0, io.EOF
}

func TestIncomplete(t *testing.T) {
	b, root := open(t)
	source := &blocking{reached: make(chan struct{}), release: make(chan struct{})}
	done := make(chan error)
	go func() {
		_, err := b.Create(t.Context(), "cluster/a/one", io.MultiReader(bytes.NewReader(make([]byte, 1000)), source))
		done <- err
	}()
	<-source.reached
	if got := keys(t, b); len(got) != 0 {
		t.Errorf("an unfinished object is listed: %q", got)
	}
	for prefix, want := range map[string]int{"": 1, "cluster/": 1, "cluster/a/o": 1, "cluster/a/one": 1, "cluster/a/two": 0, "cluster/b/": 0, "x": 0} {
		found, err := b.Incomplete(t.Context(), prefix)
		if err != nil || len(found) != want {
			t.Errorf("Incomplete %q: %v, %v, want %d", prefix, found, err, want)
		}
		for _, u := range found {
			if _, err := os.Lstat(filepath.Join(root, u.ID)); err != nil || u.Key != "cluster/a/one" || time.Since(u.Started).Abs() > time.Hour {
				t.Errorf("Incomplete %q: %+v, %v", prefix, u, err)
			}
		}
	}
	close(source.release)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if found, err := b.Incomplete(t.Context(), ""); err != nil || len(found) != 0 {
		t.Errorf("Incomplete after the end: %v, %v", found, err)
	}
	create(t, b, strings.Repeat("n", storage.MaxSegment), "the longest name has a temporary one too")
}

func TestFileTruncatedWhileRead(t *testing.T) {
	b, root := open(t)
	create(t, b, "key", strings.Repeat("x", 1000))
	r, err := b.Open(t.Context(), "key", 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := os.Truncate(filepath.Join(root, "key"), 500); err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, r); !errors.Is(err, io.ErrUnexpectedEOF) || n != 500 {
		t.Errorf("read %d bytes, %v", n, err)
	}
}

func TestParseURL(t *testing.T) {
	for url, want := range map[string]string{
		"file:///mnt/nas/drd": "/mnt/nas/drd", "file:///": "/", "file:///a/../b/": "/b", "file:///with%20space": "/with space",
		"file://host/path": "", "file:relative": "", "file://": "", "file:///a?b=c": "", "file:///a#b": "", "s3://a/b": "", "/a": "", "file://%zz": "",
	} {
		got, err := dir.ParseURL(url)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("ParseURL %s: %q, %v, want %q", url, got, err, want)
		}
	}
	b, root := open(t)
	if got, err := dir.ParseURL(b.Location()); err != nil || got != root {
		t.Errorf("the location %s does not lead back to %s: %q, %v", b.Location(), root, got, err)
	}
}
