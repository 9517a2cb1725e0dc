package snapshot

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/drd-project/drd/internal/etcd"
	"github.com/drd-project/drd/internal/repo"
)

// compareTimeout bounds one member's answer. A scan takes about half a second for each GiB, and is
// asked only of small databases; a cached hash takes milliseconds.
const compareTimeout = 10 * time.Second

// Hasher asks members for HashKV. *etcd.Client is one.
type Hasher interface {
	HashKV(ctx context.Context, endpoint string, revision int64) (etcd.Hash, error)
}

// Compare asks live members for HashKV at the snapshot's own revision and compares it with what was read from the snapshot.
//
// etcd scans the whole store for that, while others wait, so only a database below scanBelow bytes is compared: of a larger
// one Compare returns nil. Two hashes are compared only when revision and compact revision are equal in both. No error is
// returned: what could not be compared says why, and no backup waits for it.
func (t *Taken) Compare(ctx context.Context, from Hasher, members []etcd.Member, f Facts, scanBelow int64) []repo.Comparison {
	if f.DBSize >= scanBelow {
		return nil
	}
	var out []repo.Comparison
	for _, m := range members { // one after the other: they must not all scan at the same moment
		if m.IsLearner || len(m.ClientURLs) == 0 {
			continue
		}
		a := ask(ctx, from, m, f.Revision)
		c := a.comparison()
		if a.err == nil {
			t.judge(ctx, &c, f)
		}
		out = append(out, c)
	}
	return out
}

// answer is what one member said, or why it said nothing.
type answer struct {
	member   etcd.Member
	endpoint string
	hash     etcd.Hash
	err      error
}

func ask(ctx context.Context, from Hasher, m etcd.Member, revision int64) answer {
	ctx, cancel := context.WithTimeout(ctx, compareTimeout)
	defer cancel()
	a := answer{member: m}
	for _, a.endpoint = range m.ClientURLs {
		if a.hash, a.err = from.HashKV(ctx, a.endpoint, revision); a.err == nil {
			break
		}
	}
	return a
}

func (a answer) comparison() repo.Comparison {
	c := repo.Comparison{
		Member: etcd.FormatID(a.member.ID), Endpoint: clean(a.endpoint),
		Hash: a.hash.Value, Revision: a.hash.Revision, CompactRevision: a.hash.CompactRevision,
	}
	if a.err != nil {
		c.Result, c.Reason = repo.ResultNotCompared, reason(a.err)
	}
	return c
}

// judge compares an answer with the snapshot, which can be hashed as of any compaction that happened since.
func (t *Taken) judge(ctx context.Context, c *repo.Comparison, f Facts) {
	ours := f.HashKV
	switch {
	case c.CompactRevision < f.CompactRevision || c.CompactRevision > f.Revision:
		c.Result = repo.ResultNotCompared
		c.Reason = fmt.Sprintf("compacted at %d, the snapshot at %d", c.CompactRevision, f.CompactRevision)
		return
	case c.CompactRevision > f.CompactRevision:
		later, err := t.Hash(ctx, f.Revision, c.CompactRevision)
		if err != nil {
			c.Result, c.Reason = repo.ResultNotCompared, reason(err)
			return
		}
		ours = later
	}
	c.Result = repo.ResultDiffers
	if c.Hash == ours {
		c.Result = repo.ResultEqual
	}
}

// Diverged says whether any member's data was found to differ.
func Diverged(all []repo.Comparison) bool {
	return slices.ContainsFunc(all, func(c repo.Comparison) bool { return c.Result == repo.ResultDiffers })
}

// maxReason bounds what a manifest repeats of another's words, in bytes.
const maxReason = 200

// reason writes an error for a manifest: one line, printable, bounded and never empty. Part of it is
// a peer's own text, and no backup may fail for what a peer says.
func reason(err error) string {
	text, _, _ := strings.Cut(err.Error(), "\n")
	return cmp.Or(clean(text), "unknown")
}

// clean makes a text of somebody else's fit to be signed and shown.
func clean(text string) string { return repo.Shorten(repo.Printable(text), maxReason) }
