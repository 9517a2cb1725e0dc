package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
	"github.com/spf13/cobra"

	"github.com/drd-project/drd/internal/config"
	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/proof"
	"github.com/drd-project/drd/internal/replicate"
	"github.com/drd-project/drd/internal/report"
	"github.com/drd-project/drd/internal/restore"
	"github.com/drd-project/drd/internal/seal"
)

type reportFlags struct {
	repository repositoryFlags
	since      string
	html       bool
	asJSON     bool
}

func newReport(a *app) *cobra.Command {
	f := &reportFlags{}
	c := &cobra.Command{
		Use:   "report",
		Short: "evidence for an auditor: what was backed up, restored and measured, with signatures to check",
		Long: `Reads the drill records and the snapshots of every target and sums up a period: drills and how they ended, what is proved on which
target, recovery point and recovery time achieved, missed ticks, losses and failures. Each drill names the signed record
that it stands in, with its SHA-256, so that the evidence can be checked without drd. Records whose signature is not trusted are
listed and not counted. What the report does not prove is said at its end.`,
		Example: "  drd report --since 90d\n  drd report --since 2026-01-01 --html > report.html",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.report(cmd.Context(), f, time.Now())
		},
	}
	f.repository.register(c)
	c.Flags().StringVar(&f.since, "since", "90d", "begin of the period: a `time` ago such as 90d or 12h, a day, or an RFC 3339 time")
	c.Flags().BoolVar(&f.html, "html", false, "write one self-contained HTML page")
	c.Flags().BoolVar(&f.asJSON, "json", false, "write JSON")
	return c
}

func (a *app) report(ctx context.Context, f *reportFlags, now time.Time) error {
	if f.html && f.asJSON {
		return usageError{errors.New("--html and --json exclude each other")}
	}
	since, err := parseSince(f.since, now)
	if err != nil {
		return usageError{err}
	}
	sources, trust, err := f.repository.open(ctx, a)
	if err != nil {
		return err
	}
	if trust == nil {
		return usageError{hint.New(errors.New("nobody is trusted, so no record would count"), "--trust names the allowed signers file")}
	}
	cfg := report.Config{Since: since, Until: now, Build: build(), Sources: f.readSources(ctx, sources, trust, since, now)}
	cfg.Cluster = sources[0].Repo.Cluster()
	if len(f.repository.urls) == 0 {
		if err := a.ofThisNode(&cfg, &f.repository); err != nil {
			return err
		}
	}
	r := report.Make(cfg)
	switch {
	case f.html:
		err = r.WriteHTML(a.raw)
	case f.asJSON:
		err = a.writeJSON(r)
	default:
		err = r.WriteText(a.out)
	}
	return errors.Join(err, allFailed(cfg.Sources))
}

// allFailed is an error when no target could be read: then the report is about nothing.
func allFailed(sources []report.Source) error {
	var failed []error
	for _, s := range sources {
		if s.Err == nil {
			return nil
		}
		failed = append(failed, s.Err)
	}
	return errors.Join(failed...)
}

// readSources reads every target. What cannot be read is said in the report.
func (f *reportFlags) readSources(ctx context.Context, sources []restore.Source, trust *seal.Trust, since, now time.Time) []report.Source {
	out := make([]report.Source, 0, len(sources))
	for _, s := range sources {
		one := report.Source{Target: proof.Target{Name: s.Name, Location: s.Repo.Bucket().Location()}}
		var cerr, herr error
		from := since // or what is still there could have failed before, and nobody would hear of it
		if one.Catalogue, cerr = s.Repo.Catalogue(ctx, trust); cerr == nil && len(one.Catalogue.Entries) > 0 {
			if oldest := proof.Oldest(one.Catalogue.Entries); oldest.Before(from) {
				from = oldest
			}
		}
		one.History, herr = proof.Read(ctx, s.Repo, trust, proof.ReadOptions{
			Target: f.repository.proofTarget(s), Since: from, Limit: proof.MostRecords, Now: now,
		})
		one.Err = errors.Join(cerr, herr)
		out = append(out, one)
	}
	return out
}

// ofThisNode adds what only the configuration and the state of this node know.
func (a *app) ofThisNode(out *report.Config, f *repositoryFlags) error {
	cfg, err := f.readConfig(a)
	if err != nil {
		return err
	}
	if cfg.Verifier() { // it has no schedule and takes nothing that could be lost
		return nil
	}
	ticks, err := cfg.Snapshot.Ticks()
	if err != nil {
		return usageError{err}
	}
	out.Ticks = func(from, to time.Time) []time.Time { return ticksBetween(ticks, from, to) }
	out.Pruned, out.Kept = cfg.Retention != (config.Retention{}), cfg.Retention.KeepWithin
	out.Lost, err = replicate.Losses(cfg.StateDir)
	return err
}

// maxTicks bounds the ticks of a report: ten years of one every five minutes.
const maxTicks = 1 << 20

func ticksBetween(s cron.Schedule, from, to time.Time) []time.Time {
	var ticks []time.Time
	for t := s.Next(from.Add(-time.Second)); !t.IsZero() && t.Before(to) && len(ticks) < maxTicks; t = s.Next(t) {
		ticks = append(ticks, t)
	}
	return ticks
}

// parseSince reads a time ago, a day or a time.
func parseSince(s string, now time.Time) (time.Time, error) {
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			return notAhead(t, now)
		}
	}
	if days, ok := strings.CutSuffix(s, "d"); ok {
		if n, err := strconv.Atoi(days); err == nil && n > 0 && n <= 36500 {
			return now.AddDate(0, 0, -n), nil
		}
	} else if d, err := time.ParseDuration(s); err == nil && d > 0 {
		return now.Add(-d), nil
	}
	return time.Time{}, hint.New(fmt.Errorf("--since %q is neither a time ago nor a time", s), "write it as 90d, 12h, 2026-01-01 or 2026-01-01T00:00:00Z")
}

func notAhead(t, now time.Time) (time.Time, error) {
	if !t.Before(now) {
		return time.Time{}, fmt.Errorf("--since %s lies in the future", t.Format(time.RFC3339))
	}
	return t, nil
}
