package config

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"go.yaml.in/yaml/v4"
)

// placeholder stands in the shipped example for what only a person knows.
const placeholder = "CHANGE-ME"

// text decodes a string: expanded, free of secrets, one of the words allowed.
func (d *decoder) text(n *yaml.Node, path string, f field, into *string) {
	s, ok := d.expanded(n, path, "a text")
	if !ok {
		return
	}
	if words := f.Tag.Get("oneof"); words != "" {
		if allowed := strings.Split(words, "|"); !slices.Contains(allowed, s) {
			d.add(path, didYouMean(s, allowed), "must be %s", strings.Join(allowed, " or "))
			return
		}
	}
	*into = s
}

// expanded returns the text of a node with variables expanded, after refusing what no value may be.
func (d *decoder) expanded(n *yaml.Node, path, want string) (string, bool) {
	if n.Kind != yaml.ScalarNode || n.Tag != tagText {
		advice := ""
		if n.Kind == yaml.ScalarNode {
			advice = "put the value in quotes"
		}
		d.mistyped(n, path, want, advice)
		return "", false
	}
	s, err := expand(n.Value, d.lookup)
	switch {
	case err != nil:
		d.addErr(path, err)
	case looksSecret(s):
		d.add(path, adviceSecretFile, "a secret is written into the file")
	case strings.Contains(s, placeholder):
		d.add(path, "write your own value", "still has %s in it", placeholder)
	case strings.TrimSpace(s) == "":
		d.add(path, "give it a value or remove the line", "is empty")
	case strings.ContainsFunc(s, isControl):
		d.add(path, "", "has a line break or control character in it")
	default:
		return s, true
	}
	return "", false
}

