package archive

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	bolt "go.etcd.io/bbolt"

	"github.com/drd-project/drd/internal/mvcc"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/seal/sealtest"
)

// TestDamage breaks one thing at a time. None of it may pass for a restore, and each says what it is.
func TestDamage(t *testing.T) {
	for name, tc := range map[string]struct {
		prepare func(l *library, entries []mvcc.Entry)
		damage  func(l *library, payload, record string) // of revisions 31 to 40
		chain   bool                                     // there is no chain any more: the listing found it out
		want    error
		text    string
	}{
		"a flipped bit in the payload": {
			damage: func(l *library, payload, _ string) {
				l.change(payload, func(b []byte) []byte { b[len(b)-20] ^= 1; return b })
			},
			want: repo.ErrDamaged, text: "0000000000000000031-0000000000000000040",
		},
		"a payload cut short": {
			damage: func(l *library, payload, _ string) { l.change(payload, func(b []byte) []byte { return b[:len(b)-20] }) },
			chain:  true, text: "revisions 31 to 40 are missing",
		},
		"a payload that is gone": {
			damage: func(l *library, payload, _ string) { l.remove(payload) },
			chain:  true, text: "revisions 31 to 40 are missing",
		},
		"a segment that is gone": {
			damage: func(l *library, payload, record string) { l.remove(payload); l.remove(record) },
			chain:  true, text: "revisions 31 to 40 are missing",
		},
		"a changed manifest": {
			damage: func(l *library, _, record string) {
				l.change(record, func(b []byte) []byte { return bytes.Replace(b, []byte(`"node-1"`), []byte(`"node-2"`), 1) })
			},
			chain: true, text: "revisions 31 to 40 are missing",
		},
		"another signer": {
			damage: func(l *library, _, record string) {
				forged := sealtest.New(l.t)
				l.change(record, func(b []byte) []byte {
					manifest, _ := repo.SplitSegmentRecord(b)
					signature, err := forged.Signer.Sign(manifest)
					if err != nil {
						l.t.Fatal(err)
					}
					return append(bytes.Clone(manifest), signature...)
				})
			},
			chain: true, text: "revisions 31 to 40 are missing",
		},
		"moved to this timeline from another": {
			damage: func(l *library, payload, record string) {
				other := filepath.Join(l.root, "prod-east", "archive", "00000000000000b2")
				if err := os.MkdirAll(other, 0o700); err != nil {
					l.t.Fatal(err)
				}
				for _, path := range []string{payload, record} {
					if err := os.Rename(path, filepath.Join(other, filepath.Base(path))); err != nil {
						l.t.Fatal(err)
					}
				}
			},
			chain: true, text: "revisions 31 to 40 are missing",
		},
		"two truths of one revision": {
			prepare: func(l *library, entries []mvcc.Entry) {
				forked := append([]mvcc.Entry(nil), entries...)
				for i, e := range forked {
					if e.Main == 30 && e.Sub == 0 {
						forked[i] = put(30, 0, "k", "other", 0)
					}
				}
				l.put(l.seal(29, 40, forked))
			},
			damage: func(l *library, payload, record string) { l.remove(payload); l.remove(record) },
			want:   ErrFork, text: "revision 30.0 differs",
		},
		"a revision with more in it": {
			prepare: func(l *library, entries []mvcc.Entry) {
				var fewer []mvcc.Entry
				for _, e := range entries {
					if e.Main != 30 || e.Sub != 1 {
						fewer = append(fewer, e)
					}
				}
				l.put(l.seal(28, 40, fewer))
			},
			damage: func(l *library, payload, record string) { l.remove(payload); l.remove(record) },
			want:   ErrFork, text: "revision 30.1 is missing",
		},
		"another history than the snapshot's": {
			prepare: func(l *library, entries []mvcc.Entry) {
				forked := append([]mvcc.Entry(nil), entries...)
				forked[18] = del(20, 0, "k")
				l.put(l.seal(15, 50, forked))
			},
			want: ErrFork, text: "revision 20.0t differs",
		},
		"a manifest that says more than the payload": {
			prepare: func(l *library, entries []mvcc.Entry) {
				s := l.seal(21, 50, entries)
				s.Segment.Last += 5
				s.Segment.Events += 10
				s.Segment.Object.Name = s.Segment.Name().String() + ".zst.age"
				l.put(s)
			},
			want: repo.ErrDamaged, text: "recorded are",
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, entries := history20(t)
			l := newLibrary(t, nil)
			for first := int64(21); first <= 60; first += 10 {
				l.put(l.seal(first, first+9, entries))
			}
			h := l.history(s)
			if _, err := l.apply(h, s, 50); err != nil {
				t.Fatalf("before: %v", err)
			}
			if tc.prepare != nil {
				tc.prepare(l, entries)
			}
			if tc.damage != nil {
				payload, record := l.paths(31)
				tc.damage(l, payload, record)
			}
			out, err := l.apply(l.history(s), s, 50)
			var gone *Unreachable
			if err == nil || !strings.Contains(err.Error(), tc.text) || errors.As(err, &gone) != tc.chain {
				t.Fatalf("%+v, %v, want %q", out, err, tc.text)
			}
			if tc.want != nil && !errors.Is(err, tc.want) {
				t.Errorf("%v is no %v", err, tc.want)
			}
			var of *SegmentError
			if errors.As(err, &of) == tc.chain {
				t.Errorf("the segment is not named: %v", err)
			}
		})
	}
}

