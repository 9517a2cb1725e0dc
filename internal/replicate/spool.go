package replicate

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/storage"
	"github.com/drd-project/drd/internal/storage/dir"
)

// removeTimeout bounds the removal of a snapshot or segment, which must also work while the program ends.
const removeTimeout = 30 * time.Second

// errGone is wrapped for a snapshot or segment that is not in the spool, or not whole. Somebody else removed it.
var errGone = errors.New("not in the spool")

// spool is the local directory through which every object goes. It is laid out as a repository, so that what is
// left in it can be listed and restored like anything else.
type spool struct {
	root string
	repo *repo.Repository
}

// entry is a snapshot in the spool, with its manifest.
type entry struct {
	id   repo.ID
	size int64 // bytes of all its files
}

func sizeOf(entries []entry) (total int64) {
	for _, e := range entries {
		total += e.size
	}
	return total
}

// openSpool makes the directory. wrap is put around its bucket.
func openSpool(root, cluster string, wrap func(storage.Bucket) storage.Bucket) (*spool, error) {
	bucket, err := dir.Open(root, dir.Options{Create: true})
	if err != nil {
		return nil, fmt.Errorf("open the spool: %w", err)
	}
	r, err := repo.Open(wrap(bucket), cluster)
	if err != nil {
		return nil, fmt.Errorf("open the spool: %w", err)
	}
	return &spool{root: root, repo: r}, nil
}

func (s *spool) path(key string) string { return filepath.Join(s.root, filepath.FromSlash(key)) }

// home is the directory of one snapshot.
func (s *spool) home(id repo.ID) string { return filepath.Dir(s.path(s.repo.ManifestKey(id))) }

// all lists the snapshots of which anything is there, ascending.
func (s *spool) all() ([]repo.ID, error) {
	found, err := os.ReadDir(filepath.Dir(s.home(repo.ID{})))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list the spool: %w", err)
	}
	var ids []repo.ID
	for _, e := range found {
		if id, err := repo.ParseID(e.Name()); err == nil && e.IsDir() {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, repo.ID.Compare)
	return ids, nil
}

// entries lists what is enqueued, ascending.
func (s *spool) entries() ([]entry, error) {
	ids, err := s.all()
	if err != nil {
		return nil, err
	}
	var found []entry
	for _, id := range ids {
		has, err := s.has(snapshotRef(id))
		if err != nil {
			return nil, err
		}
		if has {
			found = append(found, entry{id, s.size(id)})
		}
	}
	return found, nil
}

// has says whether a snapshot or segment is enqueued.
func (s *spool) has(r ref) (bool, error) {
	_, err := os.Lstat(s.path(r.recordKey(s.repo)))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look into the spool: %w", err)
	}
	return true, nil
}

// size counts what is there now; files that go meanwhile count nothing.
func (s *spool) size(id repo.ID) int64 {
	var total int64
	files, _ := os.ReadDir(s.home(id)) // gone, or as good as gone
	for _, f := range files {
		if info, err := f.Info(); err == nil {
			total += info.Size()
		}
	}
	return total
}

// item is what the spool has of a snapshot or a segment: all that a target needs.
type item struct {
	ref
	Payload
	key      string              // of the payload, in any repository
	snapshot *repo.Signed        // of one
	segment  *repo.SignedSegment // or of the other
	until    time.Time           // the captured past ends here
}

// load reads an item. A manifest or a payload that is not there, or not whole, is an error wrapping errGone.
func (s *spool) load(r ref) (*item, error) {
	it, err := s.read(r)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, repo.ErrDamaged) {
			err = errGone
		}
		return nil, fmt.Errorf("read %s: %w", r, err)
	}
	info, err := os.Stat(it.Path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() != it.Size {
		err = errGone
	}
	if err != nil {
		return nil, fmt.Errorf("payload of %s: %w", r, err)
	}
	return it, nil
}

