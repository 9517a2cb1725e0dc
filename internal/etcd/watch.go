package etcd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

var (
	// ErrGap is wrapped when a watch left a revision out. etcd's revisions have no gaps; some versions lose events
	// (etcd 3.4.31 and 3.5.13 fixed one case). What follows cannot be trusted.
	ErrGap = errors.New("the watch left out changes")
	// ErrCompacted is wrapped when changes that were asked for are compacted away. errors.As finds a *CompactedError.
	ErrCompacted = errors.New("compacted away")
)

// CompactedError says what is gone.
type CompactedError struct {
	Wanted  int64 // the next revision that the watch would have told
	Compact int64 // revision of the compaction: from the one after it on, everything is there
}

// Error names both revisions.
func (e *CompactedError) Error() string {
	return fmt.Sprintf("revision %d is %v: the last compaction was at revision %d", e.Wanted, ErrCompacted, e.Compact)
}

// Is makes it an ErrCompacted.
func (e *CompactedError) Is(target error) bool { return target == ErrCompacted }

// firstRevision is that of an empty store. Nothing happened in it.
const firstRevision = 1

// Change is one event and its place among the changes of its revision, from 0. A deletion has key and revision only.
type Change struct {
	Event *mvccpb.Event
	Sub   int64
}

// Revision is that of the change.
func (c Change) Revision() int64 { return c.Event.GetKv().GetModRevision() }

// Batch is what one message of a watch brought: one change at least.
type Batch struct {
	// Changes follow the ones of the batch before without a gap, each once. One revision may delete a million keys: it then
	// comes in several batches, so that no more than some MiB is in memory at a time.
	Changes []Change
	// Whole is the newest revision of which all changes are told, with this batch. Those after it are only part of one.
	Whole int64
}

// Watch tells every change of the key space, in order. It reads from the member only what Next asks for: a slow reader costs no
// memory, neither here nor there, except for what gRPC has under way (4 MiB and a message).
//
// Whether it has told all there is shows in the member's Status, whose revision is Whole then. Asking the watch itself for its
// progress would not do: since 3.5.8 etcd does not answer one that has told nothing yet.
//
// A message of etcd holds one revision, or up to 1000 of them while the watch is catching up: it can be a few bytes or 1.5 GB. etcd
// divides messages when it is asked to, but it takes quadratic time in the number of changes: a deletion of 100,000 keys
// occupies a core of the member for half a minute. So it is asked to only when a message was too large for maxMessage, until what
// was in it has come.
type Watch struct {
	client *Client
	ctx    context.Context // of the watch
	cancel context.CancelFunc

	stream  pb.Watch_WatchClient
	drop    context.CancelFunc // ends stream
	divided bool               // etcd was asked to divide messages

	whole int64 // everything up to here is told
	at    int64 // revision that is being told, whole or whole+1
	sub   int64 // place of its next change
}

// Watch follows all changes from revision from on, which is at least 1. The member must be a voting one with a leader: the
// errors wrap ErrLearner and ErrNoQuorum, also when the leader is lost later. Where etcd has users, it needs the right to
// read every key: else ErrPermission. Of a revision that is compacted, ErrCompacted. The watch ends with ctx, or with Close.
//
// How far behind a watch may begin is the caller's decision: for each 1000 revisions that it is late the member reads all
// of what is missing, under its lock, and ten thousands of revisions delay everyone's writes (etcd issue 22264).
func (c *Client) Watch(ctx context.Context, from int64) (*Watch, error) {
	if from < 1 {
		return nil, fmt.Errorf("watch from revision %d: revisions begin with 1", from)
	}
	w := &Watch{client: c, whole: max(from-1, firstRevision), at: max(from-1, firstRevision), drop: func() {}}
	w.ctx, w.cancel = context.WithCancel(ctx)
	if err := w.open(false); err != nil {
		w.Close()
		return nil, fmt.Errorf("watch from revision %d: %s: %w", from, c.url, err)
	}
	return w, nil
}

// open makes the stream from the next revision on, in place of the one before.
func (w *Watch) open(divided bool) error {
	// The stream may last for months, its first answer not.
	ctx, drop := context.WithCancel(w.ctx)
	late := time.AfterFunc(w.client.cfg.DialTimeout, drop)
	stream, err := w.login(ctx, divided)
	if !late.Stop() && w.ctx.Err() == nil {
		err = w.client.noAnswer()
	} else if err != nil {
		err = w.cause(err)
	}
	if err != nil {
		drop()
		return err
	}
	w.drop()
	w.stream, w.drop, w.divided = stream, drop, divided
	return nil
}

