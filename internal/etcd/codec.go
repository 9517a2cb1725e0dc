package etcd

import (
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// snapshotCodec decodes the messages of a snapshot into one buffer that is used again, where the
// generated code allocates and clears 32 KiB for each. It saves 40 % of the CPU time of receiving a
// snapshot, 20 % over TLS; see BenchmarkSnapshotStream.
type snapshotCodec struct{}

var _ encoding.CodecV2 = snapshotCodec{}

// Name is that of the ordinary codec: the bytes on the wire are the same.
func (snapshotCodec) Name() string { return "proto" }

func (snapshotCodec) Marshal(v any) (mem.BufferSlice, error) {
	return encodeRequest[*pb.SnapshotRequest](v)
}

// encodeRequest does what the ordinary codec does with the one kind of request that a codec of ours sends.
func encodeRequest[R proto.Message](v any) (mem.BufferSlice, error) {
	request, ok := v.(R)
	if !ok {
		return nil, fmt.Errorf("encode a %T: unexpected type %T", request, v)
	}
	text, err := proto.Marshal(request)
	if err != nil {
		return nil, fmt.Errorf("encode a %T: %w", request, err)
	}
	return mem.BufferSlice{mem.SliceBuffer(text)}, nil
}

func (snapshotCodec) Unmarshal(data mem.BufferSlice, v any) error {
	m, ok := v.(*snapshotMessage)
	if !ok {
		return fmt.Errorf("decode snapshot message: unexpected type %T", v)
	}
	if size := data.Len(); cap(m.buffer) < size {
		m.buffer = make([]byte, size)
	} else {
		m.buffer = m.buffer[:size]
	}
	data.CopyTo(m.buffer)
	return m.decode()
}

// snapshotMessage is a SnapshotResponse whose Blob points into buffer.
type snapshotMessage struct {
	buffer []byte
	chunk  Chunk
}

// Field numbers of etcdserverpb.SnapshotResponse. Its header, number 1, is never sent.
const (
	fieldRemaining protowire.Number = 2
	fieldBlob      protowire.Number = 3
	fieldVersion   protowire.Number = 4
)

func (m *snapshotMessage) decode() error {
	version := m.chunk.StorageVersion
	m.chunk = Chunk{}
	for rest := m.buffer; len(rest) > 0; {
		number, kind, n := protowire.ConsumeTag(rest)
		if n < 0 {
			return fmt.Errorf("decode snapshot message: %w", protowire.ParseError(n))
		}
		rest = rest[n:]
		switch {
		case number == fieldRemaining && kind == protowire.VarintType:
			m.chunk.Remaining, n = protowire.ConsumeVarint(rest)
		case number == fieldBlob && kind == protowire.BytesType:
			m.chunk.Blob, n = protowire.ConsumeBytes(rest)
		case number == fieldVersion && kind == protowire.BytesType:
			var text []byte
			text, n = protowire.ConsumeBytes(rest)
			if string(text) != version { // compared first: converting allocates
				version = string(text)
			}
			m.chunk.StorageVersion = version
		default:
			n = protowire.ConsumeFieldValue(number, kind, rest)
		}
		if n < 0 {
			return fmt.Errorf("decode snapshot message: %w", protowire.ParseError(n))
		}
		rest = rest[n:]
	}
	return nil
}
