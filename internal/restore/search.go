package restore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/seal"
)

// candidate is the snapshot in one source.
type candidate struct {
	source Source
	entry  *repo.Entry
}

func (c candidate) origin() Origin {
	return Origin{Name: c.source.Name, Location: c.source.Repo.Bucket().Location()}
}

// finding is the snapshot, everywhere it was found, and everything else that was seen on the way.
type finding struct {
	candidates []candidate // in order of the sources, at least one, all with the same manifest
	aim
	looks    []look
	all      *repo.Catalogue
	warnings []string
}

// search looks into every source at the same time and chooses over all of them: the newest snapshot may be in the
// second one only.
func search(ctx context.Context, sources []Source, trust *seal.Trust, req Request, now time.Time) (*finding, error) {
	looks := lookInto(ctx, sources, trust, req)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	var failed []error
	f := &finding{looks: looks}
	for _, l := range looks {
		if l.err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", l.source.Name, l.err))
			f.warn("%s could not be read, what it holds is not known: %v", l.source.Name, l.err)
		}
	}
	if len(failed) == len(looks) {
		return nil, errors.Join(append(failed, errNoSource(looks))...)
	}
	f.all = merge(looks, req.InsecureSkipSignature)
	err := f.choose(ctx, looks, trust, req, now)
	if f.found != nil {
		failed = append(failed, f.found.failed...)
	}
	if err != nil {
		return nil, explain(ctx, err, looks, failed)
	}
	chosen := f.chain.Base
	f.locate(looks, chosen, req)
	if req.InsecureSkipSignature && trust != nil {
		f.vouch(ctx, trust)
	}
	f.warnAboutPlace(chosen, req, now)
	f.warnAboutOthers(chosen, now)
	f.warnAboutSegments()
	return f, nil
}

func (f *finding) warn(format string, args ...any) {
	f.warnings = append(f.warnings, repo.Printable(fmt.Sprintf(format, args...)))
}

func errNoSource(looks []look) error {
	if len(looks) == 0 {
		return errors.New("no target to restore from is given")
	}
	return nil
}

// merge makes one catalogue of all. Of several entries with one ID it keeps the first that can be
// restored, or the first.
func merge(looks []look, insecure bool) *repo.Catalogue {
	all := &repo.Catalogue{}
	var locations []string
	at := make(map[repo.ID]int)
	for _, l := range looks {
		if l.err != nil {
			continue
		}
		all.Cluster = l.cat.Cluster
		locations = append(locations, l.cat.Location)
		for _, e := range l.cat.Entries {
			i, known := at[e.ID]
			switch {
			case !known:
				at[e.ID] = len(all.Entries)
				all.Entries = append(all.Entries, e)
			case !all.Entries[i].Restorable(insecure) && e.Restorable(insecure):
				all.Entries[i] = e
			}
		}
	}
	all.Location = strings.Join(locations, " and ")
	slices.SortFunc(all.Entries, func(a, b repo.Entry) int { return a.ID.Compare(b.ID) })
	return all
}

// explain adds to "nothing found" what the reader would ask next: which target was not asked, or
// which clusters there are. While a target could not be read, nothing is certain, so repo.ErrNothing
// is not wrapped then.
func explain(ctx context.Context, err error, looks []look, failed []error) error {
	if len(failed) > 0 {
		unsure := fmt.Errorf("%v; other targets could not be read: %w", err, errors.Join(failed...)) //nolint:errorlint // on purpose, see above
		for _, h := range slices.Backward(hint.Of(err)) {
			unsure = hint.New(unsure, "%s", h)
		}
		return unsure
	}
	for _, l := range looks {
		if len(l.cat.Entries) > 0 {
			return err
		}
	}
	for _, l := range looks {
		// Without the names the error stands as it is: a failure to list them adds nothing.
		names, complete, listErr := repo.Clusters(ctx, l.source.Repo.Bucket())
		if listErr != nil || len(names) == 0 {
			continue
		}
		if !complete {
			names = append(names, "and perhaps others")
		}
		return hint.New(err, "%s holds these clusters: %s", l.source.Name, strings.Join(names, ", "))
	}
	return err
}

