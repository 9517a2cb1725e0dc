// Package repo is the repository: which object lies under which key, what a manifest says, and
// what of all that can be restored.
//
// A snapshot is three objects under one identifier: the sealed payload, a signature, and the
// manifest that the signature covers. They are written in that order and never changed. The
// manifest is the commit record: whoever finds it finds a whole backup, and objects without one
// are litter. There is no index, no lock and no mutable state, so a repository fits into a bucket
// that nobody can rewrite, several nodes write to it without talking to each other, and a lost
// writer leaves nothing to repair. The price is that the only way to know what is there is to
// look: a Catalogue is what one look found, with every broken entry named and none of them able
// to hide the others.
//
// The package knows storage and seal, and nothing of etcd: revisions, hashes and cluster IDs are
// numbers that it records and compares. docs/format.md specifies the layout for other readers.
package repo

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/storage"
)

var (
	// ErrConflict is wrapped when a key holds other content than what should be stored there.
	// Nothing was overwritten: the stored object and the caller's copy both still exist.
	ErrConflict = errors.New("exists already with other content")
	// ErrDamaged is wrapped when content that was read whole is not what its manifest records.
	ErrDamaged = errors.New("content differs from what was recorded")
	// ErrVanished is wrapped when the record that commits a snapshot or a segment was stored, and was gone when it was read back:
	// somebody has removed it, who may have been done with it.
	ErrVanished = errors.New("gone when it was read back")
	// ErrNothing is wrapped when no snapshot answers a request.
	ErrNothing = errors.New("nothing to restore")
	// ErrNewerFormat is wrapped for a manifest of a later format than ManifestFormat.
	ErrNewerFormat = errors.New("manifest format is newer than this drd")
)

const (
	snapshotsDir  = "snapshots"
	manifestName  = "manifest.json"
	signatureName = manifestName + ".sig"
)

// clusterScan bounds how many keys Clusters lists: ten pages of an S3 listing.
const clusterScan = 10_000

var clusterName = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,62}$`)

// ValidClusterName says why a name cannot name a cluster: 1 to 63 of a-z, 0-9, dot, underscore and
// hyphen, beginning with a letter or digit, without two dots in a row. The name is a directory of
// every target, which is why it is so narrow.
func ValidClusterName(name string) error {
	if clusterName.MatchString(name) && !strings.Contains(name, "..") {
		return nil
	}
	return hint.New(fmt.Errorf("cluster name %.80q is not valid", name),
		"use 1 to 63 of a-z, 0-9, '.', '_', '-', beginning with a letter or digit, without two dots in a row")
}

// Repository is the part of one bucket that belongs to one cluster. It is safe for concurrent use.
type Repository struct {
	bucket  storage.Bucket
	cluster string
}

// Open returns the repository of a cluster in a bucket. It touches nothing: a repository begins
// to exist with its first object.
func Open(b storage.Bucket, cluster string) (*Repository, error) {
	if err := ValidClusterName(cluster); err != nil {
		return nil, err
	}
	return &Repository{bucket: b, cluster: cluster}, nil
}

// Cluster is the name the repository was opened with.
func (r *Repository) Cluster() string { return r.cluster }

// Bucket is the bucket below.
func (r *Repository) Bucket() storage.Bucket { return r.bucket }

// PayloadKey is the key of a snapshot's sealed content; name is Manifest.Object.Name.
func (r *Repository) PayloadKey(id ID, name string) string { return r.key(id, name) }

// ManifestKey is the key of a snapshot's manifest.
func (r *Repository) ManifestKey(id ID) string { return r.key(id, manifestName) }

// SignatureKey is the key of the signature over a snapshot's manifest.
func (r *Repository) SignatureKey(id ID) string { return r.key(id, signatureName) }

func (r *Repository) key(id ID, name string) string {
	return r.snapshots() + id.String() + "/" + name
}

func (r *Repository) snapshots() string { return r.cluster + "/" + snapshotsDir + "/" }

// Clusters names clusters that have snapshots in the bucket, in order. A bucket cannot list directories
// only, so it looks at the first 10,000 keys and no further: a name it returns is there; complete says whether the
// bucket ended before that, so that there are no others.
func Clusters(ctx context.Context, b storage.Bucket) (names []string, complete bool, err error) {
	scanned, last := 0, ""
	for o, err := range b.List(ctx, "") {
		if err != nil {
			return nil, false, fmt.Errorf("list clusters in %s: %w", b.Location(), err)
		}
		if scanned++; scanned > clusterScan {
			return names, false, nil
		}
		name, _, isDir := strings.Cut(o.Key, "/")
		if !isDir || name == last || ValidClusterName(name) != nil {
			continue
		}
		last = name
		found, err := holdsSnapshots(ctx, b, name)
		if err != nil {
			return nil, false, fmt.Errorf("list clusters in %s: %w", b.Location(), err)
		}
		if found {
			names = append(names, name)
		}
	}
	return names, true, nil
}

func holdsSnapshots(ctx context.Context, b storage.Bucket, cluster string) (bool, error) {
	for _, err := range b.List(ctx, cluster+"/"+snapshotsDir+"/") {
		return err == nil, err
	}
	return false, nil
}
