package etcd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
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
	// ErrTooLarge is wrapped when a single change is larger than any etcd should take. Asked again, the member tells it again.
	ErrTooLarge = errors.New("a change beyond the limit")
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

// Batch is what a message of a watch brought, or a piece of a large one: changes, or that those before were the last ones of their revision.
type Batch struct {
	// Changes follow the ones of the batch before without a gap, each once. One revision may delete a million keys: it then
	// comes in several batches, so that no more than some MiB is in memory at a time.
	Changes []Change
	// Whole is the newest revision of which all changes are told, with this batch. Those after it are only part of one.
	Whole int64
}

// Watch tells every change of the key space, in order. It reads from the member only what Next asks for: a slow reader costs no
// memory, neither here nor there, except for what gRPC has under way (4 MiB and a message of at most 128 MiB).
//
// Whether it has told all there is shows in the member's Status, whose revision is Whole then. Asking the watch itself for its
// progress would not do: since 3.5.8 etcd does not answer one that has told nothing yet.
//
// A message of etcd holds one revision, or up to 1000 of them while the watch is catching up: it can be a few bytes or 1.5 GB. etcd
// divides messages when it is asked to, but the time that takes grows with the number of changes, and with the square of
// --max-request-bytes: a deletion of 100,000 keys occupies a core of the member for half a minute. So it is asked to only when a message was
// too large for maxWatchMessage, until what was in it has come.
type Watch struct {
	client *Client
	ctx    context.Context // of the watch
	cancel context.CancelFunc

	stream  grpc.ClientStream
	message watchMessage       // what of the newest one is not told yet
	fresh   bool               // it brought something new
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
func (w *Watch) login(ctx context.Context, divided bool) (grpc.ClientStream, error) {
	user, conn := w.client.login, awake(ctx, w.client.watched)
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
func (w *Watch) create(ctx context.Context, conn *grpc.ClientConn, token string, divided bool) (grpc.ClientStream, error) {
	ctx = metadata.AppendToOutgoingContext(withToken(ctx, token), rpctypes.MetadataRequireLeaderKey, rpctypes.MetadataHasLeader)
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true},
		pb.Watch_Watch_FullMethodName, grpc.ForceCodecV2(watchCodec{}), grpc.MaxCallRecvMsgSize(maxWatchMessage))
	if err != nil {
		return nil, err
	}
	everything := []byte{0} // as key the lowest there is, as end no end
	err = stream.SendMsg(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: &pb.WatchCreateRequest{
		Key: everything, RangeEnd: everything, StartRevision: w.whole + 1, Fragment: divided,
	}}})
	if err != nil && !errors.Is(err, io.EOF) { // after EOF it was refused already, and Recv tells why
		return nil, err
	}
	var answer watchMessage
	defer answer.close()
	if err := stream.RecvMsg(&answer); err != nil {
		return nil, err
	}
	_, r, err := answer.next()
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

// Next waits for the next message. Its errors are final: those of Watch, ErrUnreachable, and ErrTooLarge.
func (w *Watch) Next() (Batch, error) {
	for {
		before := w.whole
		b, err := w.next()
		if err == nil && w.divided && len(b.Changes) > 0 && w.whole == w.at { // the large message is complete
			err = w.open(false)
		}
		if err != nil {
			return Batch{}, w.explain(err)
		}
		if len(b.Changes) > 0 || b.Whole > before {
			return b, nil
		}
	}
}

// next takes the next piece of a message, or of the one after it.
func (w *Watch) next() (Batch, error) {
	if w.message.done() {
		if err := w.receive(); err != nil {
			return Batch{}, err
		}
	}
	events, last, err := w.message.next()
	if err == nil && last.GetCanceled() {
		err = w.canceled(last)
	}
	if err != nil {
		return Batch{}, err
	}
	return w.take(events, last)
}

// receive waits for a message, divided if it must be.
func (w *Watch) receive() error {
	w.fresh = false
	err := w.stream.RecvMsg(&w.message)
	if !tooLarge(err) {
		return err
	}
	if w.divided { // a single change is as large
		return fmt.Errorf("%w of %d MiB", ErrTooLarge, maxWatchMessage>>20)
	}
	if err := w.open(true); err != nil {
		return err
	}
	if err = w.stream.RecvMsg(&w.message); tooLarge(err) {
		return fmt.Errorf("%w of %d MiB", ErrTooLarge, maxWatchMessage>>20)
	}
	return err
}

// tooLarge tells gRPC's own refusal from those that etcd gives the same code.
func tooLarge(err error) bool {
	return status.Code(err) == codes.ResourceExhausted && strings.Contains(err.Error(), "message larger than max")
}

// take drops what was told before: etcd before 3.4.25 and 3.5.8 could tell changes twice. last is not nil with the end of a message.
func (w *Watch) take(events []*mvccpb.Event, last *pb.WatchResponse) (Batch, error) {
	b := Batch{Changes: make([]Change, 0, len(events))}
	for _, e := range events {
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
		w.fresh = true
	}
	// etcd divides a large message anywhere, and says so; what it makes a message of is whole revisions.
	if last != nil && !last.GetFragment() && w.fresh {
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
