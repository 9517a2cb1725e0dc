package survey

import (
	"bytes"
	"encoding/hex"
	"slices"
	"unicode"
	"unicode/utf8"
)

const (
	// maxNames bounds how many prefixes, resources or encodings are told apart: with Other they are a thousand.
	maxNames = 999
	// maxName bounds one of them, in bytes.
	maxName = 128

	// Other is what keys count under whose prefix is not among the first 999 in byte order.
	Other = "(other)"
	// NoPrefix is what keys without a slash count under.
	NoPrefix = "(no prefix)"
)

// prefixOf returns the prefix that a key counts under: its first two segments, slashes included, such as "/registry/pods/" of
// "/registry/pods/default/web", "/registry/" of "/registry/x", and "app/" of "app/x". The last segment, which no slash
// ends, never counts, and a slash at the very beginning belongs to the first. It is empty for keys without any slash, or
// with none but a leading one, and not cut yet.
func prefixOf(key []byte) []byte {
	end := min(1, len(key)) // whatever the first byte is, it ends no segment
	for range 2 {
		i := bytes.IndexByte(key[end:], '/')
		if i < 0 {
			break
		}
		end += i + 1
	}
	if end <= 1 {
		return nil
	}
	return key[:end]
}

// prefixName is the name of a prefix: NoPrefix for an empty one. One longer than 128 bytes is cut there and ends in "…"; one that is not
// printable is written as "hex:" and its bytes.
func prefixName(prefix []byte) string {
	if len(prefix) == 0 {
		return NoPrefix
	}
	return printable(prefix)
}

// printable makes a name of at most some 260 bytes that can go to any terminal and into JSON. What it changes never ends in a
// slash, so it cannot be taken for a prefix that it left alone.
func printable(b []byte) string {
	short, mark := b, ""
	if len(b) > maxName {
		short, mark = b[:maxName], "…"
	}
	if !utf8.Valid(short) || bytes.ContainsFunc(short, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return "hex:" + hex.EncodeToString(short) + mark
	}
	return string(short) + mark
}

// Counter counts keys by their first two segments, such as "/registry/pods/". Of more than 999 prefixes the first 999 in byte order are told apart and the rest counts
// under Other: what it says does not depend on the order in which keys are added. The zero value is ready; it must not
// be used by several goroutines at once.
type Counter struct{ tally tally }

// Add counts one key. The slice is not kept.
func (c *Counter) Add(key []byte) {
	prefix := prefixOf(key)
	if !c.tally.again(prefix) {
		c.tally.add(prefixName(prefix))
	}
}

// Counts returns the keys by prefix, in a new map.
func (c *Counter) Counts() map[string]int64 { return c.tally.result() }

// tally counts names, as Counter says.
type tally struct {
	counts map[string]*int64
	sorted []string // the names in counts, ascending
	other  int64
}

// again counts the name in b if it was counted before. It saves making a string of what is met again and again.
func (t *tally) again(b []byte) bool {
	n, ok := t.counts[string(b)]
	if ok {
		*n++
	}
	return ok
}

// add counts name. A name among the first maxNames of all was so at any time before, and therefore never lost its count.
func (t *tally) add(name string) {
	if n, ok := t.counts[name]; ok {
		*n++
		return
	}
	if len(t.sorted) == maxNames {
		last := t.sorted[maxNames-1]
		if name > last {
			t.other++
			return
		}
		t.other += *t.counts[last]
		delete(t.counts, last)
		t.sorted = t.sorted[:maxNames-1]
	}
	if t.counts == nil {
		t.counts = make(map[string]*int64)
	}
	i, _ := slices.BinarySearch(t.sorted, name)
	t.sorted = slices.Insert(t.sorted, i, name)
	one := int64(1)
	t.counts[name] = &one
}

func (t *tally) result() map[string]int64 {
	out := make(map[string]int64, len(t.counts)+1)
	for name, n := range t.counts {
		out[name] = *n
	}
	if t.other > 0 {
		out[Other] += t.other
	}
	return out
}
