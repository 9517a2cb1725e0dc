package etcd

import (
	"context"
	"errors"
	"io"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
)

// Chunk is one message of a snapshot stream.
type Chunk struct {
	// Blob is the next piece of the file: etcd sends 32 KiB each, and last the 32-byte SHA-256 of
	// all before it. It is valid until the next Recv.
	Blob []byte
	// Remaining is how many bytes of the database follow, the SHA-256 not counted.
	Remaining uint64
	// StorageVersion is the version of the data ("3.6.0"); "" before etcd 3.6.
	StorageVersion string
}

// Stream is a running snapshot. One goroutine reads it, to its end or until the context of
// SnapshotStream is done; there is no other way to give it up.
type Stream interface {
	// Recv waits for the next chunk and returns io.EOF after the last one. It does not judge what
	// it gets: a member that cannot read its own disk sends empty blobs without end.
	Recv() (Chunk, error)
}

// SnapshotStream starts a snapshot of the member. etcd keeps a read transaction open until the
// stream ends, and its database grows meanwhile: read fast. Refusals come with the first Recv. It
// needs the root role where etcd has users, and a learner serves it too.
func (c *Client) SnapshotStream(ctx context.Context) (Stream, error) {
	s := &stream{ctx: ctx, client: c}
	if err := s.open(""); err != nil {
		return nil, c.explain(ctx, "snapshot", err)
	}
	return s, nil
}

type stream struct {
	ctx     context.Context // of the whole stream
	client  *Client
	rpc     grpc.ClientStream
	token   string
	renewed bool
	message snapshotMessage
}

// open asks for the snapshot, with another token than the one refused.
func (s *stream) open(refused string) (err error) {
	conn := s.client.awake(s.ctx)
	if s.token, err = s.client.login.get(s.ctx, conn, refused); err != nil {
		return err
	}
	s.rpc, err = conn.NewStream(withToken(s.ctx, s.token), &grpc.StreamDesc{ServerStreams: true},
		pb.Maintenance_Snapshot_FullMethodName, grpc.ForceCodecV2(snapshotCodec{}))
	if err != nil {
		return err
	}
	// After EOF the call was refused already, and Recv tells why.
	if err := s.rpc.SendMsg(&pb.SnapshotRequest{}); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return s.rpc.CloseSend()
}

func (s *stream) Recv() (Chunk, error) {
	err := s.rpc.RecvMsg(&s.message)
	if tokenRefused(err) && s.token != "" && !s.renewed { // etcd says so before the first chunk only
		s.renewed = true
		if err = s.open(s.token); err == nil {
			err = s.rpc.RecvMsg(&s.message)
		}
	}
	if errors.Is(err, io.EOF) {
		return Chunk{}, io.EOF
	}
	if err != nil {
		return Chunk{}, s.client.explain(s.ctx, "snapshot", err)
	}
	return s.message.chunk, nil
}
