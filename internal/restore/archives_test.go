package restore

import (
	"testing"
	"time"

	"github.com/drd-project/drd/internal/repo"
)

// TestPlantedSegmentsTellNothing: a record that no node signed does not make it doubtful what was archived, one that could not be
// read does, and so does one that was not.
func TestPlantedSegmentsTellNothing(t *testing.T) {
	at := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	for state, sure := range map[repo.State]bool{
		repo.StateUnsigned: true, repo.StateBadSignature: true, repo.StateIncomplete: true,
		repo.StateUnreadable: false, repo.StateUnread: false, repo.StateUnknownSigner: false,
	} {
		a := &archives{merged: []repo.SegmentEntry{{Name: repo.SegmentName{First: 101, Last: 200}, State: state}}}
		if got := a.nothingBetween(100, at); got != sure {
			t.Errorf("%s: nothing between is %v", state, got)
		}
		wantUnread := 0
		if state == repo.StateUnread {
			wantUnread = 1
		}
		if got := a.unreadBeyond(199); got != wantUnread {
			t.Errorf("%s: %d unread", state, got)
		}
		if got := a.unreadBeyond(200); got != 0 {
			t.Errorf("%s: %d unread beyond the end", state, got)
		}
	}
}
