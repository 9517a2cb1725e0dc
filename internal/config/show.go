package config

import (
	"fmt"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"
)

// Redacted returns the effective configuration as YAML, defaults filled in, that Parse reads back
// to the same Config. Of a verifier host's it leaves out what has no effect there. User names, passwords and queries inside URLs are masked; paths of secret
// files are no secrets. Keys without a value are left out.
func (c *Config) Redacted() []byte {
	data, err := yaml.Dump(shownSection(reflect.ValueOf(c).Elem(), c.Verifier()))
	if err != nil { // cannot be: the tree holds only maps, lists and plain values
		return fmt.Appendf(nil, "# cannot show the configuration: %s\n", err)
	}
	return data
}

// shownSection returns the struct v as a YAML mapping, in the order of the file format.
func shownSection(v reflect.Value, verifier bool) *yaml.Node {
	section := &yaml.Node{Kind: yaml.MappingNode}
	for _, f := range fields(v) {
		if verifier && f.onlyNode() {
			continue
		}
		if value := f.shown(verifier); value != nil {
			section.Content = append(section.Content, scalarNode(tagText, f.key()), value)
		}
	}
	return section
}

// shown returns nil for what has no value: an empty text or list, a section not written.
func (f field) shown(verifier bool) *yaml.Node {
	switch f.value.Kind() {
	case reflect.String, reflect.Slice, reflect.Struct, reflect.Pointer:
		if f.value.IsZero() {
			return nil
		}
	}
	switch v := f.value.Interface().(type) {
	case string:
		return scalarNode(tagText, f.shownText(v))
	case time.Duration:
		return scalarNode(tagText, formatDuration(v, f.Tag.Get("unit") == "days"))
	case int64:
		return sizeNode(v)
	case bool:
		return scalarNode(tagBool, strconv.FormatBool(v))
	case int:
		return scalarNode(tagWhole, strconv.Itoa(v))
	}
	return f.shownNested(verifier)
}

func (f field) shownNested(verifier bool) *yaml.Node {
	switch f.value.Kind() {
	case reflect.Pointer:
		return shownSection(f.value.Elem(), verifier)
	case reflect.Slice:
		list := &yaml.Node{Kind: yaml.SequenceNode}
		for i := range f.value.Len() {
			list.Content = append(list.Content, field{f.StructField, f.value.Index(i)}.shown(verifier))
		}
		return list
	}
	return shownSection(f.value, verifier)
}

func scalarNode(tag, value string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: tag, Value: value}
}

func sizeNode(n int64) *yaml.Node {
	text := formatSize(n)
	if _, err := strconv.ParseInt(text, 10, 64); err == nil {
		return scalarNode(tagWhole, text)
	}
	return scalarNode(tagText, text)
}

// shownText masks what may be secret and writes $ the way Parse reads it.
func (f field) shownText(s string) string {
	if f.Tag.Get("mask") == "url" {
		s = maskURL(s)
	}
	return strings.ReplaceAll(s, "$", "$$")
}

const masked = "redacted"

func maskURL(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		return masked
	}
	if u.User != nil {
		u.User = url.User(masked)
	}
	if u.RawQuery != "" {
		u.RawQuery = masked
	}
	if u.Fragment != "" {
		u.Fragment, u.RawFragment = masked, ""
	}
	return u.String()
}

// shellQuote returns s as one word of a shell command.
func shellQuote(s string) string {
	if strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+@:") == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
