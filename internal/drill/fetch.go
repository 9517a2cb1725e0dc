package drill

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/drd-project/drd/internal/proof"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/restore"
	"github.com/drd-project/drd/internal/scratch"
	"github.com/drd-project/drd/internal/seal"
	"github.com/drd-project/drd/internal/snapshot"
	"github.com/drd-project/drd/internal/storage"
)

// The member that is restored. Nobody listens at its peer URL and nobody calls it: it is there because a member has one.
const (
	memberName   = "drill"
	memberURL    = "http://127.0.0.1:1"
	clusterToken = "drd-drill"
)

// dataDir is where the data directory is made.
func (a *attempt) dataDir() string { return filepath.Join(a.dir, "etcd") }

func (a *attempt) member() scratch.Data {
	return scratch.Data{
		Dir: a.dataDir(), Name: memberName, InitialCluster: memberName + "=" + memberURL,
		InitialClusterToken: clusterToken, PeerURL: memberURL,
	}
}

// errConcluded ends a restore whose store was found to be wrong: the check that found it is recorded already.
var errConcluded = errors.New("the drill is concluded")

// restore makes everything from the object to the data directory. It is what drd restore does, without a bump of the
// revision, and looks closer.
func (a *attempt) restore(ctx context.Context) bool {
	plan, err := a.way, error(nil)
	if a.point == nil {
		plan, err = a.plan()
	}
	if err == nil {
		err = a.leaveRoom(plan)
	}
	if err != nil {
		return a.record(ctx, proof.Check{Name: CheckObject}, unsure{err})
	}
	steps := &stepClock{a: a, ctx: ctx, begin: time.Now()}
	options := restore.Options{
		Thorough: true, Direct: true, CheckOnly: !a.out.Level.Boots(),
		Store: func(ctx context.Context, path string, facts snapshot.Facts) error {
			return a.examine(ctx, path, facts, steps)
		},
	}
	if a.point != nil {
		options.Keys = a.keyOf
		options.Made = func(ctx context.Context, path string, r *restore.Result) error {
			return a.examineMade(ctx, path, r, steps)
		}
	}
	_, err = restore.RunWith(ctx, plan, a.ids, a.d.cfg.Inspector, steps, options)
	switch {
	case a.over():
		return false
	case err != nil:
		return a.restoreFailed(ctx, plan, err, steps)
	case !a.out.Level.Boots():
		return true
	}
	if a.leases, err = leasesOf(a.dataDir()); err != nil {
		err = fmt.Errorf("read the restored leases: %w", err)
	}
	return a.record(ctx, proof.Check{Name: CheckRestore, Seconds: steps.lap()}, err)
}

// plan is refused where there is no room for it.
func (a *attempt) plan() (*restore.Plan, error) {
	exact, err := restore.BumpBy(0)
	if err != nil {
		return nil, err
	}
	return restore.PlanEntry(a.origin(), a.entry, a.request(exact), a.d.cfg.Now())
}

func (a *attempt) origin() restore.Source {
	return restore.Source{Name: a.target.Name, Repo: a.target.Repo}
}

// request makes the data directory of the member, and says nothing of what goes into it.
func (a *attempt) request(exact restore.Bump) restore.Request {
	m := a.member()
	return restore.Request{
		DataDir: m.Dir, Name: m.Name, InitialCluster: m.InitialCluster, InitialClusterToken: m.InitialClusterToken,
		PeerURLs: []string{m.PeerURL}, Bump: exact,
	}
}

// restoreFailed names the layer that a restore failed in.
func (a *attempt) restoreFailed(ctx context.Context, plan *restore.Plan, err error, steps *stepClock) bool {
	var step *restore.StepError
	seconds := steps.lap()
	switch {
	case !errors.As(err, &step):
		return a.record(ctx, proof.Check{Name: a.next(), Seconds: seconds}, unsure{err})
	case a.point != nil && slices.Contains(archiveSteps, step.Step):
		return a.wayFailed(ctx, step, seconds)
	case step.Step == restore.StepFetch:
		return a.fetchFailed(ctx, plan, err, seconds)
	case step.Step == restore.StepCheck && !a.made(CheckStructure):
		if !errors.Is(err, snapshot.ErrDamaged) {
			err = unsure{err}
		}
		return a.record(ctx, proof.Check{Name: CheckStructure, Seconds: seconds}, err)
	}
	return a.record(ctx, proof.Check{Name: a.next(), Seconds: seconds}, err)
}

// fetchFailed names the layer of an object that could not be read as what it should be. Whatever is not about its content
// says nothing about it.
func (a *attempt) fetchFailed(ctx context.Context, plan *restore.Plan, err error, seconds float64) bool {
	object := proof.Check{Name: CheckObject, Expected: a.entry.Manifest.Object.SHA256, Seconds: seconds}
	var after []string // layers that were found good before the one at fault
	name := CheckObject
	switch {
	case errors.Is(err, repo.ErrDamaged):
	case errors.Is(err, storage.ErrNotExist):
		err = a.missing(ctx, err)
	case errors.Is(err, seal.ErrDamaged), errors.Is(err, seal.ErrNoIdentity):
		name, after, err = CheckEnvelope, []string{CheckObject}, a.envelopeProblem(ctx, plan, err)
	case errors.Is(err, restore.ErrPlaintext):
		name, after = CheckTrailer, []string{CheckObject, CheckEnvelope}
	default:
		err = unsure{err}
	}
	if name == CheckObject {
		return a.record(ctx, object, err)
	}
	for _, good := range after {
		c := proof.Check{Name: good}
		if good == CheckObject {
			object.Found = object.Expected
			c = object
		}
		a.record(ctx, c, nil)
	}
	return a.record(ctx, proof.Check{Name: name}, err)
}

