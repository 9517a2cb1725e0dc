package proof

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/seal"
)

// defaultLimit is how many records are read where nobody says: half a year of two nodes that drill daily and prove the
// data of four snapshots a day.
const defaultLimit = 1000

// States that a record may have beside those of a manifest.
const (
	// StateBadRecord: what was signed cannot be the record of this ID and cluster.
	StateBadRecord repo.State = "bad-record"
	// StateOtherTarget: a genuine record, of a run against another target. It proves nothing here.
	StateOtherTarget repo.State = "other-target"
)

// ReadOptions say which records are read, and what they are about.
type ReadOptions struct {
	// Target is the place that the records must be about. Location "" means that of the repository's bucket. Name is what
	// the configuration calls it, for hosts that reach it by another way; "": only the location counts.
	Target Target
	Since  time.Time // records of an earlier time are not read; zero: all are
	Limit  int       // the newest so many are read; 0: 1,000
	Now    time.Time // what is dated more than repo.FutureSkew later is not read; zero: this machine's clock
	// Cache keeps what was read for the next time; nil: nothing does. Records then come without their checks, warnings and
	// census. It is for one repository, one Target and one trust.
	Cache *Cache
}

func (o ReadOptions) withDefaults(r *repo.Repository) ReadOptions {
	o.Target.Location = cmp.Or(o.Target.Location, r.Bucket().Location())
	o.Limit = cmp.Or(o.Limit, defaultLimit)
	if o.Now.IsZero() {
		o.Now = time.Now()
	}
	return o
}

// SignedRecord is one record as it was found.
type SignedRecord struct {
	ID  string
	Key string // of the object; the signature's is the same with .sig
	// State says whether it is believed: repo.StateOK, or as for a manifest why not, StateBadRecord or StateOtherTarget.
	State repo.State
	// Problem is what is wrong, on one printable line of at most 300 bytes; nil for StateOK and repo.StateUnverified.
	Problem error
	Record  *Record     // nil unless a good signature, or with trust nil nobody, vouches for it
	Digest  string      // hex SHA-256 of the record's bytes; "" when they were not read
	Signer  seal.Signed // zero unless the signature is good

	at time.Time
}

// Time is when the record was written by its ID, in whole seconds, UTC.
func (s *SignedRecord) Time() time.Time { return s.at }

func (s *SignedRecord) fail(state repo.State, err error) {
	s.State, s.Problem = state, repo.Describe(err)
}

// Read reads the drill records of a repository, in parallel, and what they say of the target. Only those count that somebody in
// trust signed, and that are about this target and cluster; with trust nil none counts. One that is broken is that
// record's problem; only a failing listing, or the end of ctx, is an error.
func Read(ctx context.Context, r *repo.Repository, trust *seal.Trust, opt ReadOptions) (*History, error) {
	opt = opt.withDefaults(r)
	ids, more, err := r.Drills(ctx, opt.Since, opt.Now.Add(repo.FutureSkew), opt.Limit)
	if err != nil {
		return nil, err
	}
	records := make([]*SignedRecord, len(ids))
	var group errgroup.Group
	group.SetLimit(max(1, r.Bucket().Properties().Parallel))
	for i, id := range ids {
		group.Go(func() error {
			records[i] = opt.Cache.record(id, func() *SignedRecord { return readRecord(ctx, r, id, trust, opt) })
			return ctx.Err()
		})
	}
	if err := group.Wait(); err != nil {
		return nil, fmt.Errorf("read drill records of %s in %s: %w", r.Cluster(), r.Bucket().Location(), err)
	}
	opt.Cache.keep(ids)
	return newHistory(records, more), nil
}

// readRecord judges one record. With trust, nothing of a record without a good signature is decoded.
func readRecord(ctx context.Context, r *repo.Repository, id string, trust *seal.Trust, opt ReadOptions) *SignedRecord {
	out := &SignedRecord{ID: id, Key: r.DrillKey(id)}
	out.at, _, _ = repo.ParseDrillID(id) // it was listed, so it has a time
	record, signature, err := r.Drill(ctx, id)
	switch {
	case errors.Is(err, repo.ErrDamaged):
		out.fail(StateBadRecord, err)
		return out
	case err != nil:
		out.fail(repo.StateUnreadable, err)
		return out
	}
	out.Digest = repo.Digest(record)
	if trust != nil && !out.judgeSignature(record, signature, trust) {
		return out
	}
	out.judge(record, r.Cluster(), opt)
	if trust == nil && out.State == repo.StateOK {
		out.State = repo.StateUnverified
	}
	return out
}

// judgeSignature reports whether somebody trusted signed the bytes. A key counts as valid when it was at the time in the ID.
func (s *SignedRecord) judgeSignature(record, signature []byte, trust *seal.Trust) bool {
	signer, err := trust.Verify(record, signature, s.at)
	switch {
	case err == nil:
		s.Signer = signer
		return true
	case errors.Is(err, seal.ErrUnsigned):
		s.fail(repo.StateUnsigned, errors.New("record is not signed"))
	case errors.Is(err, seal.ErrUnknownSigner):
		s.fail(repo.StateUnknownSigner, err)
	case errors.Is(err, seal.ErrExpiredSigner):
		s.fail(repo.StateExpiredSigner, err)
	default:
		s.fail(repo.StateBadSignature, err)
	}
	return false
}

// judge decodes the record and compares it with where it lies.
func (s *SignedRecord) judge(b []byte, cluster string, opt ReadOptions) {
	rec, err := Decode(b)
	switch {
	case errors.Is(err, ErrNewerFormat):
		s.fail(repo.StateNewerFormat, err)
	case err != nil:
		s.fail(StateBadRecord, err)
	case rec.ID != s.ID:
		s.fail(StateBadRecord, fmt.Errorf("it is record %s", rec.ID))
	case rec.Cluster != cluster:
		s.fail(StateBadRecord, fmt.Errorf("it is of cluster %s", rec.Cluster))
	case rec.Target.Location != opt.Target.Location && (opt.Target.Name == "" || rec.Target.Name != opt.Target.Name):
		s.Record = rec
		s.fail(StateOtherTarget, fmt.Errorf("it is about target %s, %s", rec.Target.Name, rec.Target.Location))
	default:
		s.State, s.Record = repo.StateOK, rec
	}
}

// sortRecords puts the oldest first.
func sortRecords(records []*SignedRecord) {
	slices.SortFunc(records, func(a, b *SignedRecord) int {
		return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.ID, b.ID))
	})
}
