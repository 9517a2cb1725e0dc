package config

import (
	"fmt"
	"reflect"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"
)

// decoder fills structs from YAML nodes and goes on after a problem, so that one run reports all.
type decoder struct {
	*problems
	lookup func(string) (string, bool) // the environment
}

const adviceLiteral = "write the value out, in quotes if it begins with *, & or !"

// field is one key of a section.
type field struct {
	reflect.StructField
	value reflect.Value
}

// fields returns the keys of the struct v, in the order of the file format.
func fields(v reflect.Value) []field {
	var all []field
	for i := range v.NumField() {
		if sf := v.Type().Field(i); sf.Tag.Get("yaml") != "" {
			all = append(all, field{sf, v.Field(i)})
		}
	}
	return all
}

func (f field) key() string { return f.Tag.Get("yaml") }

// child returns the path of key inside the section at path.
func child(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// parent returns the path of the section or list that holds path.
func parent(path string) string {
	if i := strings.LastIndexAny(path, ".["); i >= 0 {
		return path[:i]
	}
	return ""
}

// section decodes a mapping into the struct v.
func (d *decoder) section(m *yaml.Node, path string, v reflect.Value) {
	known := fields(v)
	seen := make(map[string]place)
	for i := 0; i+1 < len(m.Content); i += 2 {
		at := start(m.Content[i])
		key, ok := d.keyOf(m.Content[i], path)
		if !ok {
			continue
		}
		if first, again := seen[key]; again {
			d.addAt(at, child(path, key), "keep one of the two", "is already set in line %d", first.line)
			continue
		}
		seen[key] = at
		if f, ok := find(known, key); ok {
			d.places[child(path, key)] = at
			d.value(m.Content[i+1], child(path, key), f)
			continue
		}
		d.unknown(at, path, key, known)
	}
}

// keyOf returns the text of a key.
func (d *decoder) keyOf(n *yaml.Node, path string) (string, bool) {
	switch {
	case n.Anchor != "" || n.Kind == yaml.AliasNode || n.Style&yaml.TaggedStyle != 0:
		d.addAt(start(n), path, adviceLiteral, "anchors, aliases and tags are not supported")
	case n.Kind != yaml.ScalarNode || n.Tag != tagText:
		d.addAt(start(n), path, "write plain `key: value` lines", "a key must be a plain word, is %s", kindOf(n))
	case looksSecret(n.Value):
		d.addAt(start(n), path, adviceSecretFile, "a secret is written into the file")
	case strings.ContainsFunc(n.Value, isControl):
		d.addAt(start(n), path, "", "a key has a line break or control character in it")
	default:
		return n.Value, true
	}
	return "", false
}

func find(known []field, key string) (field, bool) {
	for _, f := range known {
		if f.key() == key {
			return f, true
		}
	}
	return field{}, false
}

// value decodes one node into the field f.
func (d *decoder) value(n *yaml.Node, path string, f field) {
	switch {
	case n.Kind == yaml.AliasNode || n.Anchor != "" || n.Style&yaml.TaggedStyle != 0:
		d.addAt(start(n), path, adviceLiteral, "anchors, aliases and tags are not supported")
		return
	case n.Tag == tagNull:
		d.add(path, "give it a value or remove the line", "has no value")
		return
	}
	switch into := f.value; into.Kind() {
	case reflect.Pointer:
		into.Set(reflect.New(into.Type().Elem()))
		d.value(n, path, field{f.StructField, into.Elem()})
	case reflect.Struct:
		d.structure(n, path, into)
	case reflect.Slice:
		d.list(n, path, f)
	default:
		d.places[path] = start(n)
		d.scalar(n, path, f)
	}
}

func (d *decoder) structure(n *yaml.Node, path string, into reflect.Value) {
	if n.Kind != yaml.MappingNode {
		d.mistyped(n, path, "a section of keys", "")
		return
	}
	fillDefaults(into)
	d.section(n, path, into)
}

// fillDefaults sets the defaults of sections that exist only when they are written.
func fillDefaults(v reflect.Value) {
	switch into := v.Addr().Interface().(type) {
	case *Target:
		*into = defaultTarget()
	case *S3:
		*into = defaultS3()
	case *Retention:
		*into = defaultRetention()
	case *Verify:
		*into = defaultVerify()
	}
}

func (d *decoder) list(n *yaml.Node, path string, f field) {
	if n.Kind != yaml.SequenceNode {
		d.mistyped(n, path, "a list", "write [ and ] around it, or one `- ` line for each entry")
		return
	}
	items := reflect.MakeSlice(f.value.Type(), len(n.Content), len(n.Content))
	for i, item := range n.Content {
		at := fmt.Sprintf("%s[%d]", path, i)
		d.places[at] = start(item)
		d.value(item, at, field{f.StructField, items.Index(i)})
	}
	f.value.Set(items)
}

func (d *decoder) scalar(n *yaml.Node, path string, f field) {
	switch into := f.value.Addr().Interface().(type) {
	case *string:
		d.text(n, path, f, into)
	case *bool:
		d.boolean(n, path, into)
	case *int:
		d.integer(n, path, f, into)
	case *int64:
		d.size(n, path, f, into)
	case *time.Duration:
		d.duration(n, path, f, into)
	}
}

func (d *decoder) mistyped(n *yaml.Node, path, want, advice string) {
	d.addAt(start(n), path, advice, "must be %s, is %s", want, kindOf(n))
}
