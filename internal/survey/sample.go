package survey

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"slices"

	"github.com/drd-project/drd/internal/mvcc"
)

const (
	maxSamples = 256
	// What the samples may hold together, in bytes: the drill that reads them back from etcd, and the message that
	// carries their keys, stay small whatever the store holds.
	maxSampledKeys   = 4 << 20
	maxSampledValues = 64 << 20
)

// sampler keeps the keys that come first in an order which the seed shuffles: an even choice that does not depend on the order
// in which keys are met.
type sampler struct {
	seed   uint64
	chosen []candidate // ascending
}

type candidate struct {
	rank uint64
	mvcc.KeyValue
}

func (a candidate) compare(b candidate) int {
	return cmp.Or(cmp.Compare(a.rank, b.rank), bytes.Compare(a.Key, b.Key))
}

func (s *sampler) offer(kv mvcc.KeyValue) {
	c := candidate{rank: rank(s.seed, kv.Key), KeyValue: kv}
	if len(s.chosen) == maxSamples {
		if c.compare(s.chosen[maxSamples-1]) > 0 {
			return
		}
		s.chosen = s.chosen[:maxSamples-1]
	}
	i, _ := slices.BinarySearchFunc(s.chosen, c, candidate.compare)
	s.chosen = slices.Insert(s.chosen, i, c)
}

// rank is FNV-1a of the key behind the seed, and the finalizer of MurmurHash3, which spreads what FNV leaves in the low bits.
func rank(seed uint64, key []byte) uint64 {
	h := seed ^ 0xcbf29ce484222325
	for _, b := range key {
		h = (h ^ uint64(b)) * 0x100000001b3
	}
	h = (h ^ h>>33) * 0xff51afd7ed558ccd
	h = (h ^ h>>33) * 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}

// samples passes over what would go beyond the bounds, but for the very first: a store with keys always gives a sample.
func (s *sampler) samples() []Sample {
	var out []Sample
	keys, values := 0, 0
	for _, c := range s.chosen {
		if len(out) > 0 && (keys+len(c.Key) > maxSampledKeys || values+len(c.Value) > maxSampledValues) {
			continue
		}
		keys, values = keys+len(c.Key), values+len(c.Value)
		out = append(out, c.sample())
	}
	slices.SortFunc(out, func(a, b Sample) int { return bytes.Compare(a.Key, b.Key) })
	return out
}

func (c candidate) sample() Sample {
	sum := sha256.Sum256(c.Value)
	return Sample{
		Key: bytes.Clone(c.Key), CreateRevision: c.CreateRevision, ModRevision: c.ModRevision, Version: c.Version, Lease: c.Lease,
		ValueSHA256: hex.EncodeToString(sum[:]), ValueSize: int64(len(c.Value)),
	}
}