// login asks for the watch, a second time if the login has expired. etcd 3.4 says of an expired one that permission is denied.
func (w *Watch) login(ctx context.Context, divided bool) (pb.Watch_WatchClient, error) {
	user, conn := w.client.login, w.client.awake(ctx)
	token, err := user.get(ctx, conn, "")
	if err != nil {
		return nil, err
	}
	stream, err := w.create(ctx, conn, token, divided)
	if denied := errors.Is(rpctypes.Error(err), rpctypes.ErrPermissionDenied); token == "" || (!denied && !tokenRefused(err)) {
		return stream, err
	}
	if token, err = user.get(ctx, conn, token); err != nil {
		return nil, err
	}
	return w.create(ctx, conn, token, divided)
}

// create asks for the watch and waits until the member says that there is one.
func (w *Watch) create(ctx context.Context, conn *grpc.ClientConn, token string, divided bool) (pb.Watch_WatchClient, error) {
	ctx = metadata.AppendToOutgoingContext(withToken(ctx, token), rpctypes.MetadataRequireLeaderKey, rpctypes.MetadataHasLeader)
	stream, err := pb.NewWatchClient(conn).Watch(ctx)
	if err != nil {
		return nil, err
	}
	everything := []byte{0} // as key the lowest there is, as end no end
	err = stream.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: &pb.WatchCreateRequest{
		Key: everything, RangeEnd: everything, StartRevision: w.whole + 1, Fragment: divided,
	}}})
	if err != nil && !errors.Is(err, io.EOF) { // after EOF it was refused already, and Recv tells why
		return nil, err
	}
	r, err := stream.Recv()
	switch {
	case err != nil:
		return nil, err
	case r.GetCanceled():
		return nil, w.canceled(r)
	case !r.GetCreated():
		return nil, errors.New("the first answer is none to the request")
	}
	return stream, nil
}

// Next waits for the next message. Its errors are final, those of Watch and ErrUnreachable.
func (w *Watch) Next() (Batch, error) {
	for {
		r, err := w.stream.Recv()
		if !w.divided && status.Code(err) == codes.ResourceExhausted { // larger than maxMessage
			if err = w.open(true); err == nil {
				continue
			}
		}
		if err == nil && r.GetCanceled() {
			err = w.canceled(r)
		}
		var b Batch
		if err == nil {
			b, err = w.take(r)
		}
		if err == nil && w.divided && len(b.Changes) > 0 && w.whole == w.at { // the large message is complete
			err = w.open(false)
		}
		if err != nil {
			return Batch{}, w.explain(err)
		}
		if len(b.Changes) > 0 {
			return b, nil
		}
	}
}

// take drops what was told before: etcd before 3.4.25 and 3.5.8 could tell changes twice.
func (w *Watch) take(r *pb.WatchResponse) (Batch, error) {
	b := Batch{Changes: make([]Change, 0, len(r.GetEvents()))}
	for _, e := range r.GetEvents() {
		revision := e.GetKv().GetModRevision()
		if revision <= w.whole {
			continue
		}
		if revision != w.at {
			w.whole = w.at
			if revision != w.whole+1 {
				return Batch{}, fmt.Errorf("%w: after revision %d came %d", ErrGap, w.whole, revision)
			}
			w.at, w.sub = revision, 0
		}
		b.Changes = append(b.Changes, Change{Event: e, Sub: w.sub})
		w.sub++
	}
	// etcd divides a large message anywhere, and says so; what it makes a message of is whole revisions.
	if !r.GetFragment() && len(b.Changes) > 0 {
		w.whole = w.at
	}
	b.Whole = w.whole
	return b, nil
}

// canceled is why the member ended the watch.
func (w *Watch) canceled(r *pb.WatchResponse) error {
	if compact := r.GetCompactRevision(); compact > 0 {
		return &CompactedError{Wanted: w.whole + 1, Compact: compact}
	}
	reason := r.GetCancelReason()
	for _, known := range []error{
		rpctypes.ErrGRPCPermissionDenied, rpctypes.ErrGRPCInvalidAuthToken, rpctypes.ErrGRPCAuthOldRevision, rpctypes.ErrGRPCUserEmpty,
		rpctypes.ErrGRPCNoLeader,
	} {
		if reason == known.Error() || reason == rpctypes.ErrorDesc(known) {
			return known
		}
	}
	return fmt.Errorf("the member ended the watch: %.200q", reason)
}

// Close ends the watch. It is safe to call it at any time, and more than once.
func (w *Watch) Close() { w.cancel() }

func (w *Watch) explain(err error) error {
	return fmt.Errorf("watch after revision %d: %s: %w", w.whole, w.client.url, w.cause(err))
}

func (w *Watch) cause(err error) error {
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: the member ended the watch", ErrUnreachable)
	}
	// A member that stops cancels its streams, each with the same code as if we had.
	if status.Code(err) == codes.Canceled && w.ctx.Err() == nil {
		return fmt.Errorf("%w: the member ended the watch", ErrUnreachable)
	}
	return w.client.cause(w.ctx, err)
}
