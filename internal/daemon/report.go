package daemon

import (
	"strings"
	"time"

	"github.com/drd-project/drd/internal/backup"
	"github.com/drd-project/drd/internal/hint"
)

// logLate says why a snapshot is taken at a time that is no tick.
func (s *scheduler) logLate(slot time.Time) {
	if s.last.Slot.IsZero() {
		s.log.Info("the schedule has no tick on record: taking a snapshot now")
	} else if late := s.now().Sub(slot); late > s.jitter+lateBy {
		s.log.Info("making up for a tick", "slot", slot, "late", late.Round(time.Second).String())
	}
}

// logTaken writes the one line of a backup. The queue writes those of the targets.
func (s *scheduler) logTaken(r *backup.Result, took time.Duration, err error) {
	s.log.Info("snapshot taken", "snapshot", r.Manifest.ID, "revision", r.Manifest.Revision, "db_bytes", r.Manifest.DBSize,
		"object_bytes", r.Manifest.Object.Size, "duration", took.Round(time.Millisecond).String())
	if err != nil {
		s.log.Warn("the snapshot is taken, but something was left behind", problem(err, "snapshot", r.Manifest.ID)...)
	}
}

// tellWaiting leaves what fail has told, which matters more.
func (s *scheduler) tellWaiting(until time.Time) {
	if s.failures == 0 {
		s.tell.status("%s; next %s", s.lastTaken(), clock(until))
	}
}

func (s *scheduler) lastTaken() string {
	if s.last.Snapshot == "" {
		return "no snapshot yet"
	}
	return "last snapshot " + s.last.Snapshot
}

// problem adds an error and what can be done about it to attributes of a log line.
func problem(err error, attrs ...any) []any {
	attrs = append(attrs, "error", err)
	if hints := hint.Of(err); len(hints) > 0 {
		attrs = append(attrs, "hint", strings.Join(hints, "; "))
	}
	return attrs
}

// clock is a time as people read it in one line of status.
func clock(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }
