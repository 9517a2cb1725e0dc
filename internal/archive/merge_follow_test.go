package archive_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/drd-project/drd/internal/archive"
	"github.com/drd-project/drd/internal/archive/follow"
	"github.com/drd-project/drd/internal/etcd"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/seal"
	"github.com/drd-project/drd/internal/seal/sealtest"
	"github.com/drd-project/drd/test/servers"
)

// followed is what a follower archived.
type followed struct {
	keys    *sealtest.Keys
	dir     string
	mu      sync.Mutex
	sources []archive.Source
	paths   map[repo.SegmentName]string
}

func (f *followed) take(_ context.Context, s *archive.Sealed) (string, error) {
	signed, err := repo.SignSegment(s.Segment, f.keys.Signer)
	if err != nil {
		return "", err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	path := filepath.Join(f.dir, signed.Digest())
	if err := os.Rename(s.Path, path); err != nil {
		return "", err
	}
	f.sources = append(f.sources, archive.Source{Segment: signed.Segment, Digest: signed.Digest()})
	f.paths[signed.Segment.Name()] = path
	return signed.Digest(), nil
}

func (f *followed) silences() (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range f.sources {
		if s.Segment.Silence() {
			n++
		}
	}
	return n
}

// untilSilences waits until so many are archived.
func (f *followed) untilSilences(t *testing.T, n int) {
	t.Helper()
	for end := time.Now().Add(time.Minute); f.silences() < n; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d silences are archived, not %d", f.silences(), n)
		}
	}
}

func (f *followed) open(_ context.Context, s *repo.Segment) (io.ReadCloser, error) {
	file, err := os.Open(f.paths[s.Name()])
	if err != nil {
		return nil, err
	}
	plain, err := seal.Default().Open(file, f.keys.Identities)
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return plain, nil
}

// TestFollowedJoins: what a follower writes without a break goes into one segment, silences too.
func TestFollowedJoins(t *testing.T) {
	server := servers.StartEtcd(t, servers.EtcdConfig{Version: "3.6"})
	f := &followed{keys: sealtest.New(t), dir: t.TempDir(), paths: map[repo.SegmentName]string{}}
	follower, err := follow.New(follow.Config{
		Cluster: "prod", Dir: filepath.Join(f.dir, "drafts"), Recipients: f.keys.Recipients, Build: repo.Build{Version: "test"}, Ready: f.take,
		FlushInterval: 300 * time.Millisecond, Silence: 500 * time.Millisecond, Poll: 100 * time.Millisecond, Changed: func(string) {},
		Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	member, err := etcd.Connect(t.Context(), etcd.Config{Endpoints: []string{server.Endpoint()}, DialTimeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	defer member.Close()
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if _, err := follower.Run(ctx, member, follow.Position{Timeline: "0123456789abcdef"}); err != nil {
			t.Error(err)
		}
	})
	// What is there when it begins counts as seen late, up to a second ahead, and what is told until then may not be joined: the first
	// silence says that it has caught up, the one after it that the second is over.
	f.untilSilences(t, 2)
	client := server.Client(t)
	for range 3 {
		for range 15 {
			if _, err := client.Put(t.Context(), "k", "v"); err != nil {
				t.Error(err)
			}
			time.Sleep(100 * time.Millisecond)
		}
		f.untilSilences(t, f.silences()+1)
	}
	stop()
	running.Wait()
	silences := f.silences()
	if len(f.sources) < 6 || silences == 0 {
		t.Fatalf("%d segments, %d silences", len(f.sources), silences)
	}
	merged, err := archive.Merge(t.Context(), f.dir, f.keys.Recipients, repo.Build{Version: "test"}, f.sources, f.open)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d segments, %d of them silences, became one of %d changes", len(f.sources), silences, merged.Segment.Events)
	if merged.Segment.Events < 40 {
		t.Errorf("%+v", merged.Segment)
	}
}
