package kube

import (
	"encoding/json"
	"fmt"

	"sigs.k8s.io/yaml"
)

// Object is a Kubernetes object as JSON has it: maps, slices, strings, numbers.
type Object map[string]any

// Kind is such as "Pod"; "" when there is none.
func (o Object) Kind() string { return text(o, "kind") }

// APIVersion is such as "apps/v1"; "" when there is none.
func (o Object) APIVersion() string { return text(o, "apiVersion") }

// Name is that of its metadata.
func (o Object) Name() string { return text(o.metadata(), "name") }

// Namespace is "" of an object that is in none.
func (o Object) Namespace() string { return text(o.metadata(), "namespace") }

// metadata is never nil, and not part of the object where it has none.
func (o Object) metadata() map[string]any { return fields(o, "metadata") }

func (o Object) spec() map[string]any { return fields(o, "spec") }

// is reports whether the object is of a kind of the given group, "" being the core one, in any version.
func (o Object) is(group, kind string) bool {
	return o.Kind() == kind && o.group() == group
}

func (o Object) group() string {
	version := o.APIVersion()
	for i := range version {
		if version[i] == '/' {
			return version[:i]
		}
	}
	return ""
}

// YAML is one document, without a separator. Fields are in alphabetical order.
func (o Object) YAML() ([]byte, error) {
	b, err := yaml.Marshal(map[string]any(o))
	if err != nil {
		return nil, fmt.Errorf("write %s %s as YAML: %w", o.Kind(), o.Name(), err)
	}
	return b, nil
}

// JSON is one line, without its end.
func (o Object) JSON() ([]byte, error) {
	b, err := json.Marshal(map[string]any(o))
	if err != nil {
		return nil, fmt.Errorf("write %s %s as JSON: %w", o.Kind(), o.Name(), err)
	}
	return b, nil
}

func text(m map[string]any, name string) string {
	s, _ := m[name].(string)
	return s
}

func fields(m map[string]any, name string) map[string]any {
	if f, ok := m[name].(map[string]any); ok {
		return f
	}
	return map[string]any{}
}

// remove deletes fields of a map in m, and the map itself once it is empty.
func remove(m map[string]any, name string, names ...string) {
	f, ok := m[name].(map[string]any)
	if !ok {
		return
	}
	for _, n := range names {
		delete(f, n)
	}
	if len(f) == 0 {
		delete(m, name)
	}
}
