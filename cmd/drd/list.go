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
	"github.com/drd-project/drd/internal/proof"
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
look at the manifest and the payload's size found; the payload itself is not read. PROOF is the newest conclusive word of the
signed drill records in the same target: proved (a drill restored it and etcd served it), data (it was read back, decrypted and
checked, and no etcd was started), FAILED, or unproven: nobody tried, or nobody whose signature counts here.`,
		Example: "  drd list\n  drd list --repo 's3://backups/etcd?region=eu-central-1' --cluster prod-east --trust allowed_signers",
		RunE: func(cmd *cobra.Command, _ []string) error {
			sources, trust, err := flags.open(cmd.Context(), a)
			if err != nil {
				return err
			}
			listings, err := a.listAll(cmd.Context(), &flags, sources, trust)
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
	Target    string      `json:"target"`
	Location  string      `json:"location"`
	Cluster   string      `json:"cluster"`
	Snapshots []listEntry `json:"snapshots"` // by time, oldest first
	// Window is what can be restored; absent where it is not known.
	Window         *restore.Window `json:"window,omitempty"`
	ForeignObjects int             `json:"foreign_objects"`
	Foreign        []string        `json:"foreign,omitempty"` // the first of them
	// IgnoredRecords are drill records that prove nothing here; ignored is the newest of them.
	IgnoredRecords int `json:"ignored_records"`
	ignored        *proof.SignedRecord
}

type listEntry struct {
	ID      string     `json:"id"`
	Time    time.Time  `json:"time"`
	State   repo.State `json:"state"`
	Problem string     `json:"problem,omitempty"`
	Signer  string     `json:"signer,omitempty"`
	Proof   string     `json:"proof"`
	// ProvedAt is set where Proof is proved or data-proved, FailedAt and ProofCause where it is failed.
	ProvedAt    *time.Time     `json:"proved_at,omitempty"`
	FailedAt    *time.Time     `json:"failed_at,omitempty"`
	ProofLevel  proof.Level    `json:"proof_level,omitempty"`
	ProofRecord string         `json:"proof_record,omitempty"`
	ProofCause  string         `json:"proof_cause,omitempty"`
	Size        int64          `json:"object_size"`
	Manifest    *repo.Manifest `json:"manifest,omitempty"`
}

// listAll reads all targets. A target that cannot be read is an error beside the listings of the others; drill records that
// cannot be read are a note.
func (a *app) listAll(ctx context.Context, flags *repositoryFlags, sources []restore.Source, trust *seal.Trust) ([]listing, error) {
	var listings []listing
	var failed []error
	for _, s := range sources {
		c, err := s.Repo.Catalogue(ctx, trust)
		if err != nil {
			failed = append(failed, err)
			continue
		}
		h, err := readProof(ctx, s.Repo, c, trust, flags.proofTarget(s))
		if err != nil {
			fmt.Fprintf(a.err, "drd: note: PROOF of %s is not known: %v\n", s.Name, err)
		}
		l := newListing(s.Name, c, h)
		if l.Window, err = restore.ReadWindow(ctx, s.Repo, c, trust, time.Now()); err != nil {
			fmt.Fprintf(a.err, "drd: note: the restore window of %s is not known: %v\n", s.Name, err)
		}
		listings = append(listings, l)
	}
	return listings, errors.Join(failed...)
}

// readProof reads what drills said of the snapshots of a catalogue. With an error it is an empty history; without trust
// nobody's word counts.
func readProof(ctx context.Context, r *repo.Repository, c *repo.Catalogue, trust *seal.Trust, t proof.Target) (*proof.History, error) {
	if trust == nil || len(c.Entries) == 0 {
		return &proof.History{}, nil
	}
	h, err := proof.Read(ctx, r, trust, proof.ReadOptions{Target: t, Since: proof.Oldest(c.Entries), Limit: proof.MostRecords})
	if err != nil {
		return &proof.History{}, err
	}
	return h, nil
}

// proofTarget is what drill records must be about to prove what this source holds. Only a name out of a configuration says
// anything: without one, every source is called alike.
func (f *repositoryFlags) proofTarget(s restore.Source) proof.Target {
	return f.proofTargetAt(s.Name, s.Repo.Bucket().Location())
}

func (f *repositoryFlags) proofTargetAt(name, location string) proof.Target {
	t := proof.Target{Location: location}
	if len(f.urls) == 0 {
		t.Name = name
	}
	if !f.at.IsZero() { // a bucket as it was says so in its location
		t.Location, _, _ = strings.Cut(t.Location, " as of ")
	}
	return t
}

func newListing(name string, c *repo.Catalogue, h *proof.History) listing {
	l := listing{Target: name, Location: c.Location, Cluster: c.Cluster, Snapshots: []listEntry{}, ForeignObjects: c.ForeignCount, Foreign: c.Foreign}
	for i := range c.Entries {
		e := &c.Entries[i]
		l.Snapshots = append(l.Snapshots, newListEntry(e, h.OfEntry(e)))
	}
	for _, rec := range h.Records() {
		if rec.State != repo.StateOK {
			l.IgnoredRecords++
			l.ignored = rec
		}
	}
	return l
}

func newListEntry(e *repo.Entry, s proof.Standing) listEntry {
	out := listEntry{ID: e.ID.String(), Time: e.ID.Time, State: e.State, Size: e.Payload.Size, Manifest: e.Manifest, Signer: e.Signer.Principal}
	if e.Problem != nil {
		out.Problem = e.Problem.Error()
	}
	out.Proof, out.ProofLevel, out.ProofRecord, out.ProofCause = s.State, s.Level, s.Record, s.Cause
	switch s.State {
	case proof.StateProved, proof.StateDataProved:
		out.ProvedAt = &s.At
	case proof.StateFailed:
		out.FailedAt = &s.At
	}
	return out
}

// proofText is PROOF in the table.
func proofText(e listEntry, now time.Time) string {
	switch e.Proof {
	case proof.StateProved:
		return "proved " + longAgo(now, *e.ProvedAt)
	case proof.StateDataProved:
		return "data " + longAgo(now, *e.ProvedAt)
	case proof.StateFailed:
		return "FAILED " + longAgo(now, *e.FailedAt)
	}
	return e.Proof
}

// longAgo is ago for the end of a sentence. The clock of who drilled may be a little ahead.
func longAgo(now, t time.Time) string { return ago(max(0, now.Sub(t))) + " ago" }

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
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", e.ID, ago(now.Sub(e.Time)), rev, keys, db, disk.Size(e.Size), orDash(printable(e.Signer)), e.State, proofText(e, now))
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("write the list: %w", err)
	}
	if l.Window != nil && len(l.Window.Ranges) > 0 {
		if err := l.Window.WriteText(w, ""); err != nil {
			return fmt.Errorf("write the list: %w", err)
		}
	}
	for _, e := range l.Snapshots {
		if e.Problem != "" {
			fmt.Fprintf(w, "%s: %s\n", e.ID, printable(strings.ReplaceAll(e.Problem, "\n", "; ")))
		}
	}
	for _, e := range l.Snapshots {
		if e.ProofCause != "" {
			fmt.Fprintf(w, "%s: its drill failed: %s\n", e.ID, printable(e.ProofCause))
		}
	}
	if l.IgnoredRecords > 0 {
		fmt.Fprintf(w, "%s counted as proof of nothing, the newest is %s: %s\n", count(l.IgnoredRecords, "drill record"), l.ignored.ID, printable(l.ignored.Problem.Error()))
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
