package seal

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/drd-project/drd/internal/hint"
)

// KeyRing keeps the file keys of fresh objects, in memory and as 0600 files in a directory that a
// reboot empties. A restarted daemon finds them there; a stolen disk does not hold them. It is safe
// for concurrent use. Its owner forgets keys that are no longer needed.
//
// A large object has a key file (Put). Small ones, of which there are many, share a few files (Append), which one process at a
// time may write.
type KeyRing struct {
	dir string

	mu   sync.Mutex
	keys map[string]FileKey
	logs keyLogs
}

// OpenKeyRing uses dir, creating it (0700) when it is missing. It refuses a directory that others may
// enter, that belongs to somebody else, or that is a symbolic link.
func OpenKeyRing(dir string) (*KeyRing, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("create key ring: %w", err)
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return nil, fmt.Errorf("open key ring: %w", err)
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("open key ring: %s is not a directory", dir)
	}
	if err := errors.Join(checkOwner(dir, info), checkMode(dir, info, "run `chmod 0700 %s`")); err != nil {
		return nil, fmt.Errorf("open key ring: %w", err)
	}
	ring := &KeyRing{dir: dir, keys: make(map[string]FileKey), logs: keyLogs{dir: dir, keys: make(map[[sha256.Size]byte]loggedKey)}}
	if err := ring.sweep(); err != nil {
		return nil, fmt.Errorf("open key ring: %w", err)
	}
	return ring, nil
}

// OnTmpfs reports whether the directory lives in memory only, so that a reboot forgets its keys.
// Where that cannot be told, it reports false.
func (k *KeyRing) OnTmpfs() bool { return onTmpfs(k.dir) }

// Put keeps the key of an object, named by its repository key. When the file cannot be written the
// key is still kept in memory, and the error says that a restart will lose it.
func (k *KeyRing) Put(object string, key FileKey) error {
	if key.IsZero() {
		return fmt.Errorf("keep file key of %s: there is no key", object)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.keys[object] = key
	if err := replaceFile(k.dir, k.path(object), key.Encode()); err != nil {
		return fmt.Errorf("keep file key of %s beyond a restart: %w", object, err)
	}
	return nil
}

// Get returns the key of an object, if the ring has it. A file that is not a sound key file counts as
// missing: the object can still be opened with an identity.
func (k *KeyRing) Get(object string) (FileKey, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if key, ok := k.keys[object]; ok {
		return key, true
	}
	key, err := ReadFileKey(k.path(object))
	if err != nil {
		return k.logs.get(object)
	}
	k.keys[object] = key
	return key, true
}

// Forget drops the keys of objects. Forgetting what is not there is no error. Many at once are cheaper than one by one.
func (k *KeyRing) Forget(objects ...string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, object := range objects {
		delete(k.keys, object)
		if err := os.Remove(k.path(object)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("forget file key of %s: %w", object, err)
		}
	}
	if err := k.logs.forget(objects); err != nil {
		return fmt.Errorf("forget file keys: %w", err)
	}
	return nil
}

const (
	keySuffix  = ".key"
	tempPrefix = ".new-"
)

// path hashes the object's name: it has slashes, and may be longer than a file name can be.
func (k *KeyRing) path(object string) string {
	sum := sha256.Sum256([]byte(object))
	return filepath.Join(k.dir, hex.EncodeToString(sum[:])+keySuffix)
}

// replaceFile replaces a file of dir as a whole. There is no fsync: a crash of the machine empties the directory
// anyway, and a crash of the process loses nothing that was written.
func replaceFile(dir, path string, content []byte) error {
	f, err := os.CreateTemp(dir, tempPrefix) // mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// halfWritten is how old a file must be to count as left half written: another process, which is alive, is done in a moment.
const halfWritten = time.Minute

// sweep removes what a killed process left half written.
func (k *KeyRing) sweep() error {
	entries, err := os.ReadDir(k.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), tempPrefix) {
			continue
		}
		info, err := e.Info()
		if err == nil && time.Since(info.ModTime()) > halfWritten {
			err = os.Remove(filepath.Join(k.dir, e.Name()))
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // gone: it has its name by now, or another process swept too
			return err
		}
	}
	return nil
}

// checkMode refuses a file or directory that others can use. The fix is a format for its path.
func checkMode(path string, info fs.FileInfo, fix string) error {
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return hint.New(fmt.Errorf("%s is accessible to others (mode %04o)", path, mode), fix, path)
	}
	return nil
}

// checkOwner refuses what belongs to another user: files made there could not be used by its owner,
// and could be replaced by him.
func checkOwner(path string, info fs.FileInfo) error {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fmt.Errorf("%s: the owner is not known", path)
	}
	if uid := os.Geteuid(); int64(stat.Uid) != int64(uid) {
		return hint.New(fmt.Errorf("%s belongs to user %d, not to user %d", path, stat.Uid, uid), "run as user %d, or use another directory", stat.Uid)
	}
	return nil
}
