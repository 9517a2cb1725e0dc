package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/drd-project/drd/internal/backup"
	"github.com/drd-project/drd/internal/disk"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/snapshot"
)

func newSnapshot(a *app) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "snapshot",
		Short: "take one snapshot now, bring it to every target and read it back",
		Long: `Takes one snapshot of this node's member, seals and signs it, uploads it to every target of the
configuration, reads it back and says where it is. Exit code 1 when any target does not have a proved copy.`,
		Example: "  drd snapshot\n  drd snapshot --json | jq -r .snapshot.id",
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			n, err := a.loadNode(ctx, a.logger())
			if err != nil {
				return err
			}
			client, err := n.connect(ctx)
			if err != nil {
				return err
			}
			defer client.Close()
			p := a.progress()
			result, err := n.runner.Run(ctx, client, nil, p)
			p.finish()
			if result == nil {
				return err
			}
			if werr := a.writeSnapshot(result, asJSON); werr != nil {
				return werr
			}
			return err
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "write JSON")
	return c
}

// snapshotOutput is the JSON document of drd snapshot.
type snapshotOutput struct {
	Snapshot       *repo.Manifest `json:"snapshot"`
	ManifestSHA256 string         `json:"manifest_sha256"`
	Targets        []targetOutput `json:"targets"`
	Spooled        string         `json:"spooled,omitempty"` // repository URL of the local copy, while a target lacks one
}

type targetOutput struct {
	Name          string  `json:"name"`
	Location      string  `json:"location"`
	Committed     bool    `json:"committed"`
	ReadBack      bool    `json:"read_back"`
	CommitSeconds float64 `json:"commit_seconds,omitempty"` // from the start of the capture
	ProvedSeconds float64 `json:"proved_seconds,omitempty"` // from the start of the capture
	Error         string  `json:"error,omitempty"`
}

func (a *app) writeSnapshot(r *backup.Result, asJSON bool) error {
	if asJSON {
		out := snapshotOutput{Snapshot: r.Manifest, ManifestSHA256: r.Digest, Spooled: r.Spooled, Targets: []targetOutput{}}
		for _, o := range r.Outcomes {
			t := targetOutput{Name: o.Target, Location: o.Location, Committed: o.Commit > 0, ReadBack: o.Proved > 0, CommitSeconds: o.Commit.Seconds(), ProvedSeconds: o.Proved.Seconds()}
			if o.Err != nil {
				t.Error = o.Err.Error()
			}
			out.Targets = append(out.Targets, t)
		}
		return a.writeJSON(out)
	}
	m := r.Manifest
	fmt.Fprintf(a.out, "snapshot   %s\n", m.ID)
	fmt.Fprintf(a.out, "revision   %d, %s\n", m.Revision, compacted(m.CompactRevision))
	fmt.Fprintf(a.out, "content    %s, %s, HashKV %d\n", count(int(m.Keys), "key"), disk.Size(m.DBSize), m.HashKV.Hash)
	fmt.Fprintf(a.out, "sealed     %s for %s\n", disk.Size(m.Object.Size), count(len(m.Object.Recipients), "recipient"))
	for _, c := range m.Compared {
		fmt.Fprintf(a.out, "member     %s: %s\n", c.Member, comparison(c))
	}
	for _, o := range r.Outcomes {
		fmt.Fprintf(a.out, "target     %s: %s\n", o.Target, outcome(o))
	}
	if r.Spooled != "" {
		fmt.Fprintf(a.out, "kept       on this host only (%s)\n", r.Spooled)
	}
	if snapshot.Diverged(m.Compared) {
		fmt.Fprintln(a.err, "drd: warning: the members' data differ; keep this snapshot and see the etcd documentation on data corruption")
	}
	return nil
}

func compacted(rev int64) string {
	if rev == snapshot.NeverCompacted {
		return "never compacted"
	}
	return fmt.Sprintf("compacted at %d", rev)
}

func comparison(c repo.Comparison) string {
	if c.Result == repo.ResultNotCompared {
		return "not compared: " + c.Reason
	}
	return fmt.Sprintf("%s (HashKV %d at %d, %s)", c.Result, c.Hash, c.Revision, compacted(c.CompactRevision))
}

func outcome(o backup.Outcome) string {
	switch {
	case o.Proved > 0:
		return fmt.Sprintf("stored and read back in %s (%s)", o.Proved.Round(10*time.Millisecond), o.Location)
	case o.Commit > 0:
		return fmt.Sprintf("stored, NOT proved (%s)", o.Location)
	}
	return fmt.Sprintf("NOT stored (%s)", o.Location)
}
