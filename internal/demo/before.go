package demo

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/version"

	"github.com/drd-project/drd/internal/disk"
)

// startCluster is chapter 1.
func (d *demo) startCluster(ctx context.Context) error {
	s := d.story
	s.chapter("A cluster")
	var err error
	if d.member, err = startMember(ctx, d.place, "etcd"); err != nil {
		return err
	}
	s.command(d.member.command())
	d.cluster = &cluster{client: d.member.client, kinds: d.kinds, gen: newGenerator()}
	if err := d.cluster.load(ctx); err != nil {
		return err
	}
	var counts []string
	for _, k := range d.kinds {
		counts = append(counts, fmt.Sprintf("%d %s", k.count, k.name))
	}
	s.say("A real etcd %s, inside this program. It is filled as Kubernetes does it, with %d objects, %s: %s.",
		version.Version, len(d.cluster.objects), disk.Size(d.cluster.bytes), strings.Join(counts, ", "))
	if err := d.cluster.age(ctx, d.changes); err != nil {
		return err
	}
	s.say("Then %d updates, creations and deletions, and a compaction on the way. It is at revision %d now.", d.changes, d.cluster.last)
	d.stop = d.cluster.keepWriting(ctx)
	s.say("A load of up to %d changes a second goes on from here.", time.Second/writePause)
	return nil
}

// handOutKeys is chapter 2.
func (d *demo) handOutKeys(ctx context.Context) error {
	s := d.story
	s.chapter("Keys: the one that opens backups never comes near the node")
	s.command("drd keygen --only identity --dir safe")
	s.command("drd keygen --only signing --dir node --name " + memberName)
	s.command("cp safe/recipient.txt node/; cp node/allowed_signers safe/")
	if err := makeIdentity(d.place); err != nil {
		return err
	}
	if err := makeSigner(d.place); err != nil {
		return err
	}
	var err error
	if d.config, err = configure(d.place, d.member, ""); err != nil {
		return err
	}
	for _, dir := range []string{"safe", "node"} {
		s.command("ls " + dir)
		if err := d.list(dir); err != nil {
			return err
		}
	}
	s.say("safe/ stands for a drawer in another building: its identity.txt opens every snapshot. " +
		"The node holds the recipient, which only closes, and a signing key, which opens nothing.")
	s.command("drd --config node/config.yaml config check")
	s.output("%s is good: cluster %s, %d target", d.place.path("node", "config.yaml"), d.config.Cluster, len(d.config.Targets))
	d.node, err = d.openNode(ctx, d.config)
	return err
}

func (d *demo) list(dir string) error {
	entries, err := os.ReadDir(d.place.path(dir))
	if err != nil {
		return fmt.Errorf("list %s: %w", dir, err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	d.story.output("%s", strings.Join(names, "  "))
	return nil
}

// suffer is chapter 6.
func (d *demo) suffer(context.Context) error {
	s := d.story
	s.chapter("Disaster")
	changes, err := d.stopLoad()
	if err != nil {
		return fmt.Errorf("the load did not go on: %w", err)
	}
	d.stopped = time.Now()
	s.say("Revision %d is the last one that etcd acknowledged, %d changes after chapter 1. Then the machine is lost, with data directory, configuration and keys:", d.cluster.last, changes)
	if err := d.stopEtcd(); err != nil {
		return err
	}
	s.command("rm -rf etcd node")
	return d.place.lose("etcd", "node")
}
