package scratch

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
)

// checkData makes sure that there is a member in the data directory, and that nobody uses it. It returns the size of its
// database, in bytes.
func checkData(dataDir string) (int64, error) {
	logs, err := os.ReadDir(filepath.Join(dataDir, "member", "wal"))
	if err != nil {
		return 0, fmt.Errorf("data directory: %w", err)
	}
	isLog := func(e os.DirEntry) bool { return filepath.Ext(e.Name()) == ".wal" }
	if !slices.ContainsFunc(logs, isLog) {
		return 0, fmt.Errorf("data directory %s holds no member", dataDir)
	}
	f, err := os.Open(database(dataDir))
	if err != nil {
		return 0, fmt.Errorf("data directory: %w", err)
	}
	defer f.Close() // which releases the lock
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			return 0, fmt.Errorf("data directory %s is in use: its database is locked by a running process (%w)", dataDir, err)
		}
		return 0, fmt.Errorf("test the lock of %s: %w", f.Name(), err)
	}
	info, err := f.Stat()
	if err != nil {
		return 0, fmt.Errorf("data directory: %w", err)
	}
	return info.Size(), nil
}

func database(dataDir string) string { return filepath.Join(dataDir, "member", "snap", "db") }

// DisableAuth switches authentication off in the data directory of an etcd that has been stopped. Its users and roles
// stay, and so does everything that HashKV covers. It is how restored data is read without a password: the switch is a
// single value in the database, which etcd reads when it starts.
func DisableAuth(dataDir string) (err error) {
	defer func() {
		if r := recover(); r != nil { // bbolt panics on damage
			err = fmt.Errorf("disable authentication in %s: %v", dataDir, r)
		}
	}()
	options := &bolt.Options{Timeout: time.Second, NoSync: true, FreelistType: bolt.FreelistMapType}
	db, err := bolt.Open(database(dataDir), 0o600, options)
	if err != nil {
		return fmt.Errorf("disable authentication in %s: %w", dataDir, err)
	}
	err = db.Update(func(tx *bolt.Tx) error {
		if b := tx.Bucket([]byte("auth")); b != nil {
			return b.Put([]byte("authEnabled"), []byte{0})
		}
		return nil // never enabled
	})
	if err = errors.Join(err, db.Close()); err != nil {
		return fmt.Errorf("disable authentication in %s: %w", dataDir, err)
	}
	return nil
}

// defaultMemory is what a child may use when nobody has said it, in bytes. A store was measured to need 150 MB a GiB of
// values and half a KB a key, and small values are many keys. The production member comes first, hence the half.
func defaultMemory(dbSize int64) int64 {
	want := 1<<30 + 2*dbSize
	if available := availableMemory("/proc/meminfo"); available > 0 {
		return min(want, available/2)
	}
	return want
}

// availableMemory reads what the kernel could give without swapping, in bytes; 0 where it does not say.
func availableMemory(meminfo string) int64 {
	text, err := os.ReadFile(meminfo)
	if err != nil {
		return 0
	}
	for line := range bytes.Lines(text) {
		if value, ok := bytes.CutPrefix(line, []byte("MemAvailable:")); ok {
			kb, _ := strconv.ParseInt(string(bytes.TrimSuffix(bytes.TrimSpace(value), []byte(" kB"))), 10, 64)
			return kb << 10
		}
	}
	return 0
}
