package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/drd-project/drd/internal/restore"
)

// forever is a revision that no cluster reaches.
const forever = math.MaxInt64

// restoreBeforeMistake is chapter 11.
func (d *demo) restoreBeforeMistake(ctx context.Context) error {
	s := d.story
	s.chapter("Back to the second before the mistake")
	at := d.past.mistake.UTC().Truncate(time.Second)
	result, newest, err := d.comeBack(ctx, moment{
		dir: "before-the-mistake", flag: "--at " + at.Format(time.RFC3339), request: restore.Request{At: at}, objects: d.past.objects,
	})
	if err != nil {
		return err
	}
	if result.Revision >= d.past.closed {
		return errors.Join(errDiffers, fmt.Errorf("revision %d came back, the mistake was made at %d", result.Revision, d.past.closed))
	}
	s.say("The namespace is there, and so is every order that was seen before that second: the newest was written %.1f s before the mistake.",
		secondsBefore(d.past.mistake, newest))
	return d.stopEtcd()
}

// restoreBeforeDisaster is chapter 12.
func (d *demo) restoreBeforeDisaster(ctx context.Context) error {
	s := d.story
	s.chapter("Back to the last second before the disaster")
	result, newest, err := d.comeBack(ctx, moment{dir: "before-the-disaster", flag: "--latest"})
	if err != nil {
		return err
	}
	if result.Revision < d.past.archived {
		return errors.Join(errDiffers, fmt.Errorf("revision %d came back, although %d was archived", result.Revision, d.past.archived))
	}
	orders := d.past.orders
	last := orders.newest(forever).number
	s.say("The mistake is there as well, and what followed it. Lost: %d orders, those of the last %.1f s. The snapshot alone would have lost %d.",
		last-newest.number, secondsBefore(d.past.disaster, newest), last-orders.newest(result.SnapshotRevision).number)
	return d.stopEtcd()
}

// secondsBefore is how long before an instant an order was written. It is dated when etcd's answer has come: where that took long, the
// order may seem to be later than an instant before which it was archived.
func secondsBefore(t time.Time, o order) float64 { return max(0, t.Sub(o.at).Seconds()) }

// moment is a point of the past, and what must be there.
type moment struct {
	dir     string // data directory to make
	flag    string // of drd restore, that asks for it
	request restore.Request
	objects int64 // in the shop
}

// comeBack restores a moment, starts etcd on it, and compares what it answers with what was written then. It returns the newest
// order, as it was written.
func (d *demo) comeBack(ctx context.Context, m moment) (*restore.Result, order, error) {
	s := d.story
	s.command("drd restore --repo file://$PWD/target --trust safe/allowed_signers \\\n" +
		"--identity safe/identity.txt " + m.flag + " \\\n--data-dir " + m.dir + " --name " + memberName + " --bump-revision 0     # some of what it says")
	result, err := d.restoreMoment(ctx, m)
	if err != nil {
		return nil, order{}, err
	}
	s.output("%s", timings(result))
	if err := d.startRestored(ctx, m.dir); err != nil {
		return nil, order{}, err
	}
	written := d.past.orders.newest(result.Revision)
	found, err := newestOrder(ctx, d.member.client)
	if err != nil {
		return nil, order{}, err
	}
	objects, err := shopObjects(ctx, d.member.client)
	if err != nil {
		return nil, order{}, err
	}
	return result, written, s.compare("before the loss", []fact{
		{"objects of namespace shop", m.objects, objects},
		{"newest order", written.number, found.number},
		{"its revision", written.revision, found.revision},
		{"HashKV there", int64(written.hash), int64(found.hash)},
	})
}

// restoreMoment makes the data directory of a moment.
func (d *demo) restoreMoment(ctx context.Context, m moment) (*restore.Result, error) {
	plan, err := d.makePlan(ctx, m.dir, m.request)
	if err != nil {
		return nil, err
	}
	var text bytes.Buffer
	if err := plan.WriteText(&text); err != nil {
		return nil, err
	}
	for line := range strings.Lines(text.String()) {
		if name, _, _ := strings.Cut(line, " "); slices.Contains([]string{"snapshot", "wanted", "archive"}, name) {
			d.story.output("%s", line)
		}
	}
	return restore.Run(ctx, plan, d.ids, d.Inspector, nil)
}
