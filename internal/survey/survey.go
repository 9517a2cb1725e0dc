// Package survey says what lies in an etcd store: how many live keys under which prefix, some of them in full detail, and
// what a Kubernetes cluster has in it. It reads the file alone, without etcd, so that what an etcd started on the same data
// answers can be compared with something that etcd did not have a hand in.
//
// Only live keys at the newest revision count. The key bucket is read from its newest entry to its oldest: the first entry of
// a key that is met says whether the key is alive, and every older one is passed over. A set remembers which keys were met, as
// 128-bit hashes of two random seeds: among 10^9 keys two are taken for one with a probability below 10^-20.
//
// Memory: the set takes about 65 bytes a key at its peak and at most 130 MiB: a store with more than 2 million entries is
// read several times, each time for a share of its keys (BenchmarkRead measures both). Values are looked at where they lie
// and never copied. No value leaves the process that reads it, only its hash and its size.
package survey

import (
	"context"
	"errors"
	"fmt"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/drd-project/drd/internal/child"
	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/mvcc"
	"github.com/drd-project/drd/internal/proof"
)

// Survey is what lies in a store at its newest revision.
type Survey struct {
	// Keys is the number of live keys.
	Keys int64 `json:"keys"`
	// Prefixes counts them by their first segments, as a Counter does.
	Prefixes map[string]int64 `json:"prefixes"`
	// Samples are up to 256 live keys, chosen evenly among all by the seed. They are ascending by key; the same
	// content and seed give the same samples.
	Samples []Sample `json:"samples"`
	// Kubernetes is nil when no live key begins with /registry/.
	Kubernetes *proof.Kubernetes `json:"kubernetes,omitempty"`
}

// Sample is one live key as etcd has to answer it.
type Sample struct {
	Key            []byte `json:"key"`
	CreateRevision int64  `json:"create_revision"`
	ModRevision    int64  `json:"mod_revision"`
	Version        int64  `json:"version"`
	Lease          int64  `json:"lease"`        // 0 for none
	ValueSHA256    string `json:"value_sha256"` // hex
	ValueSize      int64  `json:"value_size"`   // bytes
}

// Read surveys the bbolt file at path, with or without the trailer of a snapshot. The file is opened read-only.
//
// It must run in a process of its own (Reader): on a damaged file bbolt panics, and may run out of memory.
func Read(ctx context.Context, path string, seed uint64) (*Survey, error) {
	return read(ctx, path, seed, maxSeenKeys)
}

func read(ctx context.Context, path string, seed uint64, maxSeen int) (out *Survey, err error) {
	defer child.Guard(&err, damaged)()
	db, err := bolt.Open(path, 0o400, &bolt.Options{ReadOnly: true, Timeout: time.Second})
	if err != nil {
		return nil, damaged(fmt.Errorf("open: %w", err))
	}
	defer db.Close()
	err = db.View(func(tx *bolt.Tx) error {
		b := tx.Bucket([]byte("key"))
		if b == nil {
			return damaged(errors.New("there is no \"key\" bucket: this is not an etcd store"))
		}
		s := &surveyor{sampler: sampler{seed: seed}}
		if err := scanLive(ctx, b, maxSeen, s.add); err != nil {
			return err
		}
		out = s.survey()
		return nil
	})
	return out, err
}

func damaged(err error) error {
	return hint.New(fmt.Errorf("the database file is damaged: %w", err), "use another snapshot")
}

// surveyor gathers what a survey says, one live key after the other, in any order.
type surveyor struct {
	keys     int64
	prefixes Counter
	sampler  sampler
	census   census
}

func (s *surveyor) add(kv mvcc.KeyValue) {
	s.keys++
	s.prefixes.Add(kv.Key)
	s.sampler.offer(kv)
	s.census.add(kv.Key, kv.Value)
}

// survey must be called while the entries' memory map stands.
func (s *surveyor) survey() *Survey {
	return &Survey{Keys: s.keys, Prefixes: s.prefixes.Counts(), Samples: s.sampler.samples(), Kubernetes: s.census.result()}
}
