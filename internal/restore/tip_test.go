package restore_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/drd-project/drd/internal/mvcc"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/restore"
	"github.com/drd-project/drd/internal/storage"
	"github.com/drd-project/drd/internal/storage/cache"
	"github.com/drd-project/drd/internal/storage/storagetest"
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

// led is a target with a snapshot of revision 100 and two segments that lead on from there.
func led(t *testing.T, k *keys) (target *target, last *repo.Segment) {
	t.Helper()
	var entries []mvcc.Entry
	for revision := int64(101); revision <= 150; revision++ {
		kv := &mvccpb.KeyValue{Key: []byte("key"), CreateRevision: revision, ModRevision: revision, Version: 1, Value: []byte("value")}
		entries = append(entries, mvcc.FromEvent(&mvccpb.Event{Kv: kv}, 0))
	}
	target = newTarget(t)
	announceFacts(t, k, covers(40, 100), captureTime, instant, target)
	writeSegment(t, k, 101, 120, entries, nil, nil, target)
	return target, writeSegment(t, k, 121, 150, entries, nil, nil, target)
}

// through is what is in the target, by way of another bucket.
func through(t *testing.T, b storage.Bucket, k *keys) (*repo.Repository, *repo.Catalogue) {
	t.Helper()
	r, err := repo.Open(b, cluster)
	if err != nil {
		t.Fatal(err)
	}
	cat, err := r.Catalogue(t.Context(), k.trust)
	if err != nil {
		t.Fatal(err)
	}
	return r, cat
}

// TestTipAnew: the newest segments are read from the target in each look, whatever a bucket remembers of them.
func TestTipAnew(t *testing.T) {
	k, kept := newKeys(t), t.TempDir()
	target, last := led(t, k)
	reached := func() time.Time {
		c := cache.Open(target.bucket, kept)
		r, cat := through(t, c, k)
		tip, err := restore.ReadTip(t.Context(), r, &cat.Entries[0], k.trust)
		if err == nil {
			err = c.Save()
		}
		if err != nil {
			t.Fatal(err)
		}
		return tip.Reached
	}
	if at := reached(); !at.Equal(secondOf(151)) {
		t.Fatalf("reached %s at first", at)
	}
	name := filepath.Join(target.path, filepath.FromSlash(target.repo.SegmentRecordKey(last.Name())))
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	spoil(t, name)
	if err := os.Chtimes(name, info.ModTime(), info.ModTime()); err != nil {
		t.Fatal(err)
	}
	if at := reached(); !at.Equal(secondOf(121)) {
		t.Errorf("reached %s, and the newest segment has rotted", at)
	}
}

// TestTipNotRead: a segment that could not be read just now is no hole.
func TestTipNotRead(t *testing.T) {
	k := newKeys(t)
	target, _ := led(t, k)
	faulty := storagetest.NewFaulty(target.bucket)
	r, cat := through(t, faulty, k)
	for range 2 { // a hole is looked at twice
		faulty.CutReads("0120-", 0, true)
	}
	if tip, err := restore.ReadTip(t.Context(), r, &cat.Entries[0], k.trust); err == nil {
		t.Errorf("by itself: %+v", tip)
	}
	faulty.CutReads("0120-", 0, true)
	w, err := restore.ReadWindow(t.Context(), r, cat, k.trust, captureTime.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	if tip, last := w.Tip(100); last != 100 || tip.Missing != 101 || w.UnreadAt(101) == nil || w.UnreadAt(121) != nil {
		t.Errorf("of the window: %+v, %d, %v", tip, last, w.Unread)
	}
}
