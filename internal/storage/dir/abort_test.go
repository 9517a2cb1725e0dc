package dir_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/drd-project/drd/internal/storage"
)

// TestAbort: the temporary file goes, the writer fails, and nothing comes to stand under the key.
func TestAbort(t *testing.T) {
	b, root := open(t)
	create(t, b, "cluster/a/other", "stays")
	source := &blocking{reached: make(chan struct{}), release: make(chan struct{})}
	done := make(chan error)
	go func() {
		_, err := b.Create(t.Context(), "cluster/a/one", io.MultiReader(bytes.NewReader(make([]byte, 1000)), source))
		done <- err
	}()
	<-source.reached
	found, err := b.Incomplete(t.Context(), "cluster/")
	if err != nil || len(found) != 1 {
		t.Fatalf("%v, %v", found, err)
	}
	for _, wrong := range []storage.Upload{
		{Key: "cluster/a/other", ID: found[0].ID}, // of another object
		{Key: "cluster/a/other", ID: "cluster/a/other"},
		{Key: found[0].Key, ID: "../" + found[0].ID},
		{Key: found[0].Key},
	} {
		if err := b.Abort(t.Context(), wrong); !errors.Is(err, storage.ErrInvalidKey) {
			t.Errorf("Abort %+v: %v", wrong, err)
		}
	}
	if err := b.Abort(t.Context(), found[0]); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(filepath.Join(root, found[0].ID)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the temporary file: %v", err)
	}
	if err := b.Abort(t.Context(), found[0]); !errors.Is(err, storage.ErrNotExist) {
		t.Errorf("a second Abort: %v", err)
	}
	close(source.release)
	if err := <-done; err == nil {
		t.Error("the writer does not notice")
	}
	if got := keys(t, b); len(got) != 1 || got[0] != "cluster/a/other" {
		t.Errorf("listed are %q", got)
	}
}

// TestListBesideDelete: a directory that goes while it is listed is none.
func TestListBesideDelete(t *testing.T) {
	b, _ := open(t)
	create(t, b, "stays", "x")
	var writer sync.WaitGroup
	stop := make(chan struct{})
	writer.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			_, err := b.Create(t.Context(), "d/e/f", strings.NewReader("x"))
			if err = errors.Join(err, b.Delete(t.Context(), "d/e/f")); err != nil {
				t.Error(err)
			}
		}
	})
	for range 2000 {
		if got := keys(t, b); len(got) == 0 || got[len(got)-1] != "stays" {
			t.Errorf("listed are %q", got)
		}
	}
	close(stop)
	writer.Wait()
}
