package config

import "reflect"

const adviceVerifier = "a file with verify and without etcd and seal is that of a verifier host, which takes no snapshots and deletes none; add etcd and seal on a node that does"

// verifier checks what a host needs that only drills: whom to believe, and what opens the objects.
func (r rules) verifier(c *Config) {
	if r.require("trust.file", c.Trust.File, "name the allowed signers of the nodes: a verifier host has no snapshots of its own to trust; "+adviceVerifier) &&
		!r.brokenBelow("verify") {
		r.require("verify.identity_file", c.Verify.IdentityFile, "name the identity that opens the snapshots: a verifier host has not uploaded them and retains no keys; "+adviceVerifier)
	}
	r.unused(reflect.ValueOf(c).Elem(), "")
}

// unused reports what is written although only a node that takes snapshots has a use for it.
func (r rules) unused(v reflect.Value, path string) {
	for _, f := range fields(v) {
		at := child(path, f.key())
		switch {
		case f.onlyNode() && r.written(at):
			r.fail(at, adviceVerifier, "has no effect on a verifier host")
		case f.value.Kind() == reflect.Struct:
			r.unused(f.value, at)
		}
	}
}

func (f field) onlyNode() bool { return f.Tag.Get("only") == "node" }