func (l *library) apply(h *History, s *store, revision int64) (*Replayed, error) {
	l.t.Helper()
	c, err := h.AtRevision(revision)
	if err != nil {
		return nil, err
	}
	return c.Apply(l.t.Context(), s.scratch(l.t), revision, l.open)
}

// paths are the files of the segment that begins with a revision.
func (l *library) paths(first int64) (payload, record string) {
	l.t.Helper()
	list, err := l.ListSegments(l.t.Context(), repo.SegmentQuery{}, l.keys.Trust)
	if err != nil {
		l.t.Fatal(err)
	}
	for _, e := range list.Entries {
		if e.Name.First == first {
			return filepath.Join(l.root, filepath.FromSlash(e.Payload.Key)), filepath.Join(l.root, filepath.FromSlash(e.Record.Key))
		}
	}
	l.t.Fatalf("no segment from revision %d", first)
	return "", ""
}

func (l *library) change(path string, change func([]byte) []byte) {
	l.t.Helper()
	content, err := os.ReadFile(path)
	if err == nil {
		l.remove(path)
		err = os.WriteFile(path, change(content), 0o600)
	}
	if err != nil {
		l.t.Fatal(err)
	}
}

func (l *library) remove(path string) {
	l.t.Helper()
	if err := os.Remove(path); err != nil {
		l.t.Fatal(err)
	}
}

// A damaged segment is left out, and another writer's takes its place.
func TestAnotherWriterHelps(t *testing.T) {
	s, entries := history20(t)
	l := newLibrary(t, nil)
	l.put(l.seal(21, 60, entries))
	for first := int64(21); first <= 60; first += 10 {
		l.put(l.seal(first, first+9, entries))
	}
	path, _ := l.paths(21)
	h := l.history(s)
	for _, e := range h.segments {
		if e.Segment.Last == 60 && e.Segment.First == 21 {
			path = filepath.Join(l.root, filepath.FromSlash(e.Payload.Key))
		}
	}
	l.change(path, func(b []byte) []byte { b[len(b)/2] ^= 1; return b })
	_, err := l.apply(h, s, 60)
	var of *SegmentError
	if !errors.As(err, &of) {
		t.Fatalf("the damage was not found: %v", err)
	}
	out, err := l.apply(h.Without(of.Name.String()), s, 60)
	if err != nil || out.Revision != 60 || out.Applied != 80 {
		t.Errorf("%+v, %v", out, err)
	}
}

// made is a store with a made-up history of revisions 2 to last, one change each, in which nothing was compacted.
func made(t testing.TB, last int64) (*store, []mvcc.Entry) {
	t.Helper()
	s := &store{path: filepath.Join(t.TempDir(), "db"), Entry: snap(-1, last, 0)}
	db, err := bolt.Open(s.path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var entries []mvcc.Entry
	err = db.Update(func(tx *bolt.Tx) error {
		b, err := tx.CreateBucket(mvcc.Bucket)
		for r := int64(2); r <= last && err == nil; r++ {
			entries = append(entries, put(r, 0, "k", "v", 0))
			err = b.Put(entries[r-2].AppendKey(nil), entries[r-2].Value)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return s, entries
}

// history20 is a store at revision 20, and the changes up to revision 60.
func history20(t *testing.T) (*store, []mvcc.Entry) {
	t.Helper()
	s, entries := made(t, 20)
	for r := int64(21); r <= 60; r++ {
		entries = append(entries, put(r, 0, "k", "v", 0), put(r, 1, "l", "v", 0))
	}
	return s, entries
}
