package backup_test

import (
	"context"
	"iter"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/drd-project/drd/internal/backup"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/storage"
)

// TestHungTarget: a target that does not even notice the end of its context, such as a dead network mount, delays a
// capture by so much and no more, and hides nothing of what the others know, which is all that is known here.
func TestHungTarget(t *testing.T) {
	n := newNode(t, 2)
	first := n.mustRun()
	hung := hangingBucket{n.buckets[0]}
	r, err := repo.Open(hung, cluster)
	if err != nil {
		t.Fatal(err)
	}
	n.cfg.Targets[0].Repo = r
	if err := os.Remove(filepath.Join(n.state, "last-manifest.json")); err != nil {
		t.Fatal(err)
	}
	runner, err := backup.New(n.cfg)
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	second, err := runner.Take(t.Context(), n.member, nil, silent{})
	if err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begin); took > 20*time.Second+patience {
		t.Errorf("the capture took %s", took)
	}
	if second.Manifest.Previous != first.Digest || second.Manifest.Timeline != first.Manifest.Timeline {
		t.Errorf("previous %q, timeline %s; want %q, %s", second.Manifest.Previous, second.Manifest.Timeline, first.Digest, first.Manifest.Timeline)
	}
}

// hangingBucket is read for ever.
type hangingBucket struct{ storage.Bucket }

func (hangingBucket) List(context.Context, string) iter.Seq2[storage.Object, error] {
	return func(func(storage.Object, error) bool) { select {} }
}

// TestOneTargetsDamageHidesNothing: a signature that is missing in one target is found in the other.
func TestOneTargetsDamageHidesNothing(t *testing.T) {
	n := newNode(t, 2)
	first := n.mustRun()
	id, err := repo.ParseID(first.Manifest.ID)
	if err != nil {
		t.Fatal(err)
	}
	n.put("more")
	if err := n.buckets[0].Delete(t.Context(), n.cfg.Targets[0].Repo.SignatureKey(id)); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(n.state, "last-manifest.json")); err != nil {
		t.Fatal(err)
	}
	second := n.mustRun()
	if second.Manifest.Previous != first.Digest || second.Manifest.Timeline != first.Manifest.Timeline {
		t.Errorf("previous %q, timeline %s; want %q, %s", second.Manifest.Previous, second.Manifest.Timeline, first.Digest, first.Manifest.Timeline)
	}
}
