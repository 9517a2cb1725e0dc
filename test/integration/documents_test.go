package integration

import (
	"slices"
	"time"
)

// These are the JSON documents of drd as a script reads them: the names are a contract, and so they are
// written down here a second time.

type manifest struct {
	ID              string `json:"id"`
	Cluster         string `json:"cluster"`
	Timeline        string `json:"timeline"`
	TimelineParent  string `json:"timeline_parent"`
	Revision        int64  `json:"revision"`
	CompactRevision int64  `json:"compact_revision"`
	Keys            int64  `json:"keys"`
	Leases          int    `json:"leases"`
	EtcdVersion     string `json:"etcd_version"`
	AuthEnabled     bool   `json:"auth_enabled"`
	Previous        string `json:"previous"`
	HashKV          struct {
		Hash            uint32 `json:"hash"`
		Revision        int64  `json:"revision"`
		CompactRevision int64  `json:"compact_revision"`
	} `json:"hashkv"`
	Compared []struct {
		Result string `json:"result"`
	} `json:"compared"`
	Plain struct {
		SHA256 string `json:"sha256"`
	} `json:"plain"`
	Object struct {
		Name   string `json:"name"`
		SHA256 string `json:"sha256"`
		Size   int64  `json:"size"`
	} `json:"object"`
}

type snapshotDocument struct {
	Snapshot       manifest        `json:"snapshot"`
	ManifestSHA256 string          `json:"manifest_sha256"`
	Targets        []targetOutcome `json:"targets"`
	Spooled        string          `json:"spooled"`
}

type targetOutcome struct {
	Name      string `json:"name"`
	Location  string `json:"location"`
	Committed bool   `json:"committed"`
	ReadBack  bool   `json:"read_back"`
	Error     string `json:"error"`
}

type listDocument struct {
	Targets []struct {
		Target         string     `json:"target"`
		Location       string     `json:"location"`
		Cluster        string     `json:"cluster"`
		Snapshots      []listItem `json:"snapshots"`
		ForeignObjects int        `json:"foreign_objects"`
	} `json:"targets"`
}

type listItem struct {
	ID         string    `json:"id"`
	Time       time.Time `json:"time"`
	State      string    `json:"state"`
	Problem    string    `json:"problem"`
	Signer     string    `json:"signer"`
	Proof      string    `json:"proof"`
	ObjectSize int64     `json:"object_size"`
	Manifest   *manifest `json:"manifest"`
}

type planDocument struct {
	Cluster string `json:"cluster"`
	Source  struct {
		Name string `json:"name"`
	} `json:"source"`
	Fallbacks []struct {
		Name string `json:"name"`
	} `json:"fallbacks"`
	Snapshot struct {
		ID       string `json:"id"`
		Revision int64  `json:"revision"`
		Keys     int64  `json:"keys"`
	} `json:"snapshot"`
	Signature struct {
		State     string `json:"state"`
		Principal string `json:"principal"`
	} `json:"signature"`
	Changes struct {
		Bump   string `json:"bump"`
		BumpBy *int64 `json:"bump_by"`
	} `json:"changes"`
	Newer []struct {
		ID string `json:"id"`
	} `json:"newer"`
	Leftovers []string `json:"leftovers"`
	Warnings  []string `json:"warnings"`
}

type restoreDocument struct {
	ID     string `json:"id"`
	Source struct {
		Name string `json:"name"`
	} `json:"source"`
	Path             string   `json:"path"`
	SnapshotRevision int64    `json:"snapshot_revision"`
	Bumped           int64    `json:"bumped"`
	LeasesAdded      int      `json:"leases_added"`
	Notices          []string `json:"notices"`
	Facts            struct {
		Revision int64  `json:"revision"`
		Keys     int64  `json:"keys"`
		HashKV   uint32 `json:"hash_kv"`
	} `json:"facts"`
}

// snapshot takes one and wants it in every target.
func (s *site) snapshot() manifest {
	s.t.Helper()
	r := s.must("snapshot", "--json")
	doc := decode[snapshotDocument](s.t, r)
	if len(doc.Targets) != len(s.stores) || doc.Spooled != "" || doc.Snapshot.Cluster != cluster || len(doc.ManifestSHA256) != 64 {
		s.t.Fatalf("not what was asked for: %v", r)
	}
	for _, target := range doc.Targets {
		if !target.Committed || !target.ReadBack || target.Error != "" {
			s.t.Fatalf("target %s has no proved copy\n%v", target.Name, r)
		}
	}
	return doc.Snapshot
}

// list returns the snapshots of one target by ID, ascending. More flags may choose another repository.
func (s *site) list(target int, flags ...string) []listItem {
	s.t.Helper()
	doc := decode[listDocument](s.t, s.must(append([]string{"list", "--json"}, flags...)...))
	if len(doc.Targets) <= target {
		s.t.Fatalf("%d targets are listed, want number %d", len(doc.Targets), target)
	}
	items := doc.Targets[target].Snapshots
	if !slices.IsSortedFunc(items, func(a, b listItem) int { return a.Time.Compare(b.Time) }) {
		s.t.Errorf("the list is not sorted by time: %v", items)
	}
	return items
}
