package kube

import (
	"bytes"
	"strings"
)

// registry is where API servers keep their objects, unless --etcd-prefix says otherwise.
const registry = "/registry/"

// Ref is what the key of an object says about it.
type Ref struct {
	Resource  string // plural, as kubectl takes it: "pods", "widgets.example.com"
	Namespace string // "": it is in none
	Name      string
}

// ParseKey reads the key of an object. ok is false for every other key, also below /registry/, such as that of a list or of
// something that is no object.
//
// Custom resources, and what the aggregation and extension servers keep, lie below their API group, which has a dot, and a
// built-in resource has none. Services, endpoints and nodes lie where they lay in the first release.
func ParseKey(key []byte) (r Ref, ok bool) {
	rest, ok := bytes.CutPrefix(key, []byte(registry))
	if !ok {
		return Ref{}, false
	}
	first, rest, ok := cutSegment(rest)
	switch {
	case !ok:
		return Ref{}, false
	case first == "ranges" || first == "masterleases" || first == "peerserverleases":
		return Ref{}, false // the API server's own notes
	case first == "minions":
		r.Resource = "nodes"
	case first == "services":
		kind, below, ok := cutSegment(rest)
		if !ok || kind != "specs" && kind != "endpoints" {
			return Ref{}, false
		}
		r.Resource, rest = strings.Replace(kind, "specs", "services", 1), below
	case strings.Contains(first, "."):
		resource, below, ok := cutSegment(rest)
		if !ok {
			return Ref{}, false
		}
		r.Resource, rest = resource+"."+first, below
	default:
		r.Resource = first
	}
	if namespace, below, ok := cutSegment(rest); ok {
		r.Namespace, rest = namespace, below
	}
	if r.Name = string(rest); r.Name == "" || strings.Contains(r.Name, "/") {
		return Ref{}, false
	}
	return r, true
}

// cutSegment splits at the first slash; ok is false where there is none, or nothing before it.
func cutSegment(b []byte) (segment string, rest []byte, ok bool) {
	before, rest, ok := bytes.Cut(b, []byte("/"))
	if len(before) == 0 {
		ok = false
	}
	if !ok {
		return "", b, false
	}
	return string(before), rest, true
}

// String is "pods/shop/web-1", or "namespaces/shop" of what is in no namespace.
func (r Ref) String() string {
	if r.Namespace == "" {
		return r.Resource + "/" + r.Name
	}
	return r.Resource + "/" + r.Namespace + "/" + r.Name
}

// In reports whether the object is in a namespace, or is that namespace.
func (r Ref) In(namespace string) bool {
	return r.Namespace == namespace || r.Resource == "namespaces" && r.Namespace == "" && r.Name == namespace
}
