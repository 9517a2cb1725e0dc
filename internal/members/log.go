package members

import (
	"cmp"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/drd-project/drd/internal/etcd"
)

const (
	// logName is the log's file in the state directory.
	logName = "members.jsonl"
	// maxTriples and keepFor bound the log: three members of a small database that are asked every 2 minutes fill it in
	// five days, and a copy older than a week is compared with its manifest. In the file it is about 2 MB.
	maxTriples = 10_000
	keepFor    = 7 * 24 * time.Hour
	// renew is how old a line may be of what a member, whose store does not change, says again and again.
	renew = 30 * time.Minute
	// coveringPerMember is how many answers of one member a copy is compared with. One would do; the next is there for
	// when it does not fit.
	coveringPerMember = 3
)

// Triple is one member's hash of its key space. The hash is a function of the history and the two revisions: triples are
// comparable where both are equal. The fields are those of drill.Triple.
type Triple struct {
	Member          string    `json:"member"` // ID in hex
	Revision        int64     `json:"revision"`
	CompactRevision int64     `json:"compact_revision"` // etcd.NeverCompacted where there was none
	Hash            uint32    `json:"hash"`
	Seen            time.Time `json:"seen"`            // when the member said so last, in UTC
	EtcdClusterID   string    `json:"etcd_cluster_id"` // in hex
}

// entry is a line of the log: a triple, and where the member was when it was asked.
type entry struct {
	Triple
	First      time.Time `json:"first"`                // when the member said so first
	Compaction bool      `json:"compaction,omitempty"` // the hash that etcd keeps of a compaction, and not one of a scan
	Term       uint64    `json:"raft_term"`
	Index      uint64    `json:"raft_index"`

	written time.Time // Seen of the line in the file
}

// answer is what makes two entries say the same.
type answer struct {
	member string
	pair
	hash uint32
}

func (t Triple) answer() answer { return answer{t.Member, t.pair(), t.Hash} }

// Log is what members said in the last days, of one unforked history of one cluster: when the cluster turns out to be
// another one, or to have gone back in time, the log starts anew. One process writes it; any may read it. It is safe for
// concurrent use.
//
// It is a cache: what is lost of it is a comparison that a drill does not make.
type Log struct {
	path string

	mu      sync.Mutex
	entries []entry // oldest first
	lines   int     // in the file, good or not
}

// OpenLog reads the log of a state directory. One that is missing is empty, and a line that cannot be read (a crash
// tears the last one) is passed over.
func OpenLog(stateDir string) (*Log, error) {
	l := &Log{path: filepath.Join(stateDir, logName)}
	if err := l.read(); err != nil {
		return nil, err
	}
	return l, nil
}

// Covering are the triples that a copy of the store with this revision and compact revision can be compared with, by
// computing the copy's hash at the triple's own two revisions: newest revision first, at most three of each member.
//
// A copy that has no live key at the triple's revision cannot be compared: etcd hashes an empty key space
// differently before and after a compaction did its work. Nor can a copy that was taken before Since, for the cluster may have
// had another history then.
func (l *Log) Covering(revision, compact int64) []Triple {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []Triple
	for _, e := range l.entries {
		if e.Revision <= revision && e.CompactRevision >= compact {
			out = append(out, e.Triple)
		}
	}
	slices.SortStableFunc(out, func(a, b Triple) int {
		return cmp.Or(cmp.Compare(b.Revision, a.Revision), cmp.Compare(b.CompactRevision, a.CompactRevision),
			b.Seen.Compare(a.Seen), cmp.Compare(a.Member, b.Member))
	})
	taken := make(map[string]int)
	return slices.DeleteFunc(out, func(t Triple) bool {
		taken[t.Member]++
		return taken[t.Member] > coveringPerMember
	})
}

// Since is when the log begins; zero while it is empty. All of it is about one unforked history.
func (l *Log) Since() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	var since time.Time
	for _, e := range l.entries {
		if since.IsZero() || e.First.Before(since) {
			since = e.First
		}
	}
	return since
}

// all is a copy of the entries, oldest first.
func (l *Log) all() []entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.entries)
}

// knows says whether this member's hash of this compaction is in the log.
func (l *Log) knows(member string, compaction int64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.ContainsFunc(l.entries, func(e entry) bool {
		return e.Compaction && e.Member == member && e.Revision == compaction
	})
}

// contradicts says whether this member has given another hash for the same revisions.
func (l *Log) contradicts(member string, h etcd.Hash) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.ContainsFunc(l.entries, func(e entry) bool {
		return e.Member == member && e.pair() == pair{h.Revision, h.CompactRevision} && e.Hash != h.Value
	})
}

// add remembers entries, and forgets what is too old or too much. When it cannot write them they are remembered until
// the process ends.
func (l *Log) add(entries []entry, now time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var lines []entry
	for _, e := range entries {
		if e = l.merge(e); e.written.Equal(e.Seen) {
			lines = append(lines, e)
		}
	}
	l.entries = slices.DeleteFunc(l.entries, func(e entry) bool { return now.Sub(e.Seen) > keepFor })
	l.entries = slices.Clone(l.entries[max(0, len(l.entries)-maxTriples):])
	return l.write(lines)
}

// merge takes an entry in, in place of one that says the same. What it returns is to be written if written is Seen.
func (l *Log) merge(e entry) entry {
	e.First, e.written = e.Seen, e.Seen
	if i := slices.IndexFunc(l.entries, func(o entry) bool { return o.answer() == e.answer() }); i >= 0 {
		e.First = l.entries[i].First
		if old := l.entries[i].written; e.Seen.Sub(old) < renew {
			e.written = old
		}
		l.entries = slices.Delete(l.entries, i, i+1)
	}
	l.entries = append(l.entries, e)
	return e
}

// clear forgets everything.
func (l *Log) clear() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entries = nil
	return l.rewrite()
}
