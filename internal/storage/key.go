package storage

import (
	"fmt"
	"strings"
)

const (
	// MaxKey is the longest key in bytes. S3 allows 1024 for prefix and key together; this leaves 124 for the prefix.
	MaxKey = 900
	// MaxSegment is the longest part between slashes in bytes. File systems allow 255; a directory
	// backend needs the rest for the names of its temporary files.
	MaxSegment = 200
	// TempPrefix begins the names of files that a directory backend is still writing. No key segment may
	// begin with it, on any backend, so that every repository can be copied to every other kind of bucket.
	TempPrefix = ".drd-tmp-"
)

// CheckKey returns an error wrapping ErrInvalidKey unless key is good on every backend: a relative
// slash-separated path of printable ASCII, with no empty, "." or ".." segment, none beginning with
// TempPrefix, within MaxKey and MaxSegment. Every backend calls it before it does anything else.
func CheckKey(key string) error {
	if len(key) > MaxKey {
		return fmt.Errorf("%w: %d bytes, %d at most", ErrInvalidKey, len(key), MaxKey)
	}
	for segment := range strings.SplitSeq(key, "/") {
		if err := checkSegment(segment); err != nil {
			return fmt.Errorf("%w: %q: %w", ErrInvalidKey, key, err)
		}
	}
	return nil
}

// CheckPrefix returns an error wrapping ErrInvalidKey for a prefix that no valid key can begin with
// because of its complete segments. The empty prefix is every key's.
func CheckPrefix(prefix string) error {
	if i := strings.LastIndexByte(prefix, '/'); i >= 0 {
		return CheckKey(prefix[:i])
	}
	return nil
}

func checkSegment(s string) error {
	switch {
	case s == "":
		return fmt.Errorf("empty segment")
	case s == "." || s == "..":
		return fmt.Errorf("segment %q", s)
	case len(s) > MaxSegment:
		return fmt.Errorf("segment of %d bytes, %d at most", len(s), MaxSegment)
	case strings.HasPrefix(s, TempPrefix):
		return fmt.Errorf("segment begins with %s, which marks unfinished files", TempPrefix)
	}
	for i := range len(s) {
		if s[i] < 0x20 || s[i] > 0x7e {
			return fmt.Errorf("byte 0x%02x at %d of a segment, only printable ASCII is allowed", s[i], i)
		}
	}
	return nil
}
