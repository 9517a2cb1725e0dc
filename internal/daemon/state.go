package daemon

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/google/renameio/v2"

	"github.com/drd-project/drd/internal/hint"
)

// answered is the newest tick that was answered: by a snapshot, as schedule.json keeps it, or by a run of drills, as
// drills.json does.
type answered struct {
	Slot     time.Time `json:"slot"`
	Taken    time.Time `json:"taken"`              // when the backup or the run was finished, by this node's clock
	Snapshot string    `json:"snapshot,omitempty"` // ID
}

// stateFile is schedule.json or drills.json. It only saves work: without it one snapshot is taken, or one run made, at once.
type stateFile struct{ path string }

// drills is the file beside it for the drills.
func (f stateFile) drills() stateFile {
	return stateFile{filepath.Join(filepath.Dir(f.path), "drills.json")}
}

// openStateFile makes the directory, and finds out before the daemon says that it is ready whether files can be written there.
func openStateFile(dir string) (stateFile, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return stateFile{}, stateDirError(err)
	}
	probe, err := os.CreateTemp(dir, ".probe-*")
	if err != nil {
		return stateFile{}, stateDirError(err)
	}
	if err := errors.Join(probe.Close(), os.Remove(probe.Name())); err != nil {
		return stateFile{}, stateDirError(err)
	}
	return stateFile{filepath.Join(dir, "schedule.json")}, nil
}

func stateDirError(err error) error {
	return hint.New(fmt.Errorf("write to the state directory: %w", err),
		"state_dir must be a directory that the user of the daemon may write to")
}

// load returns the zero value when nothing was ever saved.
func (f stateFile) load() (answered, error) {
	b, err := os.ReadFile(f.path)
	if errors.Is(err, os.ErrNotExist) {
		return answered{}, nil
	}
	if err != nil {
		return answered{}, fmt.Errorf("read the schedule's state: %w", err)
	}
	var last answered
	if err := json.Unmarshal(b, &last); err != nil {
		return answered{}, fmt.Errorf("read the schedule's state: %s: %w", f.path, err)
	}
	if last.Slot.IsZero() {
		return answered{}, fmt.Errorf("read the schedule's state: %s names no tick", f.path)
	}
	return last, nil
}

func (f stateFile) save(last answered) error {
	b, err := json.Marshal(last)
	if err != nil {
		return fmt.Errorf("save the schedule's state: %w", err)
	}
	if err := renameio.WriteFile(f.path, append(b, '\n'), 0o600); err != nil {
		return fmt.Errorf("save the schedule's state: %w", err)
	}
	return nil
}
