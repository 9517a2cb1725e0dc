package restore_test

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"testing"

	bolt "go.etcd.io/bbolt"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"
)

// growFile writes a larger copy of a captured snapshot to path and returns path.
func growFile(tb testing.TB, c captured, path string, mib int) string {
	tb.Helper()
	content, err := os.ReadFile(c.File)
	if err != nil {
		tb.Fatal(err)
	}
	if err := os.WriteFile(path, content[:len(content)-sha256.Size], 0o600); err != nil {
		tb.Fatal(err)
	}
	db, err := bolt.Open(path, 0o600, &bolt.Options{NoSync: true, NoGrowSync: true, NoFreelistSync: true})
	if err != nil {
		tb.Fatal(err)
	}
	for part := range mib / 4 {
		if err := db.Update(func(tx *bolt.Tx) error { return addEntries(tx, c.Revision+int64(part)*1024) }); err != nil {
			tb.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		tb.Fatal(err)
	}
	appendTrailer(tb, path)
	return path
}

// addEntries adds 1024 revisions of 4 KiB each. A third of a value is random.
func addEntries(tx *bolt.Tx, after int64) error {
	b := tx.Bucket([]byte("key"))
	b.FillPercent = 0.95
	random := rand.NewChaCha8(sha256.Sum256([]byte("values")))
	for i := range int64(1024) {
		value := make([]byte, 4000)
		if _, err := random.Read(value[:1300]); err != nil {
			return err
		}
		rev := after + 1 + i
		entry, err := proto.Marshal(&mvccpb.KeyValue{
			Key: fmt.Appendf(nil, "big/key-%08d", rev), CreateRevision: rev, ModRevision: rev, Version: 1, Value: value,
		})
		if err != nil {
			return err
		}
		position := append(binary.BigEndian.AppendUint64(nil, uint64(rev)), '_', 0, 0, 0, 0, 0, 0, 0, 0)
		if err := b.Put(position, entry); err != nil {
			return err
		}
	}
	return nil
}

// appendTrailer makes a store a snapshot file.
func appendTrailer(tb testing.TB, path string) {
	tb.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		tb.Fatal(err)
	}
	if _, err := f.Write(sum.Sum(nil)); err != nil {
		tb.Fatal(err)
	}
}
