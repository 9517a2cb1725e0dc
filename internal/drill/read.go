package drill

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/drd-project/drd/internal/proof"
	"github.com/drd-project/drd/internal/survey"
)

// One request asks for as many keys as have about pageBytes of values on average: etcd loads the values also where only
// keys are asked for. And it asks for not too few: for every request etcd walks over all keys that are left, to count them.
const (
	pageBytes = 64 << 20
	minPage   = 1000
	maxPage   = 50_000
)

func (a *attempt) page() int64 {
	average := 1 + a.facts.DBSize/max(1, a.survey.Keys)
	return min(maxPage, max(minPage, pageBytes/average))
}

// read compares what etcd answers with the file that it was restored from. Everything is read at the revision of the
// snapshot, which stands still whatever becomes of leases meanwhile.
func (a *attempt) read(ctx context.Context) bool {
	return a.check(ctx, CheckEtcdHashKV, func(c *proof.Check) error {
		return a.checkEtcdHash(ctx, c)
	}) && a.check(ctx, CheckEtcdKeys, func(c *proof.Check) error {
		return a.checkEtcdKeys(ctx, c)
	}) && a.check(ctx, CheckSamples, func(c *proof.Check) error {
		return a.checkSamples(ctx, c)
	})
}

func (a *attempt) checkEtcdHash(ctx context.Context, c *proof.Check) error {
	var answer *pb.HashKVResponse
	err := a.ask(ctx, hashTimeout, func(ctx context.Context) (err error) {
		answer, err = pb.NewMaintenanceClient(a.etcd.Conn()).HashKV(ctx, &pb.HashKVRequest{Revision: a.facts.Revision})
		return err
	})
	if err != nil {
		return fmt.Errorf("ask for the hash: %w", err)
	}
	if got := answer.GetCompactRevision(); got != a.facts.CompactRevision {
		return fmt.Errorf("etcd has the store compacted at revision %d instead of %d", got, a.facts.CompactRevision)
	}
	err = compare(c, a.facts.HashKV, answer.GetHash())
	if err != nil && a.facts.Keys == 0 {
		// etcd hashes whatever a compaction has not removed yet, and goes on with that as soon as it is started.
		return skipped("no key is live, and a compaction is under way in the snapshot")
	}
	return err
}

// checkEtcdKeys lists every key and counts as the survey of the file did. A record can be read by whoever reads the target:
// prefixes are told by their place in alphabetical order, not by name.
func (a *attempt) checkEtcdKeys(ctx context.Context, c *proof.Check) error {
	var counter survey.Counter
	total := int64(0)
	for from := []byte{0}; from != nil; {
		answer, err := a.get(ctx, &pb.RangeRequest{
			Key: from, RangeEnd: []byte{0}, Revision: a.facts.Revision, Limit: a.page(), KeysOnly: true, Serializable: true,
		})
		if err != nil {
			return fmt.Errorf("list keys: %w", err)
		}
		for _, kv := range answer.GetKvs() {
			counter.Add(kv.GetKey())
		}
		total += int64(len(answer.GetKvs()))
		from = nil
		if n := len(answer.GetKvs()); answer.GetMore() && n > 0 {
			from = append(slices.Clone(answer.GetKvs()[n-1].GetKey()), 0)
		}
	}
	got := counter.Counts()
	c.Expected = fmt.Sprintf("%d keys below %d prefixes", a.survey.Keys, len(a.survey.Prefixes))
	c.Found = fmt.Sprintf("%d keys below %d prefixes", total, len(got))
	for i, prefix := range slices.Sorted(maps.Keys(a.survey.Prefixes)) {
		if want := a.survey.Prefixes[prefix]; got[prefix] != want {
			return fmt.Errorf("%d keys below the prefix that is number %d of %d in the file, which has %d there",
				got[prefix], i+1, len(a.survey.Prefixes), want)
		}
	}
	if total != a.survey.Keys || len(got) != len(a.survey.Prefixes) {
		return fmt.Errorf("expected %s, found %s", c.Expected, c.Found)
	}
	return nil
}

// checkSamples reads single keys with their values.
func (a *attempt) checkSamples(ctx context.Context, c *proof.Check) error {
	if len(a.survey.Samples) == 0 {
		return skipped("there is no key")
	}
	c.Expected = fmt.Sprintf("%d keys", len(a.survey.Samples))
	for i, want := range a.survey.Samples {
		if err := a.checkSample(ctx, want); err != nil {
			// Neither names nor hashes of values, which can be guessed: the revision finds the key for who holds the backup.
			return fmt.Errorf("sample %d of %d, a key modified at revision %d: %w", i+1, len(a.survey.Samples), want.ModRevision, err)
		}
	}
	c.Found = c.Expected
	return nil
}

func (a *attempt) checkSample(ctx context.Context, want survey.Sample) error {
	answer, err := a.get(ctx, &pb.RangeRequest{Key: want.Key, Revision: a.facts.Revision, Serializable: true})
	if err != nil {
		return fmt.Errorf("read it: %w", err)
	}
	if len(answer.GetKvs()) != 1 {
		return errors.New("it is not there")
	}
	got := sampleOf(answer.GetKvs()[0])
	switch said, found := sampleText(want), sampleText(got); {
	case said != found:
		return fmt.Errorf("expected %s, found %s", said, found)
	case want.ValueSHA256 != got.ValueSHA256:
		return fmt.Errorf("its value, of %d bytes, is another one", got.ValueSize)
	}
	return nil
}

func sampleOf(kv *mvccpb.KeyValue) survey.Sample {
	sum := sha256.Sum256(kv.GetValue())
	return survey.Sample{
		Key: kv.GetKey(), CreateRevision: kv.GetCreateRevision(), ModRevision: kv.GetModRevision(), Version: kv.GetVersion(),
		Lease: kv.GetLease(), ValueSHA256: hex.EncodeToString(sum[:]), ValueSize: int64(len(kv.GetValue())),
	}
}

// sampleText is what may be told of a sample.
func sampleText(s survey.Sample) string {
	return fmt.Sprintf("created %d, modified %d, version %d, lease %x, %d bytes", s.CreateRevision, s.ModRevision, s.Version, s.Lease, s.ValueSize)
}
