package drill

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/drd-project/drd/internal/proof"
)

// writtenPrefix begins the one key that a drill writes, into its own scratch etcd. What follows is random, and the
// write is refused where the key exists: no key of the backup is ever changed.
const writtenPrefix = "drd-drill/"

// writeTimeout is how long write, read and event may take together.
const writeTimeout = 2 * askTimeout

// write puts one key, reads it back, and waits for the watch that was opened before to deliver it.
func (a *attempt) write(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel() // ends the watch
	key := []byte(writtenPrefix + rand.Text())
	value := []byte(rand.Text())
	var events pb.Watch_WatchClient
	var written int64
	return a.check(ctx, CheckWrite, func(*proof.Check) (err error) {
		if events, err = a.openWatch(ctx, key); err != nil {
			return fmt.Errorf("open a watch: %w", err)
		}
		if written, err = a.put(ctx, key, value); err != nil {
			return err
		}
		return a.readBack(ctx, key, value, written)
	}) && a.check(ctx, CheckWatch, func(*proof.Check) error {
		return a.await(ctx, events, key, value, written)
	})
}

// openWatch returns once etcd has confirmed the watch.
func (a *attempt) openWatch(ctx context.Context, key []byte) (pb.Watch_WatchClient, error) {
	w, err := pb.NewWatchClient(a.etcd.Conn()).Watch(ctx)
	if err != nil {
		return nil, a.explainDeath(ctx, err)
	}
	create := &pb.WatchRequest_CreateRequest{CreateRequest: &pb.WatchCreateRequest{Key: key}}
	_ = w.Send(&pb.WatchRequest{RequestUnion: create}) // where it fails, what is received next says why
	answer, err := a.receive(ctx, w)
	if err != nil {
		return nil, err
	}
	if !answer.GetCreated() || answer.GetCanceled() {
		return nil, fmt.Errorf("it was refused: %s", answer.GetCancelReason())
	}
	return w, nil
}

// receive waits for one message of a watch, at most until the context ends that it was opened with.
func (a *attempt) receive(ctx context.Context, w pb.Watch_WatchClient) (*pb.WatchResponse, error) {
	answer, err := w.Recv()
	switch {
	case err == nil:
		return answer, nil
	case ctx.Err() != nil:
		return nil, fmt.Errorf("no message came: %w", context.Cause(ctx))
	}
	return nil, a.explainDeath(ctx, err)
}

// put writes a key that must not exist, and returns the revision that it got. A write that etcd gave up on may have been made
// all the same: where it is repeated and finds its own value, it was.
func (a *attempt) put(ctx context.Context, key, value []byte) (int64, error) {
	var answer *pb.TxnResponse
	err := a.ask(ctx, askTimeout, func(ctx context.Context) (err error) {
		answer, err = pb.NewKVClient(a.etcd.Conn()).Txn(ctx, &pb.TxnRequest{
			Compare: []*pb.Compare{{
				Target: pb.Compare_CREATE, Result: pb.Compare_EQUAL, Key: key, TargetUnion: &pb.Compare_CreateRevision{CreateRevision: 0},
			}},
			Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: key, Value: value}}}},
			Failure: []*pb.RequestOp{{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: key}}}},
		})
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("write: %w", err)
	}
	if answer.GetSucceeded() {
		return answer.GetHeader().GetRevision(), nil
	}
	for _, there := range answer.GetResponses() {
		for _, kv := range there.GetResponseRange().GetKvs() {
			if string(kv.GetValue()) == string(value) { // which is random
				return kv.GetModRevision(), nil
			}
		}
	}
	return 0, unsuref("key %q exists already", key)
}

func (a *attempt) readBack(ctx context.Context, key, value []byte, written int64) error {
	answer, err := a.get(ctx, &pb.RangeRequest{Key: key})
	if err != nil {
		return fmt.Errorf("read back: %w", err)
	}
	if written <= a.facts.Revision {
		return fmt.Errorf("the write got revision %d, not above %d", written, a.facts.Revision)
	}
	if len(answer.GetKvs()) != 1 || !isWritten(answer.GetKvs()[0], value, written) {
		return errors.New("what was read back is not what was written")
	}
	return nil
}

func isWritten(kv *mvccpb.KeyValue, value []byte, written int64) bool {
	return string(kv.GetValue()) == string(value) && kv.GetModRevision() == written && kv.GetVersion() == 1
}

// await expects the write as the first event.
func (a *attempt) await(ctx context.Context, w pb.Watch_WatchClient, key, value []byte, written int64) error {
	answer, err := a.receive(ctx, w)
	if err != nil {
		return fmt.Errorf("wait for the event: %w", err)
	}
	events := answer.GetEvents()
	if len(events) != 1 || events[0].GetType() != mvccpb.Event_PUT || string(events[0].GetKv().GetKey()) != string(key) ||
		!isWritten(events[0].GetKv(), value, written) {
		return errors.New("the watch delivered something else than the write")
	}
	return nil
}
