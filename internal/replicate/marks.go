package replicate

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/storage"
	"github.com/drd-project/drd/internal/storage/dir"
)

// verdict is how the replication of one snapshot or segment to one target ended for good.
type verdict string

const (
	done       verdict = "done"       // the target has a proved copy
	damaged    verdict = "damaged"    // the target has a copy that is not what was sent, and cannot be overwritten
	conflict   verdict = "conflict"   // the target had something else under the same name
	superseded verdict = "superseded" // damaged, and the target has a proved copy of a newer snapshot
)

// failedSuffix follows the rest in the name of a mark that says damaged or conflict.
const failedSuffix = ".failed"

// mark is the file that remembers a verdict: <target>/<id> of a snapshot, <target>/archive/<timeline>/<name> of a segment, or
// the same with .failed. It counts only for the very
// object and place it names, so that a target that was given another bucket starts anew.
type mark struct {
	Verdict  verdict   `json:"verdict"`
	At       time.Time `json:"at"`
	Location string    `json:"location"`
	SHA256   string    `json:"sha256"`           // of the sealed object
	Proved   Proof     `json:"proved,omitempty"` // how, if done
	Error    string    `json:"error,omitempty"`
}

// of compares; sha256 is "" where the object cannot be told any more.
func (m mark) of(location, sha256 string) bool {
	return m.Location == location && (m.SHA256 == sha256 || sha256 == "")
}

// marks are all of them. They are kept in a write-once bucket because that is how a file is written here that a crash
// cannot tear.
type marks struct {
	root   string
	bucket storage.Bucket
	names  *repo.Repository // for its grammar
}

// marksDir is where a queue remembers what became of its snapshots.
func marksDir(stateDir string) string { return filepath.Join(stateDir, "replication") }

func openMarks(root string, names *repo.Repository, wrap func(storage.Bucket) storage.Bucket) (*marks, error) {
	b, err := dir.Open(root, dir.Options{Create: true})
	if err != nil {
		return nil, fmt.Errorf("open the replication's state: %w", err)
	}
	return &marks{root, wrap(b), names}, nil
}

func markKey(target string, r ref, v verdict) string {
	key := target + "/" + r.mark()
	if v == damaged || v == conflict {
		key += failedSuffix
	}
	return key
}

// put writes a mark. One that is there for another object or place is replaced.
func (s *marks) put(ctx context.Context, target string, r ref, m mark) error {
	b, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("mark %s for %s: %w", r, target, err)
	}
	key := markKey(target, r, m.Verdict)
	_, err = s.bucket.Create(ctx, key, bytes.NewReader(append(b, '\n')))
	if errors.Is(err, storage.ErrExists) {
		if there, ok := s.read(key); ok && there.of(m.Location, m.SHA256) {
			return nil
		}
		if err = s.delete(ctx, key); err == nil {
			_, err = s.bucket.Create(ctx, key, bytes.NewReader(append(b, '\n')))
		}
	}
	if err != nil {
		return fmt.Errorf("mark %s for %s: %w", r, target, err)
	}
	return nil
}

// get returns the verdict on an object, "" if there is none yet. A mark that cannot be read is none: then the work is
// done again. sha256 is asked only where there is a mark.
func (s *marks) get(target string, r ref, location string, sha256 func() string) verdict {
	for _, v := range []verdict{done, damaged} {
		if m, ok := s.read(markKey(target, r, v)); ok && m.of(location, sha256()) {
			return m.Verdict
		}
	}
	return ""
}

// forget deletes the marks of a snapshot or segment for all targets, configured or not.
func (s *marks) forget(ctx context.Context, r ref) error {
	targets, err := os.ReadDir(s.root)
	if err != nil {
		return fmt.Errorf("forget the marks of %s: %w", r, err)
	}
	for _, t := range targets {
		if !t.IsDir() {
			continue
		}
		if err := s.delete(ctx, markKey(t.Name(), r, done), markKey(t.Name(), r, damaged)); err != nil {
			return err
		}
	}
	return nil
}

// failed is what a target has a mark of that says damaged or conflict.
func (s *marks) failed(target string) ([]ref, error) {
	var refs []ref
	for _, pattern := range []string{"*", segmentMarks + "*/*"} {
		found, err := filepath.Glob(filepath.Join(s.root, target, pattern+failedSuffix))
		if err != nil {
			return nil, fmt.Errorf("list the marks of %s: %w", target, err)
		}
		for _, path := range found {
			name, err := filepath.Rel(filepath.Join(s.root, target), path)
			if r, ok := parseMark(s.names, filepath.ToSlash(name)); err == nil && ok {
				refs = append(refs, r)
			}
		}
	}
	return refs, nil
}

func (s *marks) read(key string) (m mark, ok bool) {
	b, err := os.ReadFile(filepath.Join(s.root, filepath.FromSlash(key)))
	if err != nil || json.Unmarshal(b, &m) != nil {
		return mark{}, false
	}
	return m, true
}

// all is what has a mark of any target, configured or not, with the keys of its marks.
func (s *marks) all(ctx context.Context) (map[ref][]string, error) {
	keys := make(map[ref][]string)
	for o, err := range s.bucket.List(ctx, "") {
		if err != nil {
			return nil, fmt.Errorf("list the replication's state: %w", err)
		}
		_, name, _ := strings.Cut(o.Key, "/")
		if r, ok := parseMark(s.names, name); ok {
			keys[r] = append(keys[r], o.Key)
		}
	}
	return keys, nil
}

func (s *marks) delete(ctx context.Context, keys ...string) error {
	for _, key := range keys {
		if err := s.bucket.Delete(ctx, key); err != nil && !errors.Is(err, storage.ErrNotExist) {
			return fmt.Errorf("forget a mark: %w", err)
		}
	}
	return nil
}

// sweep removes what a killed process left of a mark of this target: of a snapshot's, or of a segment's. The lock of that lane
// must be held.
func (s *marks) sweep(target string, segments bool) error {
	homes := []string{filepath.Join(s.root, target)}
	if segments {
		var err error
		if homes, err = filepath.Glob(filepath.Join(homes[0], segmentMarks+"*")); err != nil {
			return fmt.Errorf("sweep the replication's state: %w", err)
		}
	}
	for _, home := range homes {
		if err := removeTemps(home); err != nil {
			return fmt.Errorf("sweep the replication's state: %w", err)
		}
	}
	return nil
}
