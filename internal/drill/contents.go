package drill

import (
	"context"
	"fmt"
	"hash/fnv"
	"slices"

	"github.com/drd-project/drd/internal/proof"
)

// checkContents decodes the whole store in a child process, and keeps what the restored etcd is compared with.
func (a *attempt) checkContents(ctx context.Context, name, path string) bool {
	return a.check(ctx, name, func(c *proof.Check) error {
		var err error
		if a.survey, err = a.d.cfg.Survey.File(ctx, path, a.seed()); err != nil {
			return err
		}
		if name == CheckMade || a.point == nil { // of what is served
			a.out.Kubernetes = a.survey.Kubernetes
			a.compareCensus()
		}
		return compare(c, a.facts.Keys, a.survey.Keys)
	})
}

// seed chooses the samples: others in every drill, and none that could be foreseen from the snapshot alone.
func (a *attempt) seed() uint64 {
	h := fnv.New64a()
	fmt.Fprint(h, a.out.Snapshot, a.out.Started.UnixNano())
	return h.Sum64()
}

// noteworthyDrop is from how many objects on the loss of more than half of a resource is worth a look.
const noteworthyDrop = 20

// compareCensus warns of what no hash can find: a backup that is a perfect copy of a cluster that lost something.
func (a *attempt) compareCensus() {
	now := a.survey.Kubernetes
	if now == nil {
		now = &proof.Kubernetes{} // a store without a single object may have had some
	}
	for _, name := range now.Missing {
		a.warn(fmt.Sprintf("kubernetes: %s is missing, which every cluster has", name))
	}
	if now.Undecodable > 0 {
		a.warn(fmt.Sprintf("kubernetes: %d values are in no known encoding", now.Undecodable))
	}
	if a.previous == nil {
		return
	}
	var names []string
	for name := range a.previous.Resources {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		switch before, after := a.previous.Resources[name], now.Resources[name]; {
		case before > 0 && after == 0:
			a.warn(fmt.Sprintf("kubernetes: all %d %s are gone since the last drill", before, name))
		case before >= noteworthyDrop && after < (before+1)/2:
			a.warn(fmt.Sprintf("kubernetes: %d %s are left of %d in the last drill", after, name, before))
		}
	}
}