// read reads the manifest of an item.
func (s *spool) read(r ref) (*item, error) {
	it, object := &item{ref: r}, repo.Object{}
	var err error
	if r.isSegment() {
		if it.segment, err = s.signedSegment(r.segment); err != nil {
			return nil, err
		}
		seg := it.segment.Segment
		object, it.key, it.until = seg.Object, s.repo.SegmentPayloadKey(seg), seg.To
	} else {
		if it.snapshot, err = s.signed(r.id); err != nil {
			return nil, err
		}
		object, it.until = it.snapshot.Manifest.Object, r.id.Time
		it.key = s.repo.PayloadKey(r.id, object.Name)
	}
	it.Payload = Payload{ID: r.id, Name: object.Name, Path: s.path(it.key), Size: object.Size, SHA256: object.SHA256}
	return it, nil
}

func (s *spool) signed(id repo.ID) (*repo.Signed, error) {
	b, err := os.ReadFile(s.path(s.repo.ManifestKey(id)))
	if err != nil {
		return nil, err
	}
	m, err := repo.DecodeManifest(b)
	if errors.Is(err, repo.ErrNewerFormat) { // by a later drd, which this one followed: it is good
		return nil, err
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", repo.ErrDamaged, err)
	}
	signature, err := os.ReadFile(s.path(s.repo.SignatureKey(id)))
	if err != nil {
		return nil, err
	}
	return &repo.Signed{Manifest: m, Bytes: b, Signature: signature}, nil
}

// place moves a sealed object from its temporary name to the one it has in a repository. There is no manifest yet.
func (s *spool) place(temp string, id repo.ID, name string) (string, error) {
	path := s.path(s.repo.PayloadKey(id, name))
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return "", fmt.Errorf("spool %s: %w", id, err)
	}
	// Link and not rename: it refuses a name that is taken. The temporary name goes with the capture.
	if err := os.Link(temp, path); err != nil {
		return "", fmt.Errorf("spool %s: %w", id, err)
	}
	return path, nil
}

// commit makes the snapshot an entry. The write of the manifest also makes the payload's name durable: they are in one
// directory.
func (s *spool) commit(ctx context.Context, signed *repo.Signed) error {
	if err := s.repo.Commit(ctx, signed); err != nil {
		return hint.New(fmt.Errorf("spool: %w", err), "look at the disk of state_dir: `df -h`, `df -i`, `dmesg`")
	}
	return nil
}

// remove deletes a snapshot or segment, its manifest first, so that it never lists without its payload. What is gone
// already is no error.
func (s *spool) remove(r ref) error {
	ctx, cancel := context.WithTimeout(context.Background(), removeTimeout)
	defer cancel()
	rest, err := s.rest(r)
	if err == nil {
		err = s.repo.Bucket().Delete(ctx, r.recordKey(s.repo))
		if errors.Is(err, storage.ErrNotExist) {
			err = nil
		}
	}
	for _, path := range rest {
		if err == nil {
			err = os.RemoveAll(path)
		}
	}
	if err != nil {
		return fmt.Errorf("remove %s from the spool: %w", r, err)
	}
	return nil
}

// rest is where all but the manifest is.
func (s *spool) rest(r ref) ([]string, error) {
	if r.isSegment() {
		return s.segmentPayloads(r.segment)
	}
	return []string{s.home(r.id)}, nil
}

// sweep removes what a killed capture left: sealed objects under temporary names, and payloads without a manifest.
// Both also belong to a capture under way, so only who may capture may sweep.
func (s *spool) sweep() error {
	if err := removeTemps(s.root); err != nil {
		return err
	}
	ids, err := s.all()
	if err != nil {
		return err
	}
	for _, id := range ids {
		has, err := s.has(snapshotRef(id))
		switch {
		case err != nil:
		case has:
			err = removeTemps(s.home(id)) // killed just after its commit
		default:
			err = s.remove(snapshotRef(id))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func removeTemps(dir string) error {
	temps, err := filepath.Glob(filepath.Join(dir, storage.TempPrefix+"*"))
	if err != nil {
		return fmt.Errorf("sweep the spool: %w", err)
	}
	for _, t := range temps {
		if err := os.Remove(t); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("sweep the spool: %w", err)
		}
	}
	return nil
}