// missing tells an object that is lost from a snapshot that was pruned during the drill.
func (a *attempt) missing(ctx context.Context, err error) error {
	e, lookErr := a.target.Repo.Look(ctx, a.id, a.d.cfg.Trust)
	switch {
	case errors.Is(lookErr, repo.ErrNothing) || lookErr == nil && e.State == repo.StateIncomplete:
		return unsuref("the snapshot was pruned or deleted during the drill: %w", err)
	case lookErr != nil:
		return unsure{errors.Join(err, lookErr)}
	}
	return err
}

// envelopeProblem tells a broken envelope from a key that is for another one. The object is known to be the recorded one.
func (a *attempt) envelopeProblem(ctx context.Context, plan *restore.Plan, err error) error {
	if errors.Is(err, seal.ErrNoIdentity) && !a.sealedForUs() {
		return unsure{err}
	}
	// A file key that a person gave opens whatever it is given, and fails where it is not of this object.
	if a.out.OpenedWith != retainedKey && !a.sealedForUs() && restore.CanOpen(ctx, plan, a.ids) != nil {
		return unsure{err}
	}
	return err
}

// retainedKey is the kind of a key that was kept when this very object was sealed.
const retainedKey = "retained file key"

// sealedForUs reports whether the manifest names the recipient of an identity that was tried.
func (a *attempt) sealedForUs() bool {
	for _, id := range a.ids {
		if of := seal.Fingerprint(id); of != "" && slices.Contains(a.entry.Manifest.Object.Recipients, of) {
			return true
		}
	}
	return false
}

// stepClock passes the steps of a restore on, and records the checks that a finished fetch has made.
type stepClock struct {
	a     *attempt
	ctx   context.Context // of the drill, for the checks
	begin time.Time       // of what is under way
}

// lap returns the seconds since the last lap.
func (s *stepClock) lap() float64 {
	now := time.Now()
	seconds := now.Sub(s.begin).Seconds()
	s.begin = now
	return seconds
}

func (s *stepClock) Step(name string, total int64) {
	switch name {
	case restore.StepSegments:
		s.begin = time.Now()
	case restore.StepTell, restore.StepFetch:
		s.a.segmentsFetched(s.ctx, s)
		s.begin = time.Now()
	case restore.StepCheck:
		s.fetched()
	case restore.StepCompare, restore.StepMade:
		s.a.replayed(s.ctx, s)
	}
	s.a.watch.Step(name, total)
}

func (s *stepClock) Add(n int64)        { s.a.watch.Add(n) }
func (s *stepClock) Notice(text string) { s.a.watch.Notice(text) }

// fetched records what one pass over the object has proved. Its time is that of the first check.
func (s *stepClock) fetched() {
	m := s.a.entry.Manifest
	s.a.record(s.ctx, proof.Check{Name: CheckObject, Expected: m.Object.SHA256, Found: m.Object.SHA256, Seconds: s.lap()}, nil)
	s.a.record(s.ctx, proof.Check{Name: CheckEnvelope, Expected: m.Object.Envelope, Found: m.Object.Envelope}, nil)
	s.a.record(s.ctx, proof.Check{Name: CheckTrailer, Expected: m.Plain.SHA256, Found: m.Plain.SHA256}, nil)
}

// examine compares the fetched store with everything that was recorded of it.
func (a *attempt) examine(ctx context.Context, path string, facts snapshot.Facts, steps *stepClock) error {
	a.facts = facts
	a.record(ctx, proof.Check{Name: CheckStructure, Seconds: steps.lap()}, nil)
	m := a.entry.Manifest
	passed := a.equal(ctx, CheckRevision, m.Revision, facts.Revision) &&
		a.equal(ctx, CheckCompactRevision, m.CompactRevision, facts.CompactRevision) &&
		a.equal(ctx, CheckKeys, inWords(m.Keys, m.Revisions, m.DBSize), inWords(facts.Keys, facts.Revisions, facts.DBSize)) &&
		a.equal(ctx, CheckHashKV, m.HashKV.Hash, facts.HashKV) &&
		a.checkMembers(ctx, path) &&
		a.checkContents(ctx, CheckContents, path)
	steps.lap()
	if !passed {
		return errConcluded
	}
	if a.point != nil {
		a.out.Archived.Base = proof.Passed
	}
	return nil
}

func inWords(keys, revisions, size int64) string {
	return fmt.Sprintf("%d keys, %d revisions, %d bytes", keys, revisions, size)
}

// equal is a check of one recorded value.
func (a *attempt) equal(ctx context.Context, name string, want, got any) bool {
	return a.check(ctx, name, func(c *proof.Check) error { return compare(c, want, got) })
}

// compare writes down what was expected and found, and whether that is the same.
func compare(c *proof.Check, want, got any) error {
	c.Expected, c.Found = fmt.Sprint(want), fmt.Sprint(got)
	if want != got {
		return fmt.Errorf("expected %v, found %v", want, got)
	}
	return nil
}
