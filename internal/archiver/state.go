package archiver

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/google/renameio/v2"

	"github.com/drd-project/drd/internal/archive/follow"
)

// state is archive.json: where the archive of this node is.
type state struct {
	Cluster  string           `json:"cluster"`
	Position *follow.Position `json:"position"` // nil: not known; with revision 0 a hole lies behind it
	Forked   string           `json:"forked"`   // the timeline that the member does not continue, until a snapshot lies on another; ""
	// Behind is the last archived revision before the hole, while it is not known whether a snapshot holds the rest; 0.
	Behind int64 `json:"behind"`
	// Open is the revision before the first one that was written beyond the hole, while no snapshot reaches it; 0. As long as
	// nothing was written there, the position has revision 0.
	Open  int64     `json:"open"`
	Since time.Time `json:"since"` // when the capture of the snapshot began that leads beyond the newest hole; zero: not known
	Gaps  int       `json:"gaps"`  // ever
}

func statePath(dir string) string { return filepath.Join(dir, "archive.json") }

// loadState reads the state. One that is missing or of another cluster is empty: the position is then read from the targets.
func loadState(dir, cluster string) (state, error) {
	empty := state{Cluster: cluster}
	b, err := os.ReadFile(statePath(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return empty, nil
	}
	if err != nil {
		return state{}, fmt.Errorf("read where the archive is: %w", err)
	}
	var s state
	if err := json.Unmarshal(b, &s); err != nil || s.Cluster != cluster {
		return empty, nil //nolint:nilerr // a torn file is as good as none
	}
	return s, nil
}

func (s state) save(dir string) error {
	b, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("remember where the archive is: %w", err)
	}
	if err := renameio.WriteFile(statePath(dir), b, 0o600); err != nil {
		return fmt.Errorf("remember where the archive is: %w", err)
	}
	return nil
}

// change changes the state and saves it.
func (a *Archiver) change(f func(*state)) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	next := a.state
	f(&next)
	if err := next.save(a.cfg.StateDir); err != nil {
		return err
	}
	a.state = next
	return nil
}
