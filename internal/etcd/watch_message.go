package etcd

import (
	"errors"
	"fmt"
	"io"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

const (
	// maxWatchMessage bounds one message of a watch, in bytes. Those that tell of one revision are as large as what a client did at once: a
	// million deleted keys of a Kubernetes cluster are some 110 MB. It is received whole, and decoded piece by piece.
	maxWatchMessage = 128 << 20
	// watchPiece is how much of a message, in encoded bytes, is decoded at a time. Decoded it takes about four times as much.
	watchPiece = 2 << 20
)

// watchCodec leaves a message of a watch as it came: the generated code would decode a million changes at once, into several times
// the memory.
type watchCodec struct{}

var _ encoding.CodecV2 = watchCodec{}

// Name is that of the ordinary codec: the bytes on the wire are the same.
func (watchCodec) Name() string { return "proto" }

func (watchCodec) Marshal(v any) (mem.BufferSlice, error) {
	return encodeRequest[*pb.WatchRequest](v)
}

func (watchCodec) Unmarshal(data mem.BufferSlice, v any) error {
	m, ok := v.(*watchMessage)
	if !ok {
		return fmt.Errorf("decode watch message: unexpected type %T", v)
	}
	m.close()
	if cap(m.piece) > watchPiece {
		m.piece = nil
	}
	*m = watchMessage{rest: data.Reader(), piece: m.piece}
	return nil
}

// fieldEvents of etcdserverpb.WatchResponse. All its other fields are small.
const fieldEvents protowire.Number = 11

// watchMessage is a WatchResponse that is decoded piece by piece. What is decoded gives its memory back.
type watchMessage struct {
	rest  *mem.Reader
	piece []byte // the encoded change that is being decoded
	other []byte // encoded fields that are no changes
}

// next decodes some more changes. last is not nil with the last ones, and has all the other fields.
func (m *watchMessage) next() (events []*mvccpb.Event, last *pb.WatchResponse, err error) {
	enough := max(0, m.rest.Remaining()-watchPiece)
	for m.rest.Remaining() > enough {
		event, err := m.field()
		if err != nil {
			return nil, nil, fmt.Errorf("decode watch message: %w", err)
		}
		if event != nil {
			events = append(events, event)
		}
	}
	if m.rest.Remaining() > 0 {
		return events, nil, nil
	}
	last = &pb.WatchResponse{}
	if err := proto.Unmarshal(m.other, last); err != nil {
		return nil, nil, fmt.Errorf("decode watch message: %w", err)
	}
	return events, last, nil
}

// field reads one field: a change, or another one, which is kept.
func (m *watchMessage) field() (*mvccpb.Event, error) {
	tag, err := m.varint()
	if err != nil {
		return nil, err
	}
	number, kind := protowire.DecodeTag(tag)
	if kind != protowire.BytesType {
		return nil, m.keepNumber(tag, kind)
	}
	size, err := m.varint()
	if err != nil {
		return nil, err
	}
	if err := m.read(size); err != nil {
		return nil, err
	}
	if number != fieldEvents {
		m.other = append(protowire.AppendVarint(protowire.AppendVarint(m.other, tag), size), m.piece...)
		return nil, nil
	}
	event := &mvccpb.Event{}
	return event, proto.Unmarshal(m.piece, event) // which copies what it keeps
}

func (m *watchMessage) keepNumber(tag uint64, kind protowire.Type) error {
	if kind != protowire.VarintType { // etcd has no other
		return fmt.Errorf("a field of kind %d", kind)
	}
	v, err := m.varint()
	m.other = protowire.AppendVarint(protowire.AppendVarint(m.other, tag), v)
	return err
}

// read fills piece with the next bytes.
func (m *watchMessage) read(size uint64) error {
	if size > uint64(m.rest.Remaining()) {
		return io.ErrUnexpectedEOF
	}
	if uint64(cap(m.piece)) < size {
		m.piece = make([]byte, size)
	}
	m.piece = m.piece[:size]
	_, err := io.ReadFull(m.rest, m.piece)
	return err
}

func (m *watchMessage) varint() (uint64, error) {
	var v uint64
	for shift := uint(0); shift < 64; shift += 7 {
		b, err := m.rest.ReadByte()
		if err != nil {
			return 0, io.ErrUnexpectedEOF
		}
		if v |= uint64(b&0x7f) << shift; b < 0x80 {
			return v, nil
		}
	}
	return 0, errors.New("a number of more than 64 bits")
}

// done: there is nothing more to decode.
func (m *watchMessage) done() bool { return m.rest == nil || m.rest.Remaining() == 0 }

// close gives the rest back. It may be called at any time.
func (m *watchMessage) close() {
	if m.rest != nil {
		_ = m.rest.Close() // never fails
		m.rest = nil
	}
}
