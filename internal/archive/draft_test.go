package archive

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/drd-project/drd/internal/mvcc"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/seal"
	"github.com/drd-project/drd/internal/seal/sealtest"
)

var facts = Facts{
	Cluster: "prod-east", EtcdClusterID: "cdf8", Timeline: line, Member: repo.Member{ID: "8e9e", Name: "node-1"},
	From: instant(0), To: instant(1), CompactRevision: -1, Build: repo.Build{Version: "test"},
}

func files(t *testing.T, dir string) (names []string) {
	t.Helper()
	found, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range found {
		names = append(names, f.Name())
	}
	return names
}

func TestDraft(t *testing.T) {
	keys := sealtest.New(t)
	work := t.TempDir()
	d, err := Begin(work, keys.Recipients, 21)
	if err != nil {
		t.Fatal(err)
	}
	d.Stamp(instant(0))
	appendAll(t, d.Writer, put(21, 0, "k", "secret value", 0), put(22, 0, "k", "", 0))
	s, err := d.Finish(facts)
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(s.Path)
	if err != nil {
		t.Fatal(err)
	}
	g := s.Segment
	if g.First != 21 || g.Last != 22 || g.Events != 2 || g.Object.Size != int64(len(content)) || g.LastRevisionSHA256 == "" ||
		g.Object.Recipients[0] != keys.Recipients.Fingerprints()[0] {
		t.Errorf("described as %+v", g)
	}
	if strings.Contains(string(content), "secret value") {
		t.Error("plaintext is on the disk")
	}
	if info, err := os.Stat(s.Path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	file, err := s.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	plain, err := seal.Default().Open(file, []age.Identity{s.Key.Identity()}) // the retained key opens it
	if err != nil {
		t.Fatal(err)
	}
	if records, err := readAll(plain); err != nil || len(records) != 3 {
		t.Errorf("%d records, %v", len(records), err)
	}
	if err := s.Remove(); err != nil || len(files(t, work)) != 0 {
		t.Errorf("left behind: %v, %v", files(t, work), err)
	}
}

func TestDraftThatFailsLeavesNothing(t *testing.T) {
	keys := sealtest.New(t)
	for name, use := range map[string]func(d *Draft) error{
		"discarded": func(d *Draft) error {
			if err := d.Discard(); err != nil {
				t.Error(err)
			}
			return os.ErrClosed
		},
		"a gap": func(d *Draft) error {
			d.Stamp(instant(0))
			_ = d.Append(put(23, 0, "k", "", 0)) // Finish tells
			_, err := d.Finish(facts)
			return err
		},
		"facts that cannot be": func(d *Draft) error {
			wrong := facts
			wrong.To = wrong.From.Add(-time.Second)
			_, err := d.Finish(wrong)
			return err
		},
		"a disk that fails": func(d *Draft) error {
			if err := d.file.Close(); err != nil {
				t.Fatal(err)
			}
			_, err := d.Finish(facts)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			work := t.TempDir()
			d, err := Begin(work, keys.Recipients, 21)
			if err != nil {
				t.Fatal(err)
			}
			if use(d) == nil || len(files(t, work)) != 0 {
				t.Errorf("left behind: %v", files(t, work))
			}
		})
	}
	if _, err := Begin(filepath.Join(t.TempDir(), "none"), keys.Recipients, 21); err == nil {
		t.Error("begun in a directory that is not there")
	}
	work := t.TempDir()
	if _, err := Begin(work, nil, 21); err == nil || len(files(t, work)) != 0 {
		t.Errorf("sealed for nobody: %v, %v", err, files(t, work))
	}
}

func TestSilence(t *testing.T) {
	keys := sealtest.New(t)
	d, err := Begin(t.TempDir(), keys.Recipients, 21)
	if err != nil {
		t.Fatal(err)
	}
	d.Stamp(instant(0)) // says nothing when nothing follows
	said := facts
	said.LastRevisionSHA256 = revisionSHA256(lastRevision([]mvcc.Entry{put(20, 0, "k", "", 0)}))
	s, err := d.Finish(said)
	if err != nil {
		t.Fatal(err)
	}
	if g := s.Segment; !g.Silence() || g.Last != 20 || g.Events != 0 || g.LastRevisionSHA256 != said.LastRevisionSHA256 {
		t.Errorf("described as %+v", g)
	}
	if _, err := repo.SignSegment(s.Segment, keys.Signer); err != nil {
		t.Error(err)
	}
}

func TestOpenRefuses(t *testing.T) {
	_, entries := history20(t)
	l := newLibrary(t, nil)
	l.put(l.seal(21, 30, entries))
	segment := l.history().segments[0].Segment
	if _, err := Open(t.Context(), l.Repository, segment, sealtest.New(t).Identities); !errors.Is(err, seal.ErrNoIdentity) {
		t.Errorf("somebody else's identity: %v", err)
	}
	for name, change := range map[string]func(s *repo.Segment){
		"another plain content": func(s *repo.Segment) { s.Plain.SHA256 = strings.Repeat("0", 64) },
		"another plain size":    func(s *repo.Segment) { s.Plain.Size++ },
		"another object":        func(s *repo.Segment) { s.Object.SHA256 = s.Object.SHA256[:63] + "x" },
		"another cluster":       func(s *repo.Segment) { s.Cluster = "other" },
		"another envelope":      func(s *repo.Segment) { s.Object.Envelope = "rot13" },
	} {
		t.Run(name, func(t *testing.T) {
			other := *segment
			change(&other)
			r, err := Open(t.Context(), l.Repository, &other, l.keys.Identities)
			if err == nil {
				_, err = io.Copy(io.Discard, r)
				if closeErr := r.Close(); closeErr != nil {
					t.Error(closeErr)
				}
			}
			if err == nil {
				t.Error("it was read as if it were whole")
			}
		})
	}
	same := *segment
	digit := "0"
	if strings.HasSuffix(same.Object.SHA256, digit) {
		digit = "1"
	}
	same.Object.SHA256 = same.Object.SHA256[:63] + digit
	r, err := Open(t.Context(), l.Repository, &same, l.keys.Identities)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := io.Copy(io.Discard, r); !errors.Is(err, repo.ErrDamaged) {
		t.Errorf("an object of another hash: %v", err)
	}
}
