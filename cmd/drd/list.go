package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/drd-project/drd/internal/disk"
	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/restore"
	"github.com/drd-project/drd/internal/seal"
)

func newList(a *app) *cobra.Command {
	var flags repositoryFlags
	var asJSON bool
	c := &cobra.Command{
		Use:   "list",
		Short: "list the snapshots in every target, and what is wrong with any of them",
		Long: `Lists what is in the targets now, read from them and not from any record of what was sent. STATE says what a
look at the manifest and the payload's size found; the payload itself is not read. PROOF says
whether a restore of the snapshot was tried: this version tries none, so it is unproven.`,
		Example: "  drd list\n  drd list --repo 's3://backups/etcd?region=eu-central-1' --cluster prod-east --trust allowed_signers",
		RunE: func(cmd *cobra.Command, _ []string) error {
			sources, trust, err := flags.open(cmd.Context(), a)
			if err != nil {
				return err
			}
			listings, err := listAll(cmd.Context(), sources, trust)
			if len(listings) == 0 {
				return err
			}
			if werr := a.writeListings(listings, asJSON); werr != nil {
				return werr
			}
			if err == nil && empty(listings) {
				err = hint.New(repo.ErrNothing, "%s", flags.nothing())
			}
			return err
		},
	}
	flags.register(c)
	c.Flags().BoolVar(&asJSON, "json", false, "write JSON")
	return c
}

// listing is one target in the JSON document of drd list.
type listing struct {
	Target         string      `json:"target"`
	Location       string      `json:"location"`
	Cluster        string      `json:"cluster"`
	Snapshots      []listEntry `json:"snapshots"` // by time, oldest first
	ForeignObjects int         `json:"foreign_objects"`
	Foreign        []string    `json:"foreign,omitempty"` // the first of them
}

type listEntry struct {
	ID       string         `json:"id"`
	Time     time.Time      `json:"time"`
	State    repo.State     `json:"state"`
	Problem  string         `json:"problem,omitempty"`
	Signer   string         `json:"signer,omitempty"`
	Proof    string         `json:"proof"`
	Size     int64          `json:"object_size"`
	Manifest *repo.Manifest `json:"manifest,omitempty"`
}

// unproven is what is true of every snapshot until a restore of it was tried.
const unproven = "unproven"

// listAll reads all targets. A target that cannot be read is an error beside the listings of the others.
func listAll(ctx context.Context, sources []restore.Source, trust *seal.Trust) ([]listing, error) {
	var listings []listing
	var failed []error
	for _, s := range sources {
		c, err := s.Repo.Catalogue(ctx, trust)
		if err != nil {
			failed = append(failed, err)
			continue
		}
		l := listing{Target: s.Name, Location: c.Location, Cluster: c.Cluster, Snapshots: []listEntry{}, ForeignObjects: c.ForeignCount, Foreign: c.Foreign}
		for _, e := range c.Entries {
			l.Snapshots = append(l.Snapshots, newListEntry(e))
		}
		listings = append(listings, l)
	}
	return listings, errors.Join(failed...)
}

func newListEntry(e repo.Entry) listEntry {
	out := listEntry{ID: e.ID.String(), Time: e.ID.Time, State: e.State, Proof: unproven, Size: e.Payload.Size, Manifest: e.Manifest, Signer: e.Signer.Principal}
	if e.Problem != nil {
		out.Problem = e.Problem.Error()
	}
	return out
}

func empty(listings []listing) bool {
	return !slices.ContainsFunc(listings, func(l listing) bool { return len(l.Snapshots) > 0 })
}

func (a *app) writeListings(listings []listing, asJSON bool) error {
	if asJSON {
		return a.writeJSON(struct {
			Targets []listing `json:"targets"`
		}{listings})
	}
	for i, l := range listings {
		if i > 0 {
			fmt.Fprintln(a.out)
		}
		if err := writeListing(a.out, l, time.Now()); err != nil {
			return err
		}
	}
	return nil
}

func writeListing(w io.Writer, l listing, now time.Time) error {
	fmt.Fprintf(w, "target %s: %s, cluster %s\n", printable(l.Target), printable(l.Location), l.Cluster)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "SNAPSHOT\tAGE\tREVISION\tKEYS\tDB\tOBJECT\tSIGNER\tSTATE\tPROOF")
	for _, e := range l.Snapshots {
		rev, keys, db := "-", "-", "-"
		if m := e.Manifest; m != nil {
			rev, keys, db = fmt.Sprint(m.Revision), fmt.Sprint(m.Keys), disk.Size(m.DBSize)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", e.ID, ago(now.Sub(e.Time)), rev, keys, db, disk.Size(e.Size), orDash(printable(e.Signer)), e.State, e.Proof)
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("write the list: %w", err)
	}
	for _, e := range l.Snapshots {
		if e.Problem != "" {
			fmt.Fprintf(w, "%s: %s\n", e.ID, printable(strings.ReplaceAll(e.Problem, "\n", "; ")))
		}
	}
	if l.ForeignObjects > 0 {
		fmt.Fprintf(w, "%s that drd does not know, left alone: %s\n", count(l.ForeignObjects, "object"), printable(strings.Join(l.Foreign[:min(3, len(l.Foreign))], ", ")))
	}
	return nil
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
