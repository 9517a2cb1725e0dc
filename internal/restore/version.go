package restore

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	bolt "go.etcd.io/bbolt"

	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/snapshot"
)

// serverVersions are the minor versions of etcd whose servers can run a restored store, oldest first.
var serverVersions = []string{"3.4", "3.5", "3.6", "3.7"}

// firstStorageVersion is the first server that writes and checks meta/storageVersion.
const firstStorageVersion = "3.6"

// versionEdit is what changes about the versions written in a store. The zero value changes nothing.
type versionEdit struct {
	storage     string // new meta/storageVersion
	dropStorage bool   // servers before 3.6 refuse to start when they find one they do not know
	cluster     string // new cluster/clusterVersion
}

// versionsFor returns the edit that lets a server of minor version target ("" is any not older than the
// source) run a store with the given versions ("" where the store has none). A store of a newer
// schema than this drd knows is refused: nobody has tried what it would take.
func versionsFor(target, storage, cluster string) (versionEdit, error) {
	if storage != "" && rank(storage) < 0 {
		return versionEdit{}, hint.New(fmt.Errorf("the snapshot has storage version %s, which this drd does not know", storage), "restore it with a newer drd")
	}
	var e versionEdit
	if target == "" {
		return e, nil
	}
	wanted := slices.Index(serverVersions, target)
	switch {
	case storage == "" || rank(storage) <= wanted:
	case wanted < slices.Index(serverVersions, firstStorageVersion):
		e.dropStorage = true
	default:
		e.storage = target + ".0"
	}
	if cluster != "" && (rank(cluster) < 0 || rank(cluster) > wanted) {
		e.cluster = target + ".0"
	}
	return e, nil
}

// rank is the place of a version such as "3.6.0" in serverVersions, -1 when it is not there.
func rank(version string) int {
	parts := strings.SplitN(version, ".", 3)
	if len(parts) < 2 {
		return -1
	}
	return slices.Index(serverVersions, parts[0]+"."+parts[1])
}

// storageOf is the storage version that a store will have after the edit.
func (e versionEdit) storageOf(f snapshot.Facts) string {
	if e.dropStorage {
		return ""
	}
	return cmp.Or(e.storage, f.StorageVersion)
}

func (e versionEdit) apply(tx *bolt.Tx) error {
	meta := tx.Bucket(metaBucket)
	switch {
	case e.dropStorage:
		if err := meta.Delete(storageVersionKey); err != nil {
			return fmt.Errorf("drop the storage version: %w", err)
		}
	case e.storage != "":
		if err := meta.Put(storageVersionKey, []byte(e.storage)); err != nil {
			return fmt.Errorf("set the storage version: %w", err)
		}
	}
	if e.cluster == "" {
		return nil
	}
	if err := tx.Bucket(clusterBucket).Put(clusterVersionKey, []byte(e.cluster)); err != nil {
		return fmt.Errorf("set the cluster version: %w", err)
	}
	return nil
}
