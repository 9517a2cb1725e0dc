package demo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/drd-project/drd/internal/restore"
)

// past is what is known of the cluster that the second act loses.
type past struct {
	orders   *orders
	objects  int64     // in the shop
	closed   int64     // revision with which its deletion began
	mistake  time.Time // when that was asked for
	archived int64     // revision that the target led to before the disaster
	disaster time.Time
}

// archive is chapter 9: the restored cluster lives on, and its new node follows every change.
func (d *demo) archive(ctx context.Context) error {
	s := d.story
	s.chapter("Second act: the changes between the snapshots, too")
	s.command("drd keygen --only signing --dir node --name " + memberName + "     # of the new node")
	s.command("cat node/allowed_signers >> safe/allowed_signers")
	s.command("cp safe/allowed_signers safe/recipient.txt node/")
	if err := errors.Join(d.place.make("node"), makeSigner(d.place)); err != nil {
		return err
	}
	s.command("tail -n 2 node/config.yaml")
	if err := d.configureArchive(); err != nil {
		return err
	}
	s.command("drd --config node/config.yaml daemon &")
	begin := time.Now()
	var err error
	if d.daemon, err = startDaemon(d.Program, d.place); err != nil {
		return err
	}
	d.past.orders = takeOrders(ctx, d.member.client)
	if err := d.awaitArchived(ctx, 1); err != nil {
		return err
	}
	s.say("The daemon takes a snapshot, follows every change, and takes one more that reaches into what it follows: %.1f s after its start "+
		"every second can be restored. A shop takes orders, some 20 a second.", time.Since(begin).Seconds())
	return nil
}

// configureArchive writes the node's configuration with the archive. The usual address of the metrics may be taken by a daemon of
// this machine.
func (d *demo) configureArchive() error {
	listen, err := freeAddress()
	if err != nil {
		return err
	}
	more := fmt.Sprintf("archive: {enabled: true, flush_interval: 1s}\nmetrics: {listen: %q}\n", listen)
	d.config, err = configure(d.place, d.member, more)
	d.story.output("%s", more)
	return err
}

// awaitArchived waits until what is in the target leads to a revision: a snapshot, and segments that go on from it.
func (d *demo) awaitArchived(ctx context.Context, revision int64) error {
	return d.daemon.await(ctx, fmt.Sprintf("revision %d is archived", revision), func() error {
		sources, trust, err := d.offline(ctx, d.place.path("target"))
		if err != nil {
			return err
		}
		plan, err := restore.MakePlan(ctx, sources, trust, restore.Request{Output: d.place.path("forged", "back.db")}, time.Now())
		switch {
		case err != nil:
			return err
		case plan.Archive == nil:
			return fmt.Errorf("the newest point is snapshot %s", plan.Snapshot.ID)
		case plan.Archive.LastRevision < revision:
			return fmt.Errorf("the archive ends with revision %d", plan.Archive.LastRevision)
		}
		return nil
	})
}

// mistake is chapter 10.
func (d *demo) mistake(ctx context.Context) error {
	s, client := d.story, d.member.client
	s.chapter("A mistake, and then a disaster")
	opened, err := openShop(ctx, client, d.cluster.gen)
	if err != nil {
		return err
	}
	// What is in the target was seen by now. From the next second on, the shop belongs to an earlier one.
	if err := d.awaitArchived(ctx, opened); err != nil {
		return err
	}
	if err := untilAfter(ctx, time.Now().Truncate(time.Second).Add(time.Second)); err != nil {
		return err
	}
	s.command("etcdctl del --prefix /registry/deployments/shop/; etcdctl del /registry/namespaces/shop")
	d.past.mistake = time.Now()
	if d.past.closed, d.past.objects, err = closeShop(ctx, client); err != nil {
		return err
	}
	s.say("%s UTC: namespace shop is deleted by mistake, with all that is in it: %d objects. Nobody notices, and orders go on.",
		clock(d.past.mistake), d.past.objects)
	if err := untilAfter(ctx, time.Now().Add(d.lull)); err != nil {
		return err
	}
	d.past.archived = d.past.closed + 1
	if err := d.awaitArchived(ctx, d.past.archived); err != nil {
		return err
	}
	return d.loseAgain()
}

// loseAgain ends everything on the node, in the middle of its work.
func (d *demo) loseAgain() error {
	s := d.story
	d.past.disaster = time.Now()
	d.killDaemon()
	if err := d.past.orders.close(); err != nil {
		return fmt.Errorf("the orders did not go on: %w", err)
	}
	if err := d.stopEtcd(); err != nil {
		return err
	}
	s.command("kill -9 %1; rm -rf etcd node")
	s.say("%s UTC: the machine is lost again, without a warning. Order %d was the last.", clock(d.past.disaster), d.past.orders.newest(forever).number)
	return d.place.lose("etcd", "node")
}

// clock writes the time of day as precisely as a person can make use of it.
func clock(t time.Time) string { return t.UTC().Format("15:04:05.0") }

// untilAfter waits for a time, and a little more: two clocks are read here, etcd's answer and the daemon's.
func untilAfter(ctx context.Context, t time.Time) error {
	const more = 200 * time.Millisecond
	select {
	case <-time.After(time.Until(t) + more):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
