package etcd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
)

// teller is a server that tells a watch what a test wants, also what no etcd should.
type teller struct {
	pb.UnimplementedMaintenanceServer
	pb.UnimplementedWatchServer
	messages []*pb.WatchResponse
}

func (*teller) Status(context.Context, *pb.StatusRequest) (*pb.StatusResponse, error) {
	return &pb.StatusResponse{Header: &pb.ResponseHeader{}}, nil
}

func (f *teller) Watch(stream pb.Watch_WatchServer) error {
	if _, err := stream.Recv(); err != nil {
		return err
	}
	for _, m := range f.messages {
		if err := stream.Send(m); err != nil {
			return err
		}
	}
	<-stream.Context().Done()
	return nil
}

// watchOf follows what a teller tells, from revision 5.
func watchOf(t *testing.T, messages ...*pb.WatchResponse) (*Watch, error) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server, fake := grpc.NewServer(), &teller{messages: messages}
	pb.RegisterMaintenanceServer(server, fake)
	pb.RegisterWatchServer(server, fake)
	go func() { _ = server.Serve(listener) }() // ends with Stop
	t.Cleanup(server.Stop)
	c, err := Connect(t.Context(), Config{Endpoints: []string{"http://" + listener.Addr().String()}, DialTimeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() }) // nothing was written
	w, err := c.Watch(t.Context(), 5)
	if err == nil {
		t.Cleanup(w.Close)
	}
	return w, err
}

func created() *pb.WatchResponse { return &pb.WatchResponse{Created: true} }

func telling(part bool, revisions ...int64) *pb.WatchResponse {
	m := &pb.WatchResponse{Fragment: part}
	for _, r := range revisions {
		m.Events = append(m.Events, &mvccpb.Event{Kv: &mvccpb.KeyValue{Key: []byte("k"), ModRevision: r}})
	}
	return m
}

// TestWatchOfOddMessages: each change is handed out once, in its place, whatever the messages look like; and what is missing is
// noticed.
func TestWatchOfOddMessages(t *testing.T) {
	for name, tc := range map[string]struct {
		messages []*pb.WatchResponse
		want     []string // of each batch: changes and what is whole
		gap      bool
	}{
		"one after the other":       {[]*pb.WatchResponse{telling(false, 5), telling(false, 6, 6)}, []string{"[5.0] 5", "[6.0 6.1] 6"}, false},
		"divided within a revision": {[]*pb.WatchResponse{telling(true, 5, 6), telling(true, 6, 7), telling(false, 7)}, []string{"[5.0 6.0] 5", "[6.1 7.0] 6", "[7.1] 7"}, false},
		"divided between revisions": {[]*pb.WatchResponse{telling(true, 5, 5), telling(false, 6)}, []string{"[5.0 5.1] 4", "[6.0] 6"}, false},
		"told twice":                {[]*pb.WatchResponse{telling(false, 5, 5), telling(false, 5, 5), telling(false, 4, 5, 6)}, []string{"[5.0 5.1] 5", "[6.0] 6"}, false},
		"back in time":              {[]*pb.WatchResponse{telling(false, 5, 6, 7), telling(false, 3), telling(false, 8)}, []string{"[5.0 6.0 7.0] 7", "[8.0] 8"}, false},
		"a message of nothing":      {[]*pb.WatchResponse{{}, telling(false, 5)}, []string{"[5.0] 5"}, false},
		"a revision left out":       {[]*pb.WatchResponse{telling(false, 5), telling(false, 7)}, []string{"[5.0] 5"}, true},
		"the first left out":        {[]*pb.WatchResponse{telling(false, 6)}, nil, true},
		"one left out in a message": {[]*pb.WatchResponse{telling(false, 5, 7)}, nil, true},
		"one left out in a part":    {[]*pb.WatchResponse{telling(true, 5), telling(false, 7)}, []string{"[5.0] 4"}, true},
		"out of order":              {[]*pb.WatchResponse{telling(false, 5, 7, 6)}, nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			w, err := watchOf(t, append([]*pb.WatchResponse{created()}, tc.messages...)...)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for range tc.want {
				b, err := w.Next()
				if err != nil {
					t.Fatal(err)
				}
				var places []string
				for _, c := range b.Changes {
					places = append(places, fmt.Sprintf("%d.%d", c.Revision(), c.Sub))
				}
				got = append(got, fmt.Sprintf("%s %d", places, b.Whole))
			}
			if !slices.Equal(got, tc.want) {
				t.Errorf("%q, not %q", got, tc.want)
			}
			if tc.gap {
				if _, err := w.Next(); !errors.Is(err, ErrGap) {
					t.Errorf("got %v, want ErrGap", err)
				}
			}
		})
	}
}

func TestWatchThatIsCanceled(t *testing.T) {
	refusal := func(reason string) *pb.WatchResponse {
		return &pb.WatchResponse{Created: true, Canceled: true, WatchId: -1, CancelReason: reason}
	}
	for _, tc := range []struct {
		answer *pb.WatchResponse
		want   error
	}{
		{refusal(rpctypes.ErrGRPCPermissionDenied.Error()), ErrPermission},
		{refusal("etcdserver: permission denied"), ErrPermission},
		{refusal(rpctypes.ErrGRPCInvalidAuthToken.Error()), ErrPermission},
		{refusal(rpctypes.ErrGRPCUserEmpty.Error()), ErrPermission},
		{refusal(rpctypes.ErrGRPCNoLeader.Error()), ErrNoQuorum},
		{&pb.WatchResponse{Canceled: true, CompactRevision: 9}, ErrCompacted},
	} {
		if _, err := watchOf(t, tc.answer); !errors.Is(err, tc.want) {
			t.Errorf("%v: got %v, want %v", tc.answer, err, tc.want)
		}
		w, err := watchOf(t, created(), telling(false, 5), tc.answer)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Next(); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Next(); !errors.Is(err, tc.want) {
			t.Errorf("later, %v: got %v, want %v", tc.answer, err, tc.want)
		}
	}
	if _, err := watchOf(t, refusal("for no reason")); err == nil {
		t.Error("a refusal without a known reason is taken for a watch")
	}
	if _, err := watchOf(t, telling(false, 5)); err == nil {
		t.Error("changes before the watch was made")
	}
}
