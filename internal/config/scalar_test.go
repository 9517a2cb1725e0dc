package config

import (
	"reflect"
	"testing"
	"time"
)

func TestParseSize(t *testing.T) {
	for in, want := range map[string]int64{
		"0": 0, "17": 17, "17B": 17, "1KiB": 1 << 10, "64MiB": 64 << 20, "64 MiB": 64 << 20, "1.5GiB": 3 << 29,
		"1KB": 1000, "1kB": 1000, "2MB": 2e6, "3GB": 3e9, "1TB": 1e12, "1TiB": 1 << 40,
	} {
		if got, err := parseSize(in); err != nil || got != want {
			t.Errorf("parseSize(%q) = %d, %v; want %d", in, got, err, want)
		}
	}
	for _, in := range []string{"", "B", "MiB", "-1", "+1", "1e3", "0x10", "Inf", "NaN", "1_000", "64 megabytes", "64M", "64mib", "1.2.3", "99999999999TiB"} {
		if got, err := parseSize(in); err == nil {
			t.Errorf("parseSize(%q) = %d, want an error", in, got)
		}
	}
}

func TestParseDuration(t *testing.T) {
	for in, want := range map[string]time.Duration{
		"0s": 0, "90s": 90 * time.Second, "1h30m": 90 * time.Minute, "250ms": 250 * time.Millisecond,
		"2d": 48 * time.Hour, "1d12h": 36 * time.Hour,
	} {
		if got, err := parseDuration(in, true); err != nil || got != want {
			t.Errorf("parseDuration(%q) = %s, %v; want %s", in, got, err, want)
		}
	}
	for _, in := range []string{"", "d", "1", "1w", "1.5d", "-1d", "1d-1h", "1d1d", "12h1d", "99999d", "1d 1h"} {
		if got, err := parseDuration(in, true); err == nil {
			t.Errorf("parseDuration(%q) = %s, want an error", in, got)
		}
	}
	if _, err := parseDuration("2d", false); err == nil {
		t.Error("days were taken where they are not allowed")
	}
}

func TestFormats(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", 90 * time.Second: "1m30s", time.Minute: "1m", 2 * time.Hour: "2h", 36 * time.Hour: "36h",
		48 * time.Hour: "2d", time.Hour + time.Second: "1h0m1s", 10 * time.Minute: "10m", 10 * time.Second: "10s",
	} {
		if got := formatDuration(d, true); got != want {
			t.Errorf("formatDuration(%d) = %s, want %s", d, got, want)
		}
	}
	for n, want := range map[int64]string{0: "0", 1: "1", 1 << 10: "1KiB", 3 << 29: "1536MiB", 1 << 30: "1GiB", 5e6: "5000000"} {
		if got := formatSize(n); got != want {
			t.Errorf("formatSize(%d) = %s, want %s", n, got, want)
		}
	}
}

// TestTags reads every range tag: one that cannot be read would silently check nothing.
func TestTags(t *testing.T) {
	ranges := 0
	for _, k := range everyKey() {
		if k.Tag.Get("range") == "" {
			continue
		}
		ranges++
		low, high, ok := k.bounds()
		if !ok || low >= high {
			t.Errorf("%s: range %q reads as %d to %d, %v", k.path, k.Tag.Get("range"), low, high, ok)
		}
	}
	if ranges < 15 {
		t.Errorf("only %d keys have a range", ranges)
	}
}

// documentedKey is one key of the file format.
type documentedKey struct {
	field
	path string // "targets[].s3.bucket"
}

// everyKey returns each key that holds a value, in the order of the file format, with its default.
func everyKey() []documentedKey {
	return keysOf(reflect.ValueOf(defaults()).Elem(), "")
}

func keysOf(v reflect.Value, path string) []documentedKey {
	var all []documentedKey
	for _, f := range fields(v) {
		at, t := child(path, f.key()), f.Type
		switch {
		case t.Kind() == reflect.Pointer:
			all = append(all, keysOf(sectionOf(t.Elem()), at)...)
		case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Struct:
			all = append(all, keysOf(sectionOf(t.Elem()), at+"[]")...)
		case t.Kind() == reflect.Struct:
			fillDefaults(f.value)
			all = append(all, keysOf(f.value, at)...)
		default:
			all = append(all, documentedKey{f, at})
		}
	}
	return all
}

// sectionOf returns a section of type t as it is when only its header is written.
func sectionOf(t reflect.Type) reflect.Value {
	section := reflect.New(t).Elem()
	fillDefaults(section)
	return section
}