// isControl reports whether r could break a line or upset a terminal.
func isControl(r rune) bool { return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' }

func (d *decoder) boolean(n *yaml.Node, path string, into *bool) {
	if n.Kind != yaml.ScalarNode || n.Tag != tagBool {
		d.mistyped(n, path, "true or false", "")
		return
	}
	*into = strings.EqualFold(n.Value, "true")
}

func (d *decoder) integer(n *yaml.Node, path string, f field, into *int) {
	i, ok := wholeNumber(n)
	if !ok {
		d.mistyped(n, path, "a whole number", "write decimal digits, without quotes or leading zeros")
		return
	}
	if d.inRange(path, f, i) {
		*into = int(i)
	}
}

// wholeNumber returns the value of a decimal integer. One too large for an int64 becomes the
// largest of its sign, which no range allows.
func wholeNumber(n *yaml.Node) (int64, bool) {
	if n.Kind != yaml.ScalarNode || n.Tag != tagWhole && n.Tag != tagFraction {
		return 0, false
	}
	digits := strings.TrimPrefix(n.Value, "-")
	if len(digits) > 1 && digits[0] == '0' { // octal to some, decimal to others
		return 0, false
	}
	i, err := strconv.ParseInt(n.Value, 10, 64)
	return i, err == nil || errors.Is(err, strconv.ErrRange)
}

func (d *decoder) size(n *yaml.Node, path string, f field, into *int64) {
	size, ok := wholeNumber(n)
	if !ok {
		s, ok := d.expanded(n, path, "a size")
		if !ok {
			return
		}
		var err error
		if size, err = parseSize(s); err != nil {
			d.add(path, "write a number with B, KiB, MiB, GiB, KB, MB or GB, for example 64MiB", "is not a size")
			return
		}
	}
	if d.inRange(path, f, size) {
		*into = size
	}
}

func (d *decoder) duration(n *yaml.Node, path string, f field, into *time.Duration) {
	units := "h, m, s or ms, for example 90s or 1h30m"
	if f.Tag.Get("unit") == "days" {
		units = "d, h, m or s, for example 14d or 36h"
	}
	if i, ok := wholeNumber(n); ok {
		d.add(path, "write a number with "+units, "%d has no unit", i)
		return
	}
	s, ok := d.expanded(n, path, "a duration")
	if !ok {
		return
	}
	dur, err := parseDuration(s, f.Tag.Get("unit") == "days")
	if err != nil {
		d.add(path, "write a number with "+units, "is not a duration")
		return
	}
	if d.inRange(path, f, int64(dur)) {
		*into = dur
	}
}

// inRange checks v against the range tag of f.
func (d *decoder) inRange(path string, f field, v int64) bool {
	low, high, bounded := f.bounds()
	if bounded && (v < low || v > high) {
		from, to, _ := strings.Cut(f.Tag.Get("range"), "..")
		d.add(path, "", "must be from %s to %s", from, to)
		return false
	}
	return true
}

// bounds returns the ends of the range tag: bytes, nanoseconds or plain numbers, as the field has.
func (f field) bounds() (low, high int64, ok bool) {
	from, to, ok := strings.Cut(f.Tag.Get("range"), "..")
	if !ok {
		return 0, 0, false
	}
	low, errLow := f.read(from)
	high, errHigh := f.read(to)
	return low, high, errLow == nil && errHigh == nil
}

func (f field) read(s string) (int64, error) {
	if f.Type == reflect.TypeFor[time.Duration]() {
		d, err := parseDuration(s, true)
		return int64(d), err
	}
	return parseSize(s)
}

// sizeUnits: the binary units and, because disks and clouds count in them, the decimal ones.
// Longest suffix first, so that B does not match KiB.
var sizeUnits = []struct {
	suffix string
	bytes  int64
}{
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40},
	{"KB", 1e3}, {"kB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"B", 1},
}

// parseSize reads "64MiB", "64 MiB", "1.5GiB" or plain bytes.
func parseSize(s string) (int64, error) {
	unit := int64(1)
	for _, u := range sizeUnits {
		if rest, ok := strings.CutSuffix(s, u.suffix); ok {
			s, unit = strings.TrimRight(rest, " "), u.bytes
			break
		}
	}
	if strings.Trim(s, "0123456789.") != "" { // no sign, exponent, hexadecimal, Inf or NaN
		return 0, fmt.Errorf("parse size %q: not a number with a unit", s)
	}
	n, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return 0, fmt.Errorf("parse size: %w", err)
	}
	bytes := n * float64(unit)
	if bytes > 1<<60 {
		return 0, fmt.Errorf("parse size %q: too large", s)
	}
	return int64(math.Round(bytes)), nil
}

const day = 24 * time.Hour

// parseDuration reads a Go duration; with days, a whole number of days may come first: "14d", "1d12h".
func parseDuration(s string, days bool) (time.Duration, error) {
	head, rest, ok := strings.Cut(s, "d")
	if !days || !ok {
		return time.ParseDuration(s)
	}
	n, err := strconv.ParseUint(head, 10, 16) // 65,535 days, above every range
	if err != nil {
		return 0, fmt.Errorf("parse days: %w", err)
	}
	whole := time.Duration(n) * day
	if rest == "" {
		return whole, nil
	}
	part, err := time.ParseDuration(rest)
	if err != nil || part < 0 {
		return 0, fmt.Errorf("parse duration %q after the days", rest)
	}
	return whole + part, nil
}

// formatDuration is the inverse of parseDuration, in the shortest form.
func formatDuration(d time.Duration, days bool) string {
	if days && d >= day && d%day == 0 {
		return strconv.FormatInt(int64(d/day), 10) + "d"
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// formatSize is the inverse of parseSize: the largest binary unit that divides n.
func formatSize(n int64) string {
	for _, u := range []struct {
		suffix string
		bytes  int64
	}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if n >= u.bytes && n%u.bytes == 0 {
			return strconv.FormatInt(n/u.bytes, 10) + u.suffix
		}
	}
	return strconv.FormatInt(n, 10)
}
