package snapshot

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

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

// Compare asks live members for HashKV and compares it with what was read from the snapshot.
//
// A small database (below scanBelow bytes) is asked at the snapshot's own revision: etcd scans the whole store
// for that, under load. Of a larger one only the hash of the last compaction is asked, which etcd ≥ 3.5.5 keeps
// in memory. The snapshot cannot confirm that one (the entries it covers are compacted away), so the
// members are compared with each other.
//
// Two hashes are compared only when revision and compact revision are equal in both. No
// error is returned: what could not be compared says why, and no backup waits for it.
func (t *Taken) Compare(ctx context.Context, from Hasher, members []etcd.Member, f Facts, scanBelow int64) []repo.Comparison {
	voters := slices.DeleteFunc(slices.Clone(members), func(m etcd.Member) bool { return m.IsLearner || len(m.ClientURLs) == 0 })
	if f.DBSize < scanBelow {
		return t.compareScanned(ctx, from, voters, f)
	}
	if f.CompactRevision == NeverCompacted || len(voters) < 2 || !cachesHashes(t.Status.Version) {
		return nil
	}
	answers := askAll(ctx, from, voters, f.CompactRevision)
	return amongMembers(answers)
}

// answer is what one member said, or why it said nothing.
type answer struct {
	member   etcd.Member
	endpoint string
	hash     etcd.Hash
	err      error
}

// askAll asks one member after the other: they must not all scan at the same moment.
func askAll(ctx context.Context, from Hasher, members []etcd.Member, revision int64) []answer {
	answers := make([]answer, 0, len(members))
	for _, m := range members {
		answers = append(answers, ask(ctx, from, m, revision))
	}
	return answers
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

// compareScanned compares each member's hash at the snapshot's revision with the snapshot's own.
func (t *Taken) compareScanned(ctx context.Context, from Hasher, members []etcd.Member, f Facts) []repo.Comparison {
	var out []repo.Comparison
	for _, a := range askAll(ctx, from, members, f.Revision) {
		c := a.comparison()
		if a.err == nil {
			t.judge(ctx, &c, f)
		}
		out = append(out, c)
	}
	return out
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

// amongMembers compares the answers for one compaction with each other. Where they are not all equal, every
// one of them differs: two hashes do not say which of the two members is right.
func amongMembers(answers []answer) []repo.Comparison {
	out := make([]repo.Comparison, len(answers))
	var same []*repo.Comparison // of the same revision and compact revision
	for i, a := range answers {
		c := &out[i]
		*c = a.comparison()
		switch {
		case a.err != nil:
		case len(same) > 0 && (c.Revision != same[0].Revision || c.CompactRevision != same[0].CompactRevision):
			c.Result = repo.ResultNotCompared
			c.Reason = fmt.Sprintf("compacted at %d, member %s at %d", c.CompactRevision, same[0].Member, same[0].CompactRevision)
		default:
			same = append(same, c)
		}
	}
	if len(same) == 1 {
		same[0].Result, same[0].Reason = repo.ResultNotCompared, "no other member answered for the same compaction"
		return out
	}
	result := repo.ResultEqual
	for _, c := range same {
		if c.Hash != same[0].Hash {
			result = repo.ResultDiffers
		}
	}
	for _, c := range same {
		c.Result = result
	}
	return out
}

// cachesHashes: etcd keeps the hashes of compactions since 3.5.5. Older ones would scan the whole store.
func cachesHashes(version string) bool {
	var v [3]int
	for i, part := range strings.SplitN(version, ".", 3) {
		digits, _, _ := strings.Cut(part, "-")
		n, err := strconv.Atoi(digits)
		if err != nil {
			return false
		}
		v[i] = n
	}
	return slices.Compare(v[:], []int{3, 5, 5}) >= 0
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
func clean(text string) string {
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(text, "?"))
	if len(text) > maxReason {
		text = strings.ToValidUTF8(text[:maxReason], "") + "…"
	}
	return text
}
