package restore

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"

	bolt "go.etcd.io/bbolt"
	"go.etcd.io/etcd/etcdutl/v3/snapshot"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// buildMember makes a data directory around the store at db, which it takes over: WAL, raft snapshot and
// membership as etcd's own restore library makes them. walDir is where the WAL goes, "" for inside.
//
// The library copies and hashes the whole file that it is given, and never looks at the keys. So it is
// given a store with everything but the keys, and what it made of that one is carried over to ours.
func buildMember(ctx context.Context, r Request, db, stub, dataDir, walDir string) error {
	if err := makeStub(db, stub); err != nil {
		return fmt.Errorf("copy the store without its keys: %w", err)
	}
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	if err := restoreStub(r, stub, dataDir, walDir); err != nil {
		return fmt.Errorf("make wal and membership: %w", err)
	}
	made := filepath.Join(dataDir, "member", "snap", "db")
	if err := carryOver(made, db); err != nil {
		return fmt.Errorf("write membership into the store: %w", err)
	}
	if err := os.Rename(db, made); err != nil {
		return fmt.Errorf("move the store into place: %w", err)
	}
	return nil
}

// makeStub copies every bucket of the store at path, but of the key bucket only the name.
func makeStub(path, stub string) error {
	from, err := bolt.Open(path, 0o400, &bolt.Options{ReadOnly: true})
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := openStore(stub)
	if err != nil {
		return err
	}
	defer to.Close()
	return from.View(func(src *bolt.Tx) error {
		return to.Update(func(dst *bolt.Tx) error {
			return src.ForEach(func(name []byte, b *bolt.Bucket) error {
				if bytes.Equal(name, keyBucket) {
					_, err := dst.CreateBucket(name)
					return err
				}
				return copyBucket(dst, name, b)
			})
		})
	})
}

func copyBucket(dst *bolt.Tx, name []byte, from *bolt.Bucket) error {
	to, err := dst.CreateBucket(name)
	if err != nil {
		return fmt.Errorf("bucket %q: %w", name, err)
	}
	to.FillPercent = 1 // entries come in order
	return from.ForEach(func(k, v []byte) error {
		if v == nil {
			return fmt.Errorf("bucket %q holds a bucket %q: this is not an etcd store", name, k)
		}
		return to.Put(k, v)
	})
}

// restoreStub runs etcd's library. It reports some failures by panicking or through a logger that ends the
// process; here they are errors.
func restoreStub(r Request, stub, dataDir, walDir string) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("etcd's restore library: %v", p)
		}
	}()
	quiet := zap.NewNop().WithOptions(zap.WithFatalHook(zapcore.WriteThenPanic))
	return snapshot.NewV3(quiet).Restore(snapshot.RestoreConfig{
		SnapshotPath:        stub,
		Name:                r.Name,
		OutputDataDir:       dataDir,
		OutputWALDir:        walDir,
		PeerURLs:            r.PeerURLs,
		InitialCluster:      r.InitialCluster,
		InitialClusterToken: r.InitialClusterToken,
		SkipHashCheck:       true, // the stub has no trailer; the store was checked when it was fetched
	})
}

// carryOver makes every bucket of the store at path equal to that of the store at made, except the keys.
func carryOver(made, path string) error {
	from, err := bolt.Open(made, 0o400, &bolt.Options{ReadOnly: true})
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := openStore(path)
	if err != nil {
		return err
	}
	defer to.Close()
	return from.View(func(src *bolt.Tx) error {
		return to.Update(func(dst *bolt.Tx) error {
			if err := dropOthers(dst, src); err != nil {
				return err
			}
			return src.ForEach(func(name []byte, b *bolt.Bucket) error { return replaceBucket(dst, name, b) })
		})
	})
}

// dropOthers deletes the buckets of dst that src does not have.
func dropOthers(dst, src *bolt.Tx) error {
	var gone [][]byte
	err := dst.ForEach(func(name []byte, _ *bolt.Bucket) error {
		if src.Bucket(name) == nil {
			gone = append(gone, bytes.Clone(name))
		}
		return nil
	})
	for _, name := range gone {
		if err == nil {
			err = dst.DeleteBucket(name)
		}
	}
	return err
}

func replaceBucket(dst *bolt.Tx, name []byte, from *bolt.Bucket) error {
	if bytes.Equal(name, keyBucket) {
		return nil
	}
	if old := dst.Bucket(name); old != nil {
		if equalBuckets(old, from) {
			return nil
		}
		if err := dst.DeleteBucket(name); err != nil {
			return fmt.Errorf("bucket %q: %w", name, err)
		}
	}
	return copyBucket(dst, name, from)
}

func equalBuckets(a, b *bolt.Bucket) bool {
	ca, cb := a.Cursor(), b.Cursor()
	ka, va := ca.First()
	kb, vb := cb.First()
	for ka != nil && bytes.Equal(ka, kb) && bytes.Equal(va, vb) {
		ka, va = ca.Next()
		kb, vb = cb.Next()
	}
	return ka == nil && kb == nil
}
