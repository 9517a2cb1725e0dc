package archive

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/drd-project/drd/internal/repo"
)

// pieces are 40 segments of one change each, from revision 21 on.
func pieces(t *testing.T) (segments []*repo.Segment, content plain) {
	t.Helper()
	content = plain{}
	for r := int64(21); r <= 60; r++ {
		e := seg(r, r, 0, 1)
		content[e.Name] = stream(t, r, func(w *Writer) {
			w.Stamp(instant(0))
			appendAll(t, w, put(r, 0, "k", "v", 0))
		})
		segments = append(segments, e.Segment)
	}
	return segments, content
}

// A store answers slowly, and eight times at once: 40 segments take five answers' time.
func TestSegmentsAreOpenedAhead(t *testing.T) {
	segments, content := pieces(t)
	s, _ := made(t, 20)
	db := s.scratch(t)
	synctest.Test(t, func(t *testing.T) {
		var opening, most atomic.Int32
		slow := func(ctx context.Context, s *repo.Segment) (io.ReadCloser, error) {
			most.Store(max(most.Load(), opening.Add(1)))
			time.Sleep(time.Second)
			opening.Add(-1)
			return content.open(ctx, s)
		}
		start := time.Now()
		out, err := Replay(t.Context(), db, 20, segments, slow, 60)
		if err != nil || out.Revision != 60 || out.Applied != 40 {
			t.Fatalf("%+v, %v", out, err)
		}
		if took := time.Since(start); took > 6*time.Second || most.Load() > aheadSegments {
			t.Errorf("it took %s, %d at once", took, most.Load())
		}
	})
}

// Whatever goes wrong, nothing goes on after Replay has returned.
func TestReplayStopsEverything(t *testing.T) {
	segments, content := pieces(t)
	s, _ := made(t, 20)
	broken := errors.New("connection lost")
	for name, open := range map[string]func(cancel func()) OpenFunc{
		"a segment that breaks off": func(func()) OpenFunc {
			return func(ctx context.Context, s *repo.Segment) (io.ReadCloser, error) {
				if s.First == 30 {
					return io.NopCloser(io.MultiReader(bytes.NewReader([]byte(magic)), errorReader{broken})), nil
				}
				return content.open(ctx, s)
			}
		},
		"one that cannot be closed": func(func()) OpenFunc {
			return func(ctx context.Context, s *repo.Segment) (io.ReadCloser, error) {
				r, err := content.open(ctx, s)
				return closing{r, broken}, err
			}
		},
		"a stop on the way": func(cancel func()) OpenFunc {
			return func(ctx context.Context, s *repo.Segment) (io.ReadCloser, error) {
				if s.First == 30 {
					cancel()
					<-ctx.Done()
					return nil, broken
				}
				return content.open(ctx, s)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			db := s.scratch(t)
			synctest.Test(t, func(t *testing.T) { // waits for every goroutine
				ctx, cancel := context.WithCancelCause(t.Context())
				_, err := Replay(ctx, db, 20, segments, open(func() { cancel(broken) }), 60)
				if !errors.Is(err, broken) {
					t.Errorf("%v", err)
				}
				cancel(nil)
			})
		})
	}
}

type closing struct {
	io.Reader
	err error
}

func (c closing) Close() error { return c.err }

func TestCheckpointsOfAChain(t *testing.T) {
	e := seg(21, 60, 0, 1)
	e.Segment.Checkpoints = []repo.Checkpoint{
		{Revision: 15, CompactRevision: 4, Member: "1"}, {Revision: 30, CompactRevision: 15, Member: "1"}, {Revision: 50, CompactRevision: 30, Member: "2"},
	}
	h := NewHistory(line, []repo.Entry{snap(10, 20, 0)}, []repo.SegmentEntry{e}, false)
	c, err := h.AtRevision(40)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(e.Segment.Checkpoints[1:2], c.Checkpoints(40)); diff != "" {
		t.Errorf("checkpoints up to 40 (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(e.Segment.Checkpoints[1:], c.Checkpoints(50)); diff != "" {
		t.Errorf("checkpoints up to 50 (-want +got):\n%s", diff)
	}
}
