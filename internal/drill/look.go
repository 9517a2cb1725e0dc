package drill

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/drd-project/drd/internal/proof"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/retention"
)

// look reads manifest and signature, as a restore does.
func (a *attempt) look(ctx context.Context) bool {
	return a.check(ctx, CheckManifest, func(c *proof.Check) error {
		e, err := a.target.Repo.Look(ctx, a.id, a.d.cfg.Trust)
		if errors.Is(err, repo.ErrNothing) {
			return unsuref("%w: it was pruned, or deleted", err)
		}
		if err != nil {
			return unsure{err}
		}
		a.entry = e
		c.Found = e.Digest
		if e.State == repo.StateIncomplete {
			return a.incomplete(ctx, e)
		}
		return manifestProblem(e)
	}) && a.check(ctx, CheckSignature, func(c *proof.Check) error {
		if err := signatureProblem(a.entry); err != nil {
			return err
		}
		c.Found = a.entry.Signer.Principal + " " + a.entry.Signer.Fingerprint
		a.describe()
		return nil
	})
}

// describe takes over what the manifest says, once it is believed.
func (a *attempt) describe() {
	m := a.entry.Manifest
	a.out.ManifestSHA256, a.out.CapturedAt, a.out.Revision = a.entry.Digest, m.CaptureStart, m.Revision
	a.out.ObjectBytes, a.out.DBSize = m.Object.Size, m.DBSize
}

// manifestProblem is what is wrong with the manifest itself.
func manifestProblem(e *repo.Entry) error {
	switch e.State {
	case repo.StateBadManifest:
		return e.Problem
	case repo.StateUnreadable, repo.StateNewerFormat:
		return unsure{e.Problem}
	}
	return nil
}

// pruneSettles is how long a prune may take between the manifest of a snapshot, which it deletes first, and the rest.
const pruneSettles = 5 * time.Second

// incomplete says what it means that there is no manifest. Young objects are an upload that is under way, and old ones may
// be going away just now. What stays has lost its manifest, or was given up: no restore will find it.
func (a *attempt) incomplete(ctx context.Context, e *repo.Entry) error {
	now := a.d.cfg.Now()
	if now.Sub(e.ID.Time) <= retention.LitterAge || now.Sub(e.Modified) <= retention.LitterAge {
		return unsuref("%w; its name or its objects are not older than %s", e.Problem, inHours(retention.LitterAge))
	}
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(pruneSettles):
	}
	switch later, err := a.target.Repo.Look(ctx, a.id, a.d.cfg.Trust); {
	case errors.Is(err, repo.ErrNothing):
		return unsuref("%w: it was being pruned", err)
	case err != nil:
		return unsure{err}
	case later.State != repo.StateIncomplete:
		return unsuref("its upload has just ended: the snapshot is %s now", later.State)
	}
	return fmt.Errorf("no manifest, and the snapshot was named more than %s ago: it was lost, or the upload was given up",
		inHours(retention.LitterAge))
}

func inHours(d time.Duration) string { return fmt.Sprintf("%.0f hours", d.Hours()) }

// signatureProblem is why nobody believes the manifest. A state that is known to neither function is not believed.
func signatureProblem(e *repo.Entry) error {
	switch {
	case e.State == repo.StateOK, e.Manifest != nil && (e.State == repo.StatePayloadMissing || e.State == repo.StatePayloadSize):
		return nil
	case e.Problem == nil:
		return fmt.Errorf("the snapshot is %s", e.State)
	}
	return e.Problem
}

// maxChain bounds how many earlier manifests of the member are read in search of the one that a manifest names: some
// may lie between that were taken for another target, or before an older one arrived late.
const maxChain = 10

// checkChain looks whether the manifest that this one names as the one before is there and is one before.
func (a *attempt) checkChain(ctx context.Context) bool {
	return a.check(ctx, CheckChain, func(c *proof.Check) error {
		m := a.entry.Manifest
		c.Expected = m.Previous
		if m.Previous == "" {
			return skipped("it is the first manifest of its node")
		}
		earlier, err := a.earlier(ctx)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			return skipped(fmt.Sprintf("the manifests before it could not be read: %v", err))
		}
		for i, e := range earlier {
			if e.Digest != m.Previous {
				continue
			}
			c.Found = e.Digest
			if i > 0 {
				a.warn(fmt.Sprintf("%d snapshots of the member lie between this one and %s, which it names as the one before", i, e.ID))
			}
			return contradiction(m, e.Manifest)
		}
		return skipped("the manifest before it is not in this target any more, or never was")
	})
}

// earlier returns what the same member took before, latest first, as far as it can be believed.
func (a *attempt) earlier(ctx context.Context) ([]*repo.Entry, error) {
	listed, err := a.target.Repo.Recent(ctx, a.d.cfg.Trust, 0)
	if err != nil {
		return nil, err
	}
	var found []*repo.Entry
	for i := len(listed.Entries) - 1; i >= 0 && len(found) < maxChain; i-- {
		id := listed.Entries[i].ID
		if id.Member != a.id.Member || id.Compare(a.id) >= 0 {
			continue
		}
		e, err := a.target.Repo.Look(ctx, id, a.d.cfg.Trust)
		if errors.Is(err, repo.ErrNothing) {
			continue // pruned since
		}
		if err != nil {
			return nil, err
		}
		if e.Manifest == nil {
			continue
		}
		if found = append(found, e); e.Digest == a.entry.Manifest.Previous {
			break
		}
	}
	return found, nil
}

// contradiction is what two manifests that follow each other cannot both say.
func contradiction(m, before *repo.Manifest) error {
	switch {
	case before.EtcdClusterID != m.EtcdClusterID && before.Timeline == m.Timeline:
		return fmt.Errorf("it is of etcd cluster %s, and %s, on the same timeline, is of %s", m.EtcdClusterID, before.ID, before.EtcdClusterID)
	case before.Timeline == m.Timeline && before.Revision > m.Revision && before.CaptureEnd.Before(m.CaptureStart):
		return fmt.Errorf("revision %d comes after revision %d of %s, on the same timeline", m.Revision, before.Revision, before.ID)
	}
	return nil
}

// listed fails where the listing shows already that the object is missing or has another size: that takes no key.
func (a *attempt) listed(ctx context.Context) bool {
	if a.entry.State == repo.StateOK {
		return true
	}
	return a.record(ctx, proof.Check{Name: CheckObject, Expected: fmt.Sprintf("%d bytes", a.entry.Manifest.Object.Size)}, a.entry.Problem)
}

// findKeys asks for what opens the object.
func (a *attempt) findKeys(ctx context.Context) bool {
	ids, kind, err := a.d.cfg.Keys(ctx, a.target.Repo, a.entry.Manifest)
	if err != nil {
		return a.record(ctx, proof.Check{Name: CheckEnvelope}, unsuref("find a key: %w", err))
	}
	a.ids, a.out.OpenedWith = ids, kind
	return true
}
