package backup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/storage"
	"github.com/drd-project/drd/internal/storage/dir"
)

// maxUnsent is how many snapshots wait in the spool for a target at most: a target that is dead for a
// week must not fill the disk that etcd may share.
const maxUnsent = 3

// spool is the local directory through which every object goes. It is laid out as a repository, so that what is
// left in it can be listed and restored like anything else.
type spool struct {
	dir, work string
	repo      *repo.Repository
}

// openSpool makes the directories.
func openSpool(path, work, cluster string) (*spool, error) {
	for _, d := range []string{path, work} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, fmt.Errorf("open the spool: %w", err)
		}
	}
	bucket, err := dir.Open(path, dir.Options{})
	if err != nil {
		return nil, fmt.Errorf("open the spool: %w", err)
	}
	r, err := repo.Open(bucket, cluster)
	if err != nil {
		return nil, fmt.Errorf("open the spool: %w", err)
	}
	return &spool{dir: path, work: work, repo: r}, nil
}

// sweep removes what a killed process left: sealed objects under temporary names, and payloads without a manifest. It
// needs the lock, for both also belong to a snapshot that is being taken.
func (s *spool) sweep(ctx context.Context) error {
	temps, err := filepath.Glob(filepath.Join(s.dir, storage.TempPrefix+"*"))
	if err != nil {
		return fmt.Errorf("sweep the spool: %w", err)
	}
	for _, t := range temps {
		if err := os.Remove(t); err != nil {
			return fmt.Errorf("sweep the spool: %w", err)
		}
	}
	c, err := s.repo.Catalogue(ctx, nil)
	if err != nil {
		return fmt.Errorf("sweep the spool: %w", err)
	}
	for _, e := range c.Entries {
		if e.State != repo.StateIncomplete {
			continue
		}
		if err := s.remove(e.ID); err != nil {
			return err
		}
	}
	return nil
}

// place moves a sealed object from its temporary name to the one it has in a repository. There is no manifest yet.
func (s *spool) place(temp string, id repo.ID, name string) (string, error) {
	path := filepath.Join(s.dir, filepath.FromSlash(s.repo.PayloadKey(id, name)))
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return "", fmt.Errorf("spool %s: %w", id, err)
	}
	// Link and not rename: it refuses a name that is taken. The temporary name goes with the capture.
	if err := os.Link(temp, path); err != nil {
		return "", fmt.Errorf("spool %s: %w", id, err)
	}
	return path, nil
}

func (s *spool) commit(ctx context.Context, signed *repo.Signed) error {
	if err := s.repo.Commit(ctx, signed); err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	return nil
}

// remove deletes one snapshot, its manifest first, so that it never lists without its payload.
func (s *spool) remove(id repo.ID) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second) // also when the backup was interrupted
	defer cancel()
	keys := []string{s.repo.ManifestKey(id), s.repo.SignatureKey(id)}
	for o, err := range s.repo.Bucket().List(ctx, filepath.ToSlash(filepath.Dir(s.repo.ManifestKey(id)))+"/") {
		if err != nil {
			return fmt.Errorf("remove %s from the spool: %w", id, err)
		}
		if !slices.Contains(keys, o.Key) {
			keys = append(keys, o.Key)
		}
	}
	for _, key := range keys {
		if err := s.repo.Bucket().Delete(ctx, key); err != nil && !errors.Is(err, storage.ErrNotExist) {
			return fmt.Errorf("remove %s from the spool: %w", id, err)
		}
	}
	return nil
}

// trim drops the oldest snapshots beyond maxUnsent, and names them.
func (s *spool) trim(ctx context.Context) ([]repo.ID, error) {
	c, err := s.repo.Catalogue(ctx, nil)
	if err != nil {
		return nil, err
	}
	var dropped []repo.ID
	for _, e := range c.Entries[:max(0, len(c.Entries)-maxUnsent)] {
		if err := s.remove(e.ID); err != nil {
			return dropped, err
		}
		dropped = append(dropped, e.ID)
	}
	return dropped, nil
}
