// Package mvcc reads and writes the history that an etcd store keeps: the bucket "key" of its bbolt file.
//
// Each entry of the bucket is one change. Its key is the revision and the place of the change within it; its value is
// the key-value pair as etcd marshalled it. Nothing else decides what etcd shows at a revision, so a store is
// brought to an exact revision by adding the changes that follow (Appender) or by taking away those that came after (Cut):
// no server, no new revision numbers, and the same HashKV.
//
// What lies outside the bucket is not this package's concern: leases, authentication, membership, alarms.
package mvcc

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	bolt "go.etcd.io/bbolt"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/encoding/protowire"
)

// Bucket is the name of the bucket.
var Bucket = []byte("key")

// ErrNoBucket is wrapped for a file that is not an etcd store.
var ErrNoBucket = errors.New("there is no \"key\" bucket: this is not an etcd store")

// Position is where a change stands: its revision (Main, at least 1), its place within the revision (Sub, from 0), and
// whether it deleted the key.
type Position struct {
	Main, Sub int64
	Tombstone bool
}

// ParsePosition reads the key of an entry: 8 bytes main, '_', 8 bytes sub, and 't' for a tombstone
// (etcd server/storage/mvcc/revision.go).
func ParsePosition(k []byte) (Position, error) {
	if (len(k) != 17 && (len(k) != 18 || k[17] != 't')) || k[8] != '_' {
		return Position{}, fmt.Errorf("malformed revision key %x", k)
	}
	return Position{
		Main:      int64(binary.BigEndian.Uint64(k[:8])),
		Sub:       int64(binary.BigEndian.Uint64(k[9:17])),
		Tombstone: len(k) == 18,
	}, nil
}

// AppendKey appends what ParsePosition reads.
func (p Position) AppendKey(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(p.Main))
	b = binary.BigEndian.AppendUint64(append(b, '_'), uint64(p.Sub))
	if p.Tombstone {
		b = append(b, 't')
	}
	return b
}

// Follows reports whether p may come directly after q: the next change of the same revision, or the first one of the
// next. etcd's revisions have no gaps: each has at least one change.
func (p Position) Follows(q Position) bool {
	return p.Main == q.Main && p.Sub == q.Sub+1 || p.Main == q.Main+1 && p.Sub == 0
}

// String is "revision.sub", with a t for a tombstone.
func (p Position) String() string {
	if p.Tombstone {
		return fmt.Sprintf("%d.%dt", p.Main, p.Sub)
	}
	return fmt.Sprintf("%d.%d", p.Main, p.Sub)
}

// Entry is one change as it is stored. Value is the marshalled key-value pair; of a tombstone it has the key only.
type Entry struct {
	Position
	Value []byte
}

// FromEvent is the entry that etcd has stored for an event of a watch, sub being the place of the event within its
// revision. The bytes are those of etcd: fields in ascending order, zero ones left out, and of a deletion the key alone
// (etcd server/storage/mvcc/kvstore_txn.go). They are written by hand because no protobuf library promises to keep
// its bytes, and HashKV is a hash of them.
func FromEvent(ev *mvccpb.Event, sub int64) Entry {
	kv := ev.GetKv()
	e := Entry{Position: Position{Main: kv.GetModRevision(), Sub: sub, Tombstone: ev.GetType() == mvccpb.Event_DELETE}}
	e.Value = make([]byte, 0, 48+len(kv.GetKey())+len(kv.GetValue()))
	e.Value = appendBytes(e.Value, fieldKey, kv.GetKey())
	if e.Tombstone {
		return e
	}
	e.Value = appendVarint(e.Value, fieldCreateRevision, kv.GetCreateRevision())
	e.Value = appendVarint(e.Value, fieldModRevision, kv.GetModRevision())
	e.Value = appendVarint(e.Value, fieldVersion, kv.GetVersion())
	e.Value = appendBytes(e.Value, fieldValue, kv.GetValue())
	e.Value = appendVarint(e.Value, fieldLease, kv.GetLease())
	return e
}

// Fields of mvccpb.KeyValue.
const (
	fieldKey            = protowire.Number(1)
	fieldCreateRevision = protowire.Number(2)
	fieldModRevision    = protowire.Number(3)
	fieldVersion        = protowire.Number(4)
	fieldValue          = protowire.Number(5)
	fieldLease          = protowire.Number(6)
)

func appendBytes(b []byte, field protowire.Number, v []byte) []byte {
	if len(v) == 0 {
		return b
	}
	return protowire.AppendBytes(protowire.AppendTag(b, field, protowire.BytesType), v)
}

func appendVarint(b []byte, field protowire.Number, v int64) []byte {
	if v == 0 {
		return b
	}
	return protowire.AppendVarint(protowire.AppendTag(b, field, protowire.VarintType), uint64(v))
}

// KeyValue is a stored key-value pair. Key and Value share the memory of what was parsed.
type KeyValue struct {
	Key, Value                  []byte
	CreateRevision, ModRevision int64
	Version, Lease              int64
}

// ParseValue reads the value of an entry without copying.
func ParseValue(b []byte) (KeyValue, error) {
	var kv KeyValue
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n >= 0 {
			b = b[n:]
			n = kv.consume(num, typ, b)
		}
		if n < 0 {
			return KeyValue{}, fmt.Errorf("malformed entry: %w", protowire.ParseError(n))
		}
		b = b[n:]
	}
	return kv, nil
}

// consume reads one field and returns its length, or less than 0.
func (kv *KeyValue) consume(num protowire.Number, typ protowire.Type, b []byte) (n int) {
	var v uint64
	switch typ {
	case protowire.BytesType:
		switch num {
		case fieldKey:
			kv.Key, n = protowire.ConsumeBytes(b)
			return n
		case fieldValue:
			kv.Value, n = protowire.ConsumeBytes(b)
			return n
		}
	case protowire.VarintType:
		v, n = protowire.ConsumeVarint(b)
		switch num {
		case fieldCreateRevision:
			kv.CreateRevision = int64(v)
		case fieldModRevision:
			kv.ModRevision = int64(v)
		case fieldVersion:
			kv.Version = int64(v)
		case fieldLease:
			kv.Lease = int64(v)
		}
		return n
	}
	return protowire.ConsumeFieldValue(num, typ, b)
}

// lookEvery is after how many entries a walk asks whether it should go on.
const lookEvery = 4096

// Extract hands the entries of the store after one revision and up to another, both whole, to each, in order. A store holds all
// of them from its compact revision on; below it, compacted ones are missing. What each gets is valid until it returns.
func Extract(ctx context.Context, tx *bolt.Tx, after, upTo int64, each func(Entry) error) error {
	b := tx.Bucket(Bucket)
	if b == nil {
		return ErrNoBucket
	}
	c := b.Cursor()
	count := 0
	for k, v := c.Seek(Position{Main: after + 1}.AppendKey(nil)); k != nil; k, v = c.Next() {
		if count++; count%lookEvery == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		p, err := ParsePosition(k)
		if err != nil {
			return err
		}
		if p.Main > upTo {
			return nil
		}
		if err := each(Entry{Position: p, Value: v}); err != nil {
			return err
		}
	}
	return nil
}
