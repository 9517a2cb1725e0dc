package backup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/google/renameio/v2"

	"github.com/drd-project/drd/internal/etcd"
	"github.com/drd-project/drd/internal/replicate"
	"github.com/drd-project/drd/internal/repo"
)

// historyTimeout bounds how long a backup waits for the targets to tell the cluster's past. A dead target
// must not delay a capture; what it would have said is known from the others and from the local state.
const historyTimeout = 20 * time.Second

// historyDepth is how many of a target's newest manifests are read: the timeline and the chain are decided by the last
// few, and nobody should wait for ten thousand.
const historyDepth = 200

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
	h := &history{path: lastPath(r.cfg.StateDir)}
	if err := h.load(r.cfg.Cluster); err != nil {
		r.cfg.Log.Warn("the chain's state is unreadable; going on from what the targets hold", "error", err)
	}
	ctx, cancel := context.WithTimeout(ctx, historyTimeout)
	defer cancel()
	answers := make([]chan *repo.Catalogue, len(r.cfg.Targets))
	for i, t := range r.cfg.Targets {
		answers[i] = make(chan *repo.Catalogue, 1)
		// Nobody waits longer than ctx for this goroutine: a read from a dead network mount may hang in the kernel.
		go func() { answers[i] <- r.readCatalogue(ctx, t) }()
	}
	var catalogues []*repo.Catalogue
	for i, t := range r.cfg.Targets {
		c, err := answerOf(ctx, answers[i])
		if err != nil {
			r.cfg.Log.Warn("a target's history is not known", "target", t.Name, "error", err)
		}
		catalogues = append(catalogues, c)
	}
	h.merge(catalogues)
	return h
}

// answerOf waits for an answer until ctx ends. One that is there by then counts: the wait for another target may have taken all the time.
func answerOf(ctx context.Context, answer <-chan *repo.Catalogue) (*repo.Catalogue, error) {
	select {
	case c := <-answer:
		return c, nil
	case <-ctx.Done():
	}
	select {
	case c := <-answer:
		return c, nil
	default:
		return nil, context.Cause(ctx)
	}
}

// readCatalogue returns nil for a target that cannot be read.
func (r *Runner) readCatalogue(ctx context.Context, t replicate.Target) *repo.Catalogue {
	c, err := t.Repo.Recent(ctx, r.cfg.Trust, historyDepth)
	if err != nil {
		r.cfg.Log.Warn("a target's history is not known", "target", t.Name, "error", err)
		return nil
	}
	return c
}

// LastManifest is the newest manifest that the node with this state directory wrote of a cluster, wherever it got to; nil
// where it has written none.
func LastManifest(stateDir, cluster string) (*repo.Manifest, error) {
	h := history{path: lastPath(stateDir)}
	err := h.load(cluster)
	return h.last.Manifest, err
}

func lastPath(stateDir string) string { return filepath.Join(stateDir, "last-manifest.json") }

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

// merge makes one catalogue of all, each snapshot once, in the best state that any target shows it in: a signature that
// is missing in one target must not hide the one that is good in another.
func (h *history) merge(catalogues []*repo.Catalogue) {
	h.catalogue.Read = time.Now().UTC()
	at := make(map[string]int)
	for _, c := range catalogues {
		if c == nil {
			continue
		}
		for _, e := range c.Entries {
			i, seen := at[e.Digest]
			switch {
			case e.Digest == "": // nothing is known of it
			case !seen:
				at[e.Digest] = len(h.catalogue.Entries)
				h.catalogue.Entries = append(h.catalogue.Entries, e)
			case e.State == repo.StateOK:
				h.catalogue.Entries[i] = e
			}
		}
	}
	h.addLast(at)
}

// addLast adds this node's own newest manifest, which is good whatever became of the copies in the targets.
func (h *history) addLast(at map[string]int) {
	m := h.last.Manifest
	if m == nil {
		return
	}
	id, err := repo.ParseID(m.ID)
	if err != nil {
		return
	}
	own := repo.Entry{ID: id, State: repo.StateOK, Manifest: m, Digest: h.last.Digest}
	if i, seen := at[own.Digest]; seen {
		h.catalogue.Entries[i] = own
		return
	}
	h.catalogue.Entries = append(h.catalogue.Entries, own)
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

func (r *Runner) forked() string {
	if r.cfg.Forked == nil {
		return ""
	}
	return r.cfg.Forked()
}

// timeline is that of the next snapshot. Another node may have left the forked timeline already: its new one is good for both.
func (h *history) timeline(cluster string, live repo.Position, forked string) (timeline, parent string) {
	timeline, parent = h.catalogue.NextTimeline(cluster, live)
	if forked != "" && timeline == forked {
		return h.catalogue.ForkTimeline(cluster, live)
	}
	return timeline, parent
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
