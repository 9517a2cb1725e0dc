package demo

import (
	"context"
	"fmt"

	"github.com/drd-project/drd/internal/config"
	"github.com/drd-project/drd/internal/drill"
	"github.com/drd-project/drd/internal/proof"
	"github.com/drd-project/drd/internal/verify"
)

// drill is chapter 4.
func (d *demo) drill(ctx context.Context) error {
	s := d.story
	s.chapter("Proof, before it is needed")
	s.command("drd --config node/config.yaml verify " + d.newest.ID)
	runner, err := d.newVerifier(d.config, d.node)
	if err != nil {
		return err
	}
	var result verify.Result
	_, err = runner.Run(ctx, verify.Request{
		Trigger: proof.TriggerCommand, ID: d.newest.ID, Done: func(r verify.Result) { result = r },
	})
	if err != nil {
		return err
	}
	checks, err := provedBy(result)
	if err != nil {
		return err
	}
	of := result.Record.Drills[0]
	s.output("proved: restored into a scratch etcd %s, %d checks passed in %.1f s, without the identity, which this node does not have\nrecorded in %s as %s",
		of.Etcd, checks, of.Seconds, result.Target, result.Record.ID)
	s.say("The object was fetched from the target, and an etcd started on what is in it, in a process of its own that nobody else can reach. It answered "+
		"%.1f s after the first request, was compared with the manifest, written to, stopped, and wiped. The node can open what it has sealed itself: "+
		"it keeps the key of each single object in node/run, which on a server is memory and empty after a reboot.", of.RecoverySeconds)
	return d.listProofs(ctx)
}

// newVerifier makes what drd verify makes of the node's configuration.
func (d *demo) newVerifier(cfg *config.Config, n *node) (*verify.Runner, error) {
	target := drill.Target{Name: n.target.Name, Repo: n.target.Repo}
	keys := verify.Keys{Ring: n.keys}
	driller, err := drill.New(drill.Config{ // without an identity: the ring is all there is
		Host: memberName, Build: d.Build, Trust: n.trust, ScratchDir: cfg.Scratch(), Keys: keys.Find,
		Inspector: d.Inspector, Survey: d.Survey, Etcd: d.Etcd, TakeLastRoom: true,
	})
	if err != nil {
		return nil, err
	}
	return verify.New(verify.Config{
		Host: memberName, Targets: []drill.Target{target}, Driller: driller, Trust: n.trust, Signer: n.signer, StateDir: cfg.StateDir,
		CanOpen: keys.CanOpen(target.Repo), Build: d.Build, Log: d.Log,
	})
}

// provedBy counts the checks that a drill has passed. It is an error unless the snapshot is proved, and the record stored.
func provedBy(r verify.Result) (checks int, err error) {
	of := r.Record.Drills[0]
	switch {
	case of.Outcome != proof.Passed:
		return 0, fmt.Errorf("the drill of snapshot %s is %s: %s", of.Snapshot, of.Outcome, of.Cause)
	case of.OpenedWith != verify.KindRetained:
		return 0, fmt.Errorf("snapshot %s was opened with another key than the node kept: %s", of.Snapshot, of.OpenedWith)
	case !r.Recorded:
		return 0, fmt.Errorf("the record of the drill is not in %s: %w", r.Target, r.Unrecorded)
	}
	for _, c := range of.Checks {
		if c.Outcome == proof.Passed {
			checks++
		}
	}
	return checks, nil
}

// listProofs reads from the target what is proved, as drd list does.
func (d *demo) listProofs(ctx context.Context) error {
	d.story.command("drd --config node/config.yaml list     # other columns of it")
	c, err := d.node.target.Repo.Catalogue(ctx, d.node.trust)
	if err != nil {
		return err
	}
	h, err := proof.Read(ctx, d.node.target.Repo, d.node.trust, proof.ReadOptions{})
	if err != nil {
		return err
	}
	rows := [][]string{{"  SNAPSHOT", "PROOF"}}
	for _, e := range c.Entries {
		is, want := h.OfEntry(&e).State, proof.StateUnproven
		if e.ID.String() == d.newest.ID {
			want = proof.StateProved
		}
		if is != want {
			return fmt.Errorf("snapshot %s is %s after the drill, not %s", e.ID, is, want)
		}
		rows = append(rows, []string{"  " + e.ID.String(), is})
	}
	d.story.table([]bool{true, true}, rows)
	return nil
}
