package backup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/google/renameio/v2"

	"github.com/drd-project/drd/internal/etcd"
	"github.com/drd-project/drd/internal/repo"
)

// historyTimeout bounds how long a backup waits for the targets to tell the cluster's past. A dead target
// must not delay a capture; what it would have said is known from the others and from the local state.
const historyTimeout = 20 * time.Second

// history is what is known of the cluster's past when a backup begins: what the targets hold, and the last
// manifest this node wrote, wherever it got to.
type history struct {
	path      string
	catalogue repo.Catalogue
	last      lastManifest
}

// lastManifest is the state file: the node's newest manifest, whole, because it is a witness of
// the timeline even while no target can be reached.
type lastManifest struct {
	Digest   string         `json:"digest"`
	Manifest *repo.Manifest `json:"manifest"`
}

// readHistory asks all targets at once. None of it can fail a backup: a history that is missing costs a
// link of the chain or a name for the timeline, and a missing backup costs the cluster.
func (r *Runner) readHistory(ctx context.Context) *history {
	h := &history{path: filepath.Join(r.cfg.StateDir, "last-manifest.json")}
	if err := h.load(r.cfg.Cluster); err != nil {
		r.cfg.Log.Warn("the chain's state is unreadable; going on from what the targets hold", "error", err)
	}
	ctx, cancel := context.WithTimeout(ctx, historyTimeout)
	defer cancel()
	catalogues := make([]*repo.Catalogue, len(r.cfg.Targets))
	var wg sync.WaitGroup
	for i, t := range r.cfg.Targets {
		wg.Go(func() {
			c, err := t.Repo.Catalogue(ctx, r.cfg.Trust)
			if err != nil {
				r.cfg.Log.Warn("a target's history is not known", "target", t.Name, "error", err)
				return
			}
			catalogues[i] = c
		})
	}
	wg.Wait()
	h.merge(catalogues)
	return h
}

func (h *history) load(cluster string) error {
	b, err := os.ReadFile(h.path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var last lastManifest
	if err := json.Unmarshal(b, &last); err != nil {
		return fmt.Errorf("%s: %w", h.path, err)
	}
	if last.Manifest == nil || last.Manifest.Validate() != nil || last.Manifest.Cluster != cluster {
		return fmt.Errorf("%s: it holds no manifest of cluster %s", h.path, cluster)
	}
	h.last = last
	return nil
}

// merge makes one catalogue of all, each snapshot once.
func (h *history) merge(catalogues []*repo.Catalogue) {
	seen := make(map[string]bool)
	h.catalogue.Read = time.Now().UTC()
	for _, c := range catalogues {
		if c == nil {
			continue
		}
		for _, e := range c.Entries {
			if e.Manifest != nil && !seen[e.Digest] {
				seen[e.Digest] = true
				h.catalogue.Entries = append(h.catalogue.Entries, e)
			}
		}
	}
	if m := h.last.Manifest; m != nil && !seen[h.last.Digest] {
		if id, err := repo.ParseID(m.ID); err == nil {
			h.catalogue.Entries = append(h.catalogue.Entries, repo.Entry{ID: id, State: repo.StateOK, Manifest: m, Digest: h.last.Digest})
		}
	}
}

// newSecond waits for the second after the one in which this node's last capture began: IDs have that
// resolution, and a member that is not written to keeps its revision.
func (h *history) newSecond(ctx context.Context) error {
	if h.last.Manifest == nil {
		return nil
	}
	wait := time.Until(h.last.Manifest.CaptureStart.Truncate(time.Second).Add(time.Second))
	if wait <= 0 || wait > time.Second { // a last capture in the future was dated by a wrong clock
		return nil
	}
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(wait):
		return nil
	}
}

func (h *history) timeline(cluster string, live repo.Position) (timeline, parent string) {
	return h.catalogue.NextTimeline(cluster, live)
}

// previous is the digest of the newest manifest that this member's node wrote, "" for its first.
func (h *history) previous(member uint64) string {
	var newest *repo.Entry
	for i := range h.catalogue.Entries {
		e := &h.catalogue.Entries[i]
		if e.State == repo.StateOK && e.Manifest.Member.ID == etcd.FormatID(member) && (newest == nil || e.ID.Compare(newest.ID) > 0) {
			newest = e
		}
	}
	if newest == nil {
		return ""
	}
	return newest.Digest
}

func (h *history) save(s *repo.Signed) error {
	b, err := json.Marshal(lastManifest{Digest: s.Digest(), Manifest: s.Manifest})
	if err != nil {
		return err
	}
	return renameio.WriteFile(h.path, b, 0o600)
}
