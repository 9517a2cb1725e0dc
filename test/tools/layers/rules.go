package main

// rule says what one directory below internal/, or cmd, may import of this module. Packages below the directory
// follow the same rule, and may import each other.
type rule struct {
	dir   string
	knows []string // directories below internal/; nil: only the ones that everybody knows
	all   bool     // knows everything instead
	etcd  bool     // may depend on etcd's modules, be it through others
}

// everybody may import these, which know nothing themselves.
var everybody = []string{"hint", "disk", "lock", "priority", "audit"}

// rules is the table: one line per directory. A new one needs its line here, so that somebody thinks about its place.
var rules = []rule{
	{dir: "hint"},
	{dir: "disk"},
	{dir: "lock"},
	{dir: "priority"},
	{dir: "audit"},

	// Bytes and keys: none of this knows what a backup is.
	{dir: "storage"},
	{dir: "s3", knows: []string{"storage"}},
	{dir: "targets", knows: []string{"storage", "s3", "config"}},
	{dir: "seal"},
	{dir: "child"}, // how a process of our own reads a file; what it reads is its callers' affair
	{dir: "config", knows: []string{"storage", "seal"}},
	{dir: "metrics"},
	{dir: "hello"}, // what any server tells everybody

	// What is in a repository, and not how it got there.
	{dir: "repo", knows: []string{"storage", "seal"}},
	{dir: "revisions"},
	{dir: "unlock", knows: []string{"storage", "seal", "repo"}},
	{dir: "retention", knows: []string{"storage", "seal", "repo", "revisions"}},
	{dir: "prune", knows: []string{"storage", "seal", "repo", "retention"}},
	{dir: "replicate", knows: []string{"storage", "seal", "repo"}},

	// What drills left in a repository, and what they say together.
	{dir: "proof", knows: []string{"storage", "seal", "repo"}},
	{dir: "stylesheet"},
	{dir: "report", knows: []string{"storage", "seal", "repo", "proof", "replicate", "stylesheet"}},
	{dir: "advisory"},

	// What is on this node, found in its files.
	{dir: "distro"},
	{dir: "setup", knows: []string{"distro"}},
	{dir: "stig", knows: []string{"config", "storage", "seal", "distro"}},
	{dir: "card", knows: []string{"config", "seal"}},

	// The live cluster, read only; and what is made of it.
	{dir: "etcd", etcd: true},
	{dir: "mvcc", etcd: true},
	{dir: "snapshot", knows: []string{"child", "mvcc", "storage", "seal", "repo", "etcd"}, etcd: true},
	{dir: "backup", knows: []string{"mvcc", "storage", "seal", "repo", "replicate", "etcd", "snapshot"}, etcd: true},
	{dir: "archive", knows: []string{"mvcc", "storage", "seal", "repo", "revisions", "etcd", "snapshot"}, etcd: true},
	{dir: "merge", knows: []string{"storage", "seal", "repo", "archive"}, etcd: true},

	// A restore works without a cluster: it must not know internal/etcd.
	{dir: "restore", knows: []string{"mvcc", "storage", "seal", "repo", "proof", "snapshot", "archive"}, etcd: true},

	// Looking into what a restore made in scratch. kube knows Kubernetes, and neither repositories nor etcd.
	{dir: "kube"},
	{dir: "past", knows: []string{"child", "mvcc", "storage", "seal", "repo", "snapshot", "archive", "restore", "kube"}, etcd: true},

	// A drill is a restore that nobody needed yet. Only members, which compares the live ones, may know internal/etcd.
	{dir: "survey", knows: []string{"child", "mvcc", "storage", "seal", "repo", "proof"}, etcd: true},
	{dir: "scratch", etcd: true},
	{dir: "drill", knows: []string{"mvcc", "storage", "seal", "repo", "retention", "proof", "snapshot", "archive", "restore", "scratch", "survey"}, etcd: true},
	{dir: "verify", knows: []string{"storage", "seal", "repo", "proof", "snapshot", "archive", "restore", "scratch", "survey", "drill"}, etcd: true},
	{dir: "members", knows: []string{"storage", "seal", "repo", "etcd", "snapshot"}, etcd: true},

	{dir: "archiver", knows: []string{"storage", "seal", "repo", "replicate", "etcd", "mvcc", "snapshot", "archive"}, etcd: true},
	{dir: "daemon", all: true, etcd: true},
	{dir: "demo", all: true, etcd: true},
	{dir: "status", knows: []string{"seal", "repo", "replicate", "proof", "advisory"}},
	{dir: "preflight", knows: []string{"storage", "s3", "config", "seal", "repo", "replicate", "etcd", "snapshot", "advisory", "hello"}, etcd: true},
	{dir: "cmd", all: true, etcd: true},
}
