package repo

import "strings"

// Prefix begins the keys of all objects of the cluster's snapshots: "<cluster>/snapshots/".
func (r *Repository) Prefix() string { return r.snapshots() }

// ParseKey says which snapshot an object belongs to and what its name is there: the manifest's, the signature's, or one
// that a payload may have. ok is false for a key that no snapshot's object has: it is not drd's.
func (r *Repository) ParseKey(key string) (id ID, name string, ok bool) {
	rest, ok := strings.CutPrefix(key, r.snapshots())
	if !ok {
		return ID{}, "", false
	}
	return parseKey(rest)
}
