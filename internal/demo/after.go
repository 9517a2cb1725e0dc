package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/drd-project/drd/internal/proof"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/restore"
	"github.com/drd-project/drd/internal/seal"
	"github.com/drd-project/drd/internal/targets"
)

// offline opens what is left for a restore without a node: a directory with snapshots, and the list of signers
// in the safe.
func (d *demo) offline(ctx context.Context, target string) ([]restore.Source, *seal.Trust, error) {
	trust, err := seal.LoadTrust(d.place.path("safe", "allowed_signers"))
	if err != nil {
		return nil, nil, err
	}
	bucket, err := targets.OpenURL(ctx, (&url.URL{Scheme: "file", Path: target}).String())
	if err != nil {
		return nil, nil, err
	}
	r, err := repo.Open(bucket, clusterName)
	if err != nil {
		return nil, nil, err
	}
	return []restore.Source{{Name: "repo", Repo: r}}, trust, nil
}

// restore is chapter 7.
func (d *demo) restore(ctx context.Context) error {
	s := d.story
	s.chapter("Restore, from target/ and safe/ alone")
	s.command("drd restore --repo file://$PWD/target --trust safe/allowed_signers \\\n" +
		"--identity safe/identity.txt --data-dir etcd --name " + memberName + " --bump-revision 0")
	plan, err := d.makePlan(ctx, "etcd", restore.Request{})
	if err != nil {
		return err
	}
	if plan.Snapshot.ID != d.newest.ID {
		return fmt.Errorf("the plan restores %s, the newest snapshot is %s", plan.Snapshot.ID, d.newest.ID)
	}
	var text bytes.Buffer
	if err := plan.WriteText(&text); err != nil {
		return err
	}
	s.output("%s", text.String())
	result, err := restore.Run(ctx, plan, d.ids, d.Inspector, nil)
	if err != nil {
		return err
	}
	s.output("%s", timings(result))
	s.say("--bump-revision 0 keeps every revision, so that chapter 8 can compare them. For a Kubernetes cluster leave it out: drd then " +
		"moves the revision forward, so that no client believes that time went backwards.")
	return nil
}

// makePlan plans to make a data directory of what a request asks for, with the revisions as they are.
func (d *demo) makePlan(ctx context.Context, dir string, request restore.Request) (*restore.Plan, error) {
	var err error
	if request.Bump, err = restore.BumpBy(0); err != nil {
		return nil, err
	}
	request.DataDir, request.Name = d.place.path(dir), memberName
	sources, trust, err := d.offline(ctx, d.place.path("target"))
	if err != nil {
		return nil, err
	}
	plan, err := restore.MakePlan(ctx, sources, trust, request, time.Now())
	if err != nil {
		return nil, err
	}
	plan.Measure(ctx, trust, proof.Target{Location: plan.Source.Location})
	return plan, nil
}

func timings(r *restore.Result) string {
	var steps []string
	for _, t := range r.Steps {
		steps = append(steps, fmt.Sprintf("%s %.2f s", t.Name, t.Seconds))
	}
	return fmt.Sprintf("done in %.1f s: %s", r.Seconds, strings.Join(steps, ", "))
}

// prove is chapter 8.
func (d *demo) prove(ctx context.Context) error {
	s := d.story
	s.chapter("The cluster is back")
	if err := d.startRestored(ctx, "etcd"); err != nil {
		return err
	}
	s.command(fmt.Sprintf("export ETCDCTL_ENDPOINTS=%s", d.member.url.Host))
	s.command(fmt.Sprintf("etcdctl endpoint hashkv --rev %d", d.newest.Revision))
	s.command(`etcdctl get "" --from-key --count-only --write-out fields; etcdctl lease list`)
	s.say("What they answer, beside what the signed manifest of the snapshot says:")
	facts, err := askRestored(ctx, d.member.client, d.newest)
	if err != nil {
		return err
	}
	if err := s.compare("recorded at capture", facts); err != nil {
		return err
	}
	s.say("HashKV is etcd's own hash over all keys and values that it holds, with their revisions and lease IDs.")
	if err := d.writeOnce(ctx); err != nil {
		return err
	}
	d.admitLoss()
	return nil
}

// startRestored starts etcd on a data directory that a restore made.
func (d *demo) startRestored(ctx context.Context, dir string) error {
	if d.sabotage != nil {
		if err := d.sabotage(d.place.path(dir)); err != nil {
			return err
		}
	}
	var err error
	if d.member, err = startMember(ctx, d.place, dir); err != nil {
		return err
	}
	d.story.command(d.member.command())
	return nil
}

// writeOnce shows that the cluster is not only readable.
func (d *demo) writeOnce(ctx context.Context) error {
	key := "/registry/configmaps/default/restored"
	answer, err := d.member.client.Put(ctx, key, `{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"restored","namespace":"default"}}`)
	if err != nil {
		return fmt.Errorf("write to the restored etcd: %w", err)
	}
	if want := d.newest.Revision + 1; answer.Header.Revision != want {
		return errors.Join(errDiffers, fmt.Errorf("the first write has revision %d instead of %d", answer.Header.Revision, want))
	}
	d.story.say("It takes writes again: the next one got revision %d.", answer.Header.Revision)
	return nil
}

// admitLoss says what no backup holds.
func (d *demo) admitLoss() {
	lost := d.cluster.last - d.newest.Revision
	if lost == 0 {
		d.story.say("Nothing is lost: nothing was written after the last snapshot.")
		return
	}
	d.story.say("Lost: the %d revisions after the last snapshot, %d to %d, written in the %.1f s before the disaster. No snapshot held them; "+
		"the time between snapshots is what a disaster costs, unless the changes between them are archived.",
		lost, d.newest.Revision+1, d.cluster.last, d.stopped.Sub(d.newest.CaptureStart).Seconds())
}

// goOn is the last chapter.
func (d *demo) goOn() {
	s := d.story
	s.chapter("For your own cluster")
	s.say("README.md tells how to install drd. On a node with /etc/drd/config.yaml:")
	s.command("drd config check     # is the configuration sound?")
	s.command("drd check            # would a backup work from here? etcd, keys, disk, clock, targets")
	s.command("drd snapshot")
	s.command("drd verify           # can it be restored?")
	s.command("drd daemon           # both on a schedule, and the archive: systemd/drd.service")
	s.line("")
	if d.Keep {
		s.wrapped("", "", fmt.Sprintf("Done in %.1f s. Everything is still in %s:", time.Since(d.begin).Seconds(), d.place))
		s.command("cd " + string(d.place))
		s.command("drd list --repo file://$PWD/target --trust safe/allowed_signers")
		return
	}
	s.line(fmt.Sprintf("Done in %.1f s. The directory is removed now; drd demo --keep leaves it.", time.Since(d.begin).Seconds()))
}
