package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/kube"
	"github.com/drd-project/drd/internal/past"
)

const diffLong = `Lists every key that was created, changed or deleted between two times or revisions, with the revision of its last change and when that
was seen. Objects of Kubernetes are named resource/namespace/name. At the end stand the counts for each namespace and each resource,
those with the most deletions first: a namespace that is gone shows at a glance. --summary shows the counts alone.

What was created and deleted in between is counted only. Values are shown with --show-values only. The history is made in
a scratch directory; nothing is left of it afterwards.`

const diffExample = `  drd diff --identity identity.txt --from 2026-11-22T10:00:00Z --to 2026-11-22T11:00:00Z --summary
  drd diff --identity identity.txt --from 48211 --to 49000 --prefix /registry/secrets/
  drd diff --identity identity.txt --from 2026-11-22T10:00:00Z --namespace shop`

// summaryRows is how many lines a table of drd diff has, so that both fit on a screen.
const summaryRows = 15

// diffFlags are the flags of drd diff.
type diffFlags struct {
	pastFlags
	from, to pastPoint
	values   bool
	summary  bool
	json     bool
}

func newDiff(a *app) *cobra.Command {
	f := &diffFlags{}
	c := &cobra.Command{
		Use: "diff", Short: "list what became of everything between two times, without restoring anything",
		Long: diffLong, Example: diffExample,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.diff(cmd.Context(), f) },
	}
	f.register(c)
	fl := c.Flags()
	fl.Var(&f.from, "from", "what is there at this time or revision")
	fl.Var(&f.to, "to", "is compared with this one; without it, with the newest that there is")
	fl.StringVar(&f.prefix, "prefix", "", "all keys that begin `so`")
	fl.BoolVar(&f.values, "show-values", false, "show values before and after, which may be secret")
	fl.BoolVar(&f.summary, "summary", false, "show the counts alone")
	fl.BoolVar(&f.json, "json", false, "write JSON")
	return c
}

func (f *diffFlags) complete() error {
	if err := f.pastFlags.complete(); err != nil {
		return err
	}
	switch {
	case f.from.isZero():
		return usageError{hint.New(errors.New("no time to compare with"), "--from 2026-11-22T10:00:00Z, or a revision")}
	case f.from.after(f.to):
		return usageError{fmt.Errorf("--from %s comes after --to %s", &f.from, &f.to)}
	case f.summary && f.values:
		return usageError{errors.New("--summary and --show-values exclude each other")}
	}
	return nil
}

func (a *app) diff(ctx context.Context, f *diffFlags) error {
	if err := f.complete(); err != nil {
		return err
	}
	return f.look(ctx, a, f.from, f.to, func(ctx context.Context, v *view) error { return a.writeDiff(ctx, f, v) })
}

func (a *app) writeDiff(ctx context.Context, f *diffFlags, v *view) error {
	differences := func(values bool, each func(*past.Difference) error) (*past.Facts, error) {
		return selfPast().Diff(ctx, v.path, f.selection, v.result.Since, v.result.Revision, values, each)
	}
	var times *past.Times
	if !f.summary {
		var err error
		if times, err = timesOf(ctx, a, v, v.result.Since, differences, func(d *past.Difference) int64 { return d.Last.Revision }); err != nil {
			return err
		}
	}
	out, err := a.newDiffOutput(f, v, times)
	if err != nil {
		return err
	}
	return show(differences, f.values, out)
}

// diffOutput writes differences as they come, and the counts at the end.
type diffOutput struct {
	a       *app
	times   *past.Times // nil: only the counts are shown
	values  bool
	summary bool
	kube    *kube.Decoder // nil: values are not shown
	json    *jsonList     // nil: text
	tally   past.Tally
}

func (a *app) newDiffOutput(f *diffFlags, v *view, t *past.Times) (*diffOutput, error) {
	o := &diffOutput{a: a, times: t, values: f.values, summary: f.summary}
	var err error
	if o.kube, err = decoderOf(f.values); err != nil {
		return nil, err
	}
	if f.json {
		o.json = a.newJSONList(struct {
			Cluster  string `json:"cluster"`
			Timeline string `json:"timeline"`
			Snapshot string `json:"snapshot"`
			From     int64  `json:"from_revision"`
			To       int64  `json:"to_revision"`
		}{v.plan.Cluster, v.plan.Snapshot.Timeline, v.result.ID, v.result.Since, v.result.Revision}, "differences")
		return o, o.json.err
	}
	fmt.Fprintf(a.out, "from  revision %d%s\nto    revision %d%s\n", v.result.Since, asked(f.from), v.result.Revision, asked(f.to))
	return o, nil
}

// asked repeats the time that was asked for.
func asked(p pastPoint) string {
	if p.at.IsZero() {
		return ""
	}
	return ", " + p.String()
}

// differenceJSON is one key in the document of drd diff: its last change, and what became of it.
type differenceJSON struct {
	Fate past.Fate `json:"fate"`
	changeJSON
	Changes int64   `json:"changes"`
	Before  *string `json:"value_before_base64,omitempty"`
}

func (o *diffOutput) add(d *past.Difference) error {
	o.tally.Add(d)
	switch {
	case o.summary:
		return nil
	case o.json != nil:
		out := differenceJSON{Fate: d.Fate, changeJSON: newChangeJSON(&d.Last, seenOf(o.times, d.Last.Revision), o.values), Changes: d.Changes}
		if o.values && d.Fate != past.Created {
			out.Before = base64Of(d.Before)
		}
		return o.json.add(out)
	}
	_, err := fmt.Fprintf(o.a.out, "%-8s  %-10d  %-20s  %s\n", d.Fate, d.Last.Revision, past.TimeText(seenOf(o.times, d.Last.Revision)), objectText(d.Last.Key))
	if o.values && d.Fate != past.Created && err == nil {
		_, err = fmt.Fprintf(o.a.out, "  - %s\n", valueText(o.kube, d.Before))
	}
	if o.values && d.Fate != past.Deleted && err == nil {
		_, err = fmt.Fprintf(o.a.out, "  + %s\n", valueText(o.kube, d.Last.Value))
	}
	return err
}

// objectText names what a key holds.
func objectText(key []byte) string {
	if ref, ok := kube.ParseKey(key); ok {
		return past.KeyText([]byte(ref.String()))
	}
	return past.KeyText(key)
}

func (o *diffOutput) end(facts *past.Facts) error {
	total := o.tally.Total()
	if o.json != nil {
		return o.json.end(struct {
			Created     int64        `json:"created"`
			Changed     int64        `json:"changed"`
			Deleted     int64        `json:"deleted"`
			CameAndWent int64        `json:"came_and_went"`
			Namespaces  []past.Count `json:"namespaces"`
			Resources   []past.Count `json:"resources"`
		}{total.Created, total.Changed, total.Deleted, facts.CameAndWent, o.tally.Namespaces(), o.tally.Resources()})
	}
	if err := o.tally.WriteText(o.a.out, summaryRows); err != nil {
		return err
	}
	fmt.Fprintf(o.a.out, "\n%s created, %d changed, %d deleted", count(int(total.Created), "key"), total.Changed, total.Deleted)
	if facts.CameAndWent > 0 {
		fmt.Fprintf(o.a.out, "; %d came and went in between", facts.CameAndWent)
	}
	fmt.Fprintln(o.a.out)
	return nil
}
