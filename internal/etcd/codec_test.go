package etcd

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
)

// decodeAll feeds the wire forms of messages to one snapshotMessage, as a stream does.
func decodeAll(t *testing.T, messages []*pb.SnapshotResponse) (got []Chunk) {
	t.Helper()
	var m snapshotMessage
	for _, message := range messages {
		wire, err := proto.Marshal(message)
		if err != nil {
			t.Fatal(err)
		}
		// gRPC hands over what it read from the connection: pieces at arbitrary places.
		cut := len(wire) / 3
		pieces := mem.BufferSlice{mem.SliceBuffer(wire[:cut]), mem.SliceBuffer(wire[cut:])}
		if err := (snapshotCodec{}).Unmarshal(pieces, &m); err != nil {
			t.Fatal(err)
		}
		chunk := m.chunk
		chunk.Blob = bytes.Clone(chunk.Blob)
		got = append(got, chunk)
	}
	return got
}

func TestCodecAgreesWithTheGeneratedOne(t *testing.T) {
	blob := bytes.Repeat([]byte("0123456789abcdef"), 2048) // 32 KiB, as etcd sends
	messages := []*pb.SnapshotResponse{
		{RemainingBytes: 1 << 40, Blob: blob, Version: "3.6.0"},
		{Header: &pb.ResponseHeader{ClusterId: 7}, RemainingBytes: 5, Blob: blob[:7]},
		{},
		{Blob: blob, Version: "3.7.0"},
		{Blob: blob[:32], Version: "3.7.0"},
	}
	var want []Chunk
	for _, m := range messages {
		want = append(want, Chunk{Blob: m.GetBlob(), Remaining: m.GetRemainingBytes(), StorageVersion: m.GetVersion()})
	}
	if diff := cmp.Diff(want, decodeAll(t, messages)); diff != "" {
		t.Error(diff)
	}
}

// A later etcd may send fields that this code does not know.
func TestCodecSkipsUnknownFields(t *testing.T) {
	message := &pb.SnapshotResponse{RemainingBytes: 9, Blob: []byte("data")}
	message.ProtoReflect().SetUnknown([]byte{
		15 << 3, 1, // a number
		14<<3 | 2, 2, 'h', 'i', // a text
		13<<3 | 5, 1, 2, 3, 4, // 32 bits
	})
	want := []Chunk{{Blob: []byte("data"), Remaining: 9}}
	if diff := cmp.Diff(want, decodeAll(t, []*pb.SnapshotResponse{message})); diff != "" {
		t.Error(diff)
	}
}

func TestCodecRefusesWhatIsNoMessage(t *testing.T) {
	wire, err := proto.Marshal(&pb.SnapshotResponse{RemainingBytes: 300, Blob: []byte("data"), Version: "3.6.0"})
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range [][]byte{
		{0xff},             // a tag without end
		{0},                // field number 0
		wire[:2],           // in the middle of a number
		wire[:6],           // in the middle of the blob
		wire[:len(wire)-1], // in the middle of the version
	} {
		if err := (snapshotCodec{}).Unmarshal(mem.BufferSlice{mem.SliceBuffer(text)}, &snapshotMessage{}); err == nil {
			t.Errorf("%x was taken for a message", text)
		}
	}
}

// FuzzCodec holds the decoder against the generated one: whatever that accepts must mean the same here.
func FuzzCodec(f *testing.F) {
	wire, err := proto.Marshal(&pb.SnapshotResponse{RemainingBytes: 300, Blob: []byte("data"), Version: "3.6.0"})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(wire)
	f.Fuzz(func(t *testing.T, text []byte) {
		var m snapshotMessage
		err := (snapshotCodec{}).Unmarshal(mem.BufferSlice{mem.SliceBuffer(text)}, &m)
		var want pb.SnapshotResponse
		if proto.Unmarshal(text, &want) != nil {
			return // it also refuses broken headers and texts, which nobody reads here
		}
		if err != nil {
			t.Fatalf("%x: %v", text, err)
		}
		got := []any{string(m.chunk.Blob), m.chunk.Remaining, m.chunk.StorageVersion}
		if diff := cmp.Diff([]any{string(want.GetBlob()), want.GetRemainingBytes(), want.GetVersion()}, got); diff != "" {
			t.Errorf("%x: %s", text, diff)
		}
	})
}
