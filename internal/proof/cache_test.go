package proof

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/storage"
	"github.com/drd-project/drd/internal/storage/storagetest"
)

// TestCache: a record is fetched once, says the same afterwards, and is forgotten when it is gone.
func TestCache(t *testing.T) {
	to := newTarget(t)
	for i := range 5 {
		to.put(time.Duration(i)*time.Hour, drilled(-time.Hour, LevelDrill, Passed))
	}
	opt := ReadOptions{Cache: new(Cache)}
	reads := func() int {
		before := to.faulty.Calls(storagetest.OpOpen)
		h := to.read(opt)
		if s := h.Of(snapshotID(-time.Hour).String(), digestA); s.State != StateProved || len(h.Records()) != 5 {
			t.Errorf("it stands as %s by %d records", s.State, len(h.Records()))
		}
		return to.faulty.Calls(storagetest.OpOpen) - before
	}
	if n := reads(); n != 10 { // record and signature
		t.Errorf("the first look makes %d reads", n)
	}
	if n := reads(); n != 0 {
		t.Errorf("the second look makes %d reads", n)
	}
	gone := to.read(opt).Records()[0]
	if err := to.repo.Bucket().Delete(t.Context(), gone.Key); err != nil {
		t.Fatal(err)
	}
	to.put(5*time.Hour, drilled(-time.Hour, LevelDrill, Passed))
	if n := reads(); n != 2 || len(opt.Cache.records) != 5 {
		t.Errorf("one that is new makes %d reads, %d are kept", n, len(opt.Cache.records))
	}
}

// impatient is a bucket whose user gives up at one of its reads, which come one after the other.
type impatient struct {
	storage.Bucket
	reads  int // that are left
	giveUp func()
}

func (b *impatient) Properties() storage.Properties { return storage.Properties{Parallel: 1} }

func (b *impatient) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	if b.reads--; b.reads == 0 {
		b.giveUp()
	}
	return b.Bucket.Open(ctx, key, offset, length)
}

// TestCacheGivenUp: a reading that runs out of time every time gets to the end all the same.
func TestCacheGivenUp(t *testing.T) {
	to := newTarget(t)
	const records = 6
	for i := range records {
		to.put(time.Duration(i)*time.Hour, drilled(-time.Hour, LevelDrill, Passed))
	}
	opt := ReadOptions{Cache: new(Cache), Now: testTime.Add(1000 * time.Hour)}
	for try := 1; try <= records; try++ {
		ctx, cancel := context.WithCancel(t.Context())
		r, err := repo.Open(&impatient{Bucket: to.faulty, reads: 4, giveUp: cancel}, testCluster) // at the signature of the second record
		if err != nil {
			t.Fatal(err)
		}
		h, err := Read(ctx, r, to.trust, opt)
		cancel()
		switch {
		case try < records && (!errors.Is(err, context.Canceled) || len(opt.Cache.records) != try):
			t.Fatalf("given up %d times, %d of %d records are known: %v", try, len(opt.Cache.records), records, err)
		case try == records && (err != nil || len(h.Records()) != records || h.Unreadable() != nil):
			t.Fatalf("in the end %d of %d records are known: %v", len(opt.Cache.records), records, err)
		}
	}
}

// TestCacheUnsettled: what may be read otherwise the next time is not remembered.
func TestCacheUnsettled(t *testing.T) {
	c := new(Cache)
	for name, tc := range map[string]struct {
		state repo.State
		age   time.Duration
		kept  bool
	}{
		"unreadable":       {repo.StateUnreadable, 2 * settled, false},
		"just unsigned":    {repo.StateUnsigned, 0, false},
		"unsigned of old":  {repo.StateUnsigned, 2 * settled, true},
		"a wrong signer's": {repo.StateUnknownSigner, 0, true},
	} {
		read := 0
		for range 2 {
			c.record(name, func() *SignedRecord {
				read++
				return &SignedRecord{State: tc.state, Problem: fmt.Errorf("because"), at: time.Now().Add(-tc.age)}
			})
		}
		if kept := read == 1; kept != tc.kept {
			t.Errorf("%s: read %d times", name, read)
		}
	}
}