// locate finds every source that holds the chosen snapshot with the very same manifest.
func (f *finding) locate(looks []look, chosen *repo.Entry, req Request) {
	for _, l := range looks {
		if l.err != nil {
			continue
		}
		for i := range l.cat.Entries {
			e := &l.cat.Entries[i]
			if e.ID != chosen.ID {
				continue
			}
			if e.Digest == chosen.Digest && e.Restorable(req.InsecureSkipSignature) {
				f.candidates = append(f.candidates, candidate{source: l.source, entry: e})
				continue
			}
			f.warn("%s: its copy of %s is not used: %s", l.source.Name, e.ID, condition(e))
		}
	}
}

// vouch finds out who signed what was chosen without asking for it: a signature that is good is worth telling.
func (f *finding) vouch(ctx context.Context, trust *seal.Trust) {
	for i, c := range f.candidates {
		if e, err := c.source.Repo.Look(ctx, c.entry.ID, trust); err == nil && e.State == repo.StateOK && e.Digest == c.entry.Digest {
			f.candidates[i].entry = e
		}
	}
}

func condition(e *repo.Entry) string {
	switch {
	case e.State == repo.StateUnread:
		return string(e.State)
	case e.Problem == nil:
		return "it has another manifest"
	}
	return fmt.Sprintf("%s: %v", e.State, e.Problem)
}

// maxWarned bounds how many other snapshots are named in warnings.
const maxWarned = 10

// warnAboutPlace says when time and history disagree about which snapshot is the newest.
func (f *finding) warnAboutPlace(chosen *repo.Entry, req Request, now time.Time) {
	const why = "taken from a member that was cut off or had fallen behind, or with a wrong clock"
	if req.ID != "" {
		if o := f.all.Behind(chosen, now, req.InsecureSkipSignature); o != nil {
			f.warn("%s is later but stands behind %s, at revision %d of %d: %s", chosen.ID, o.ID, chosen.ID.Revision, o.ID.Revision, why)
		}
		return
	}
	passed := f.all.PassedOver(now, req.InsecureSkipSignature)
	for _, p := range passed[:min(len(passed), maxWarned)] {
		f.warn("%s is later but stands behind %s: %s; choose it with --id", p.Entry.ID, p.Behind.ID, why)
	}
	if more := len(passed) - maxWarned; more > 0 {
		f.warn("%d more later snapshots stand behind earlier ones", more)
	}
}

// warnAboutOthers names snapshots that somebody should look after.
func (f *finding) warnAboutOthers(chosen *repo.Entry, now time.Time) {
	for _, e := range f.all.Future(now) {
		f.warn("%s is dated in the future: the clock of its node, or of this machine, is wrong", e.ID)
	}
	var named, more int
	for i := range f.all.Entries {
		e := &f.all.Entries[i]
		if e.Problem == nil || e.ID == chosen.ID {
			continue
		}
		if named == maxWarned {
			more++
			continue
		}
		named++
		f.warn("%s is %s: %v", e.ID, e.State, e.Problem)
	}
	if more > 0 {
		f.warn("%d more snapshots have problems: run `drd list`", more)
	}
}

// warnAboutSegments says what of the archive was not looked at or cannot be used.
func (f *finding) warnAboutSegments() {
	if f.found == nil {
		return
	}
	for _, err := range f.found.failed {
		f.warn("the archive could not be read, what it holds is not known: %v", err)
	}
	bad := 0
	first := ""
	for i := range f.found.merged {
		if e := &f.found.merged[i]; e.Problem != nil && e.State != repo.StateIncomplete {
			if bad++; bad == 1 {
				first = fmt.Sprintf("%s is %s: %v", e.Name, e.State, e.Problem)
			}
		}
	}
	if bad > 0 {
		f.warn("segments that cannot be used: %d; the first, %s", bad, first)
	}
}
