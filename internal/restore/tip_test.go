package restore_test

import (
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/drd-project/drd/internal/mvcc"
	"github.com/drd-project/drd/internal/restore"
)

// TestTip: how the archive goes on behind the newest snapshot, read by itself and with the whole window.
func TestTip(t *testing.T) {
	var entries []mvcc.Entry
	for revision := int64(1); revision <= 300; revision++ {
		kv := &mvccpb.KeyValue{Key: []byte("key"), CreateRevision: revision, ModRevision: revision, Version: 1, Value: []byte("value")}
		entries = append(entries, mvcc.FromEvent(&mvccpb.Event{Kv: kv}, 0))
	}
	for name, test := range map[string]struct {
		segments [][2]int64
		want     restore.Tip
	}{
		"no archive":         {nil, restore.Tip{}},
		"it ended before":    {[][2]int64{{70, 80}, {81, 90}}, restore.Tip{End: secondOf(91)}},
		"it leads on":        {[][2]int64{{70, 120}, {121, 150}}, restore.Tip{Reached: secondOf(151), End: secondOf(151)}},
		"a hole at once":     {[][2]int64{{70, 90}, {121, 150}}, restore.Tip{End: secondOf(151), Missing: 101}},
		"a hole":             {[][2]int64{{101, 120}, {122, 130}, {131, 150}}, restore.Tip{Reached: secondOf(121), End: secondOf(151), Missing: 121}},
		"a hole before only": {[][2]int64{{50, 60}, {101, 120}}, restore.Tip{Reached: secondOf(121), End: secondOf(121)}},
	} {
		t.Run(name, func(t *testing.T) {
			k, target := newKeys(t), newTarget(t)
			announceFacts(t, k, covers(40, 100), captureTime, instant, target)
			for _, s := range test.segments {
				writeSegment(t, k, s[0], s[1], entries, nil, nil, target)
			}
			cat, err := target.repo.Catalogue(t.Context(), k.trust)
			if err != nil {
				t.Fatal(err)
			}
			newest := &cat.Entries[0]
			got, err := restore.ReadTip(t.Context(), target.repo, newest, k.trust)
			if err != nil {
				t.Fatal(err)
			}
			alone := test.want
			if alone.Reached.IsZero() {
				alone.Reached = newest.Manifest.CaptureStart
			}
			if diff := gocmp.Diff(alone, got); diff != "" {
				t.Errorf("by itself (-want +got):\n%s", diff)
			}
			w, err := restore.ReadWindow(t.Context(), target.repo, cat, k.trust, captureTime.Add(time.Hour))
			if err != nil {
				t.Fatal(err)
			}
			got, _ = w.Tip(newest.Manifest.Revision)
			if got.Reached.Before(newest.Manifest.CaptureStart) {
				got.Reached = newest.Manifest.CaptureStart
			}
			if diff := gocmp.Diff(alone, got); diff != "" {
				t.Errorf("of the window (-want +got):\n%s", diff)
			}
		})
	}
}
