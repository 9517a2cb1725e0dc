package seal

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// The keys of small objects, of which there are thousands a day, do not have a file each: on a tmpfs a file takes a page and an
// inode. They are lines of a few logs that only grow. A log that is full is followed by a new one, and the oldest log goes
// as a whole. The limits keep 90,000 to 100,000 keys: five days of one every five seconds, in 9 MB.
const (
	logSuffix  = ".log"
	logKeys    = 10_000 // in one log
	logFiles   = 10
	logLine    = 2*sha256.Size + 1 + 24 + 1 // hex SHA-256 of the object's name, space, base64 of the key, line feed
	logNameFmt = "%08d" + logSuffix
)

// keyLogs are the logs of a ring, as far as they were read. What other processes append is read when a key is missing.
type keyLogs struct {
	dir  string
	keys map[[sha256.Size]byte]loggedKey // by the hash of the object's name
	logs []*keyLog                       // ascending
}

type loggedKey struct {
	FileKey
	log *keyLog // the last one that has it; nil where none could be written
}

type keyLog struct {
	number int
	file   fs.FileInfo // that was read; nil: not yet
	size   int64       // bytes of it that were read
	names  [][sha256.Size]byte
}

func (l *keyLogs) path(number int) string {
	return filepath.Join(l.dir, fmt.Sprintf(logNameFmt, number))
}

// Append keeps the key of an object, as Put does, for objects that are many and small. The newest 90,000 keys at least stay.
func (k *KeyRing) Append(object string, key FileKey) error {
	if key.IsZero() {
		return fmt.Errorf("keep file key of %s: there is no key", object)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	name := sha256.Sum256([]byte(object))
	err := k.logs.append(name, key)
	if err != nil {
		k.logs.keys[name] = loggedKey{FileKey: key}
		return fmt.Errorf("keep file key of %s beyond a restart: %w", object, err)
	}
	return nil
}

// append writes one line to the newest log, and reads it from there.
func (l *keyLogs) append(name [sha256.Size]byte, key FileKey) error {
	if err := l.read(); err != nil {
		return err
	}
	last := l.last()
	if last == nil || len(last.names) >= logKeys {
		next := &keyLog{number: 1}
		if last != nil {
			next.number = last.number + 1
		}
		l.logs = append(l.logs, next)
		last = next
	}
	if err := appendLine(l.path(last.number), key.logLine(name)); err != nil {
		return err
	}
	if err := l.readLog(last); err != nil {
		return err
	}
	return l.bound()
}

func (l *keyLogs) last() *keyLog {
	if len(l.logs) == 0 {
		return nil
	}
	return l.logs[len(l.logs)-1]
}

func (k FileKey) logLine(name [sha256.Size]byte) []byte {
	raw := k.reveal()
	return fmt.Appendf(nil, "%x %s\n", name, base64.StdEncoding.EncodeToString(raw[:]))
}

// appendLine adds one line in one write. What a full disk cut before is ended first.
func appendLine(path string, line []byte) (err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if size := info.Size(); size > 0 {
		end := make([]byte, 1)
		if _, err := f.ReadAt(end, size-1); err != nil {
			return err
		}
		if end[0] != '\n' {
			line = append([]byte("\n"), line...)
		}
	}
	_, err = f.Write(line)
	return err
}

// get finds a key, also one that another process has appended since.
func (l *keyLogs) get(object string) (FileKey, bool) {
	name := sha256.Sum256([]byte(object))
	if key, ok := l.keys[name]; ok {
		return key.FileKey, true
	}
	if l.read() != nil {
		return FileKey{}, false // as a damaged key file: the object can still be opened with an identity
	}
	key, ok := l.keys[name]
	return key.FileKey, ok
}

// read takes up what was appended since the last time, and forgets the logs that are gone.
func (l *keyLogs) read() error {
	found, err := filepath.Glob(filepath.Join(l.dir, "*"+logSuffix))
	if err != nil {
		return err
	}
	var logs []*keyLog
	for _, path := range found { // in order: the names have one length
		number, err := strconv.Atoi(strings.TrimSuffix(filepath.Base(path), logSuffix))
		if err != nil || path != l.path(number) {
			continue
		}
		i := slices.IndexFunc(l.logs, func(k *keyLog) bool { return k.number == number })
		log := &keyLog{number: number}
		if i >= 0 {
			log = l.logs[i]
		}
		if err := l.readLog(log); errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil {
			return err
		}
		logs = append(logs, log)
	}
	for _, old := range l.logs {
		if !slices.Contains(logs, old) {
			l.drop(old)
		}
	}
	l.logs = logs
	return nil
}

func (l *keyLogs) readLog(log *keyLog) (err error) {
	f, err := os.Open(l.path(log.number))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if log.file != nil && !os.SameFile(info, log.file) { // written anew, without what was forgotten
		l.drop(log)
		log.size, log.names = 0, nil
	}
	log.file = info
	if info.Size() == log.size {
		return nil
	}
	content, err := io.ReadAll(io.NewSectionReader(f, log.size, info.Size()-log.size))
	if err != nil {
		return err
	}
	whole := content[:bytes.LastIndexByte(content, '\n')+1]
	for line := range bytes.Lines(whole) {
		l.take(log, line)
	}
	log.size += int64(len(whole))
	return nil
}

// take adds one line. One that is not whole is none.
func (l *keyLogs) take(log *keyLog, line []byte) {
	if len(line) != logLine || line[2*sha256.Size] != ' ' {
		return
	}
	var name [sha256.Size]byte
	if _, err := hex.Decode(name[:], line[:2*sha256.Size]); err != nil {
		return
	}
	text := string(line[2*sha256.Size+1 : logLine-1])
	raw, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil || len(raw) != fileKeySize {
		return
	}
	l.keys[name] = loggedKey{newFileKey(raw), log}
	log.names = append(log.names, name)
}

// drop forgets the keys of a log, but for those that a later one has too.
func (l *keyLogs) drop(log *keyLog) {
	for _, name := range log.names {
		if l.keys[name].log == log {
			delete(l.keys, name)
		}
	}
}

// bound removes the oldest logs.
func (l *keyLogs) bound() error {
	for len(l.logs) > logFiles {
		if err := os.Remove(l.path(l.logs[0].number)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("forget old file keys: %w", err)
		}
		l.drop(l.logs[0])
		l.logs = l.logs[1:]
	}
	return nil
}

// forget removes keys from the logs that have them: such a log is written anew, once for all of them.
func (l *keyLogs) forget(objects []string) error {
	if err := l.read(); err != nil {
		return err
	}
	gone := make(map[[sha256.Size]byte]bool)
	for _, object := range objects {
		name := sha256.Sum256([]byte(object))
		if _, ok := l.keys[name]; ok {
			gone[name] = true
		}
	}
	for _, log := range l.logs {
		if err := l.rewrite(log, gone); err != nil {
			return err
		}
	}
	for name := range gone {
		delete(l.keys, name)
	}
	return nil
}

func (l *keyLogs) rewrite(log *keyLog, gone map[[sha256.Size]byte]bool) error {
	if !slices.ContainsFunc(log.names, func(name [sha256.Size]byte) bool { return gone[name] }) {
		return nil
	}
	var content []byte
	for _, name := range log.names {
		if !gone[name] {
			content = append(content, l.keys[name].logLine(name)...)
		}
	}
	if err := replaceFile(l.dir, l.path(log.number), content); err != nil {
		return err
	}
	return l.readLog(log)
}
