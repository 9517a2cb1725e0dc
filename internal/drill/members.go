package drill

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/drd-project/drd/internal/proof"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/snapshot"
)

const (
	// maxHashed bounds at how many revisions a file is hashed for the members: each takes half a second for a GiB.
	maxHashed = 4
	// tripleWindow is how far from the capture a member may have given a hash. Revisions alone do not say of which history
	// they are: after a rebuild in place the same numbers come again, with other content. A hash is for the moment, and
	// clusters that compact at all do it every few minutes.
	tripleWindow = time.Hour
)

// moment is a state of a store that a hash is of.
type moment struct{ revision, compact int64 }

// checkMembers hashes the file as live members have hashed themselves.
func (a *attempt) checkMembers(ctx context.Context, path string) bool {
	return a.check(ctx, CheckMembers, func(c *proof.Check) error {
		groups := a.answers()
		if len(groups) == 0 {
			return skipped("no live member gave a hash that this file can be compared with")
		}
		f, err := os.Open(path)
		if err != nil {
			return unsure{err}
		}
		defer f.Close()
		var all []comparison
		for _, at := range newestFirst(groups) {
			own, err := a.hashAt(ctx, f, at)
			if err != nil {
				return err
			}
			if own.Keys == 0 {
				continue // of an empty key space etcd's hash depends on how far a compaction has come
			}
			all = append(all, compareMembers(at, own.Value, groups[at]))
		}
		if len(all) == 0 {
			return skipped("no key was live when members gave their hashes, which says nothing about them")
		}
		return a.judgeMembers(c, all)
	})
}

// hashAt hashes the file as of a moment.
func (a *attempt) hashAt(ctx context.Context, f *os.File, at moment) (snapshot.Hash, error) {
	if at == (moment{a.facts.Revision, a.facts.CompactRevision}) {
		return snapshot.Hash{Value: a.facts.HashKV, Keys: a.facts.Keys}, nil
	}
	own, err := a.d.cfg.Inspector.HashFile(ctx, f, at.revision, at.compact)
	if err != nil && !errors.Is(err, snapshot.ErrDamaged) {
		err = unsure{err}
	}
	return own, err
}

// answers are the hashes that the file can be compared with, by what they are of. One member counts once for each.
func (a *attempt) answers() map[moment][]Triple {
	m := a.entry.Manifest
	all := make([]Triple, 0, len(m.Compared))
	for _, c := range m.Compared {
		if c.Result == repo.ResultEqual || c.Result == repo.ResultDiffers {
			all = append(all, Triple{Member: c.Member, Revision: c.Revision, CompactRevision: c.CompactRevision, Hash: c.Hash, Seen: m.CaptureEnd})
		}
	}
	if a.d.cfg.Triples != nil {
		all = append(all, a.d.cfg.Triples(a.facts.Revision, a.facts.CompactRevision)...)
	}
	groups := make(map[moment][]Triple)
	for _, t := range all {
		at := moment{t.Revision, t.CompactRevision}
		known := slices.ContainsFunc(groups[at], func(o Triple) bool { return o.Member == t.Member && o.Hash == t.Hash })
		if !known && a.comparable(t) {
			groups[at] = append(groups[at], t)
		}
	}
	return groups
}

// comparable reports whether the file still has everything that a hash is of, and is of the same history.
func (a *attempt) comparable(t Triple) bool {
	m := a.entry.Manifest
	return t.Revision <= a.facts.Revision && t.CompactRevision >= a.facts.CompactRevision && t.CompactRevision <= t.Revision &&
		(t.EtcdClusterID == "" || t.EtcdClusterID == m.EtcdClusterID) && !m.CaptureStart.Before(t.Since) &&
		t.Seen.After(m.CaptureStart.Add(-tripleWindow)) && t.Seen.Before(m.CaptureEnd.Add(tripleWindow))
}

func newestFirst(groups map[moment][]Triple) []moment {
	var all []moment
	for at := range groups {
		all = append(all, at)
	}
	slices.SortFunc(all, func(x, y moment) int {
		return cmp.Or(cmp.Compare(y.revision, x.revision), cmp.Compare(y.compact, x.compact))
	})
	return all[:min(len(all), maxHashed)]
}

// comparison is what members said of one moment, held against the file.
type comparison struct {
	at            moment
	own, theirs   uint32   // the same where a member agrees
	agree, differ []string // members
}

func compareMembers(at moment, own uint32, answers []Triple) comparison {
	c := comparison{at: at, own: own, theirs: answers[0].Hash}
	for _, t := range answers {
		if t.Hash == own {
			c.agree, c.theirs = append(c.agree, t.Member), own
		} else {
			c.differ = append(c.differ, fmt.Sprintf("%s (%d)", t.Member, t.Hash))
		}
	}
	return c
}

// judgeMembers says what the comparisons come to; the newest are first. A file that agrees with a live member holds what
// the cluster answers its clients: the members that differ from both have diverged, which is for somebody to look at. Only
// where no member agrees is the file at fault.
func (a *attempt) judgeMembers(c *proof.Check, all []comparison) error {
	c.Expected, c.Found = all[0].inWords()
	for _, this := range all {
		if len(this.differ) == 0 {
			continue
		}
		text := fmt.Sprintf("at revision %d, compacted at %d, members have other content than this snapshot (%d): %s",
			this.at.revision, this.at.compact, this.own, strings.Join(this.differ, ", "))
		if !slices.ContainsFunc(all, this.outweighedBy) {
			c.Expected, c.Found = this.inWords()
			return errors.New(text)
		}
		a.warn(text)
	}
	return nil
}

// outweighedBy reports whether members agree in other with the file about everything that this is of.
func (c comparison) outweighedBy(other comparison) bool {
	return len(other.agree) > 0 && other.at.revision >= c.at.revision && other.at.compact <= c.at.compact
}

func (c comparison) inWords() (expected, found string) {
	expected = fmt.Sprintf("%d at revision %d, compacted at %d", c.theirs, c.at.revision, c.at.compact)
	return expected, fmt.Sprint(c.own)
}
