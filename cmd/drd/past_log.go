package main

import (
	"context"
	"encoding/base64"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/drd-project/drd/internal/archive"
	"github.com/drd-project/drd/internal/kube"
	"github.com/drd-project/drd/internal/past"
)

const logLong = `Lists every change of a key, or of all keys with a prefix or in a namespace, oldest first: its revision, when it was seen, put or
deleted, version, size and lease. Values are shown with --show-values only.

The history is made in a scratch directory out of a snapshot and, where the archive has them, the segments that lead on from it;
nothing is left of it afterwards. Without --from it begins where the newest snapshot begins, which is its last compaction: a few
minutes, in a Kubernetes cluster. --from says how far to look back. It needs no running cluster.

A time is that of the clock of the node that archived, to the second. Of what no segment tells, the bounds are shown that are known:
between two times, or by a time.`

const logExample = `  drd log --identity identity.txt --key /registry/namespaces/shop --from 2026-11-22T00:00:00Z
  drd log --identity identity.txt --key /registry/secrets/shop/ --prefix --from 48211 --to 49000
  drd log --repo file:///mnt/usb/drd --trust allowed_signers --identity identity.txt --namespace shop --from 2026-11-22T00:00:00Z`

// logFlags are the flags of drd log.
type logFlags struct {
	pastFlags
	isPrefix bool
	from, to pastPoint
	values   bool
	json     bool
}

func newLog(a *app) *cobra.Command {
	f := &logFlags{}
	c := &cobra.Command{
		Use: "log", Short: "list what happened to a key, without restoring anything",
		Long: logLong, Example: logExample,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.log(cmd.Context(), f) },
	}
	f.register(c)
	fl := c.Flags()
	fl.BoolVar(&f.isPrefix, "prefix", false, "all keys that begin with --key")
	fl.Var(&f.from, "from", "look back to this time or revision")
	fl.Var(&f.to, "to", "up to this time or revision; without it, to the newest that there is")
	fl.BoolVar(&f.values, "show-values", false, "show values, which may be secret")
	fl.BoolVar(&f.json, "json", false, "write JSON")
	return c
}

func (f *logFlags) complete() error {
	if f.key == "" && f.namespace == "" { // said before the missing identity, which is a key too
		return usageError{fmt.Errorf("whose history: give --key, --key with --prefix, or --namespace")}
	}
	if f.isPrefix {
		f.key, f.prefix = "", f.key
	}
	if err := f.pastFlags.complete(); err != nil {
		return err
	}
	if f.from.after(f.to) {
		return usageError{fmt.Errorf("--from %s comes after --to %s", &f.from, &f.to)}
	}
	return nil
}

func (a *app) log(ctx context.Context, f *logFlags) error {
	if err := f.complete(); err != nil {
		return err
	}
	since := f.from
	if since.revision > 1 {
		since.revision-- // what was there before it: the change of the revision itself shows
	}
	return f.look(ctx, a, since, f.to, func(ctx context.Context, v *view) error { return a.writeLog(ctx, f, v) })
}

func (a *app) writeLog(ctx context.Context, f *logFlags, v *view) error {
	first := int64(0)
	if !f.from.isZero() {
		first = v.result.Since + 1
		if f.from.revision == 1 {
			first = 1
		}
	}
	changes := func(values bool, each func(*past.Change) error) (*past.Facts, error) {
		return selfPast().Log(ctx, v.path, f.selection, first, v.result.Revision, values, each)
	}
	t, err := timesOf(ctx, a, v, first, changes, func(c *past.Change) int64 { return c.Revision })
	if err != nil {
		return err
	}
	out, err := a.newLogOutput(f, v, t)
	if err != nil {
		return err
	}
	return show(changes, f.values, out)
}

// logOutput writes changes as they come.
type logOutput struct {
	a       *app
	times   *past.Times
	values  bool
	kube    *kube.Decoder // nil: values are not shown
	json    *jsonList     // nil: text
	view    *view
	n       int64
	limited bool // --from was given
}

func (a *app) newLogOutput(f *logFlags, v *view, t *past.Times) (*logOutput, error) {
	o := &logOutput{a: a, times: t, values: f.values, view: v, limited: !f.from.isZero()}
	var err error
	if o.kube, err = decoderOf(f.values); err != nil {
		return nil, err
	}
	if f.json {
		o.json = a.newJSONList(struct {
			Cluster  string `json:"cluster"`
			Timeline string `json:"timeline"`
			Snapshot string `json:"snapshot"`
			Revision int64  `json:"to_revision"`
		}{v.plan.Cluster, v.plan.Snapshot.Timeline, v.result.ID, v.result.Revision}, "changes")
	}
	return o, nil
}

func (o *logOutput) add(c *past.Change) error {
	if o.json != nil {
		return o.json.add(newChangeJSON(c, o.times.Of(c.Revision), o.values))
	}
	if o.n++; o.n == 1 {
		fmt.Fprintf(o.a.out, "%-10s  %-6s  %7s  %8s  %-16s  %-20s  %s\n", "REVISION", "CHANGE", "VERSION", "SIZE", "LEASE", "TIME", "KEY")
	}
	what, version, size := "put", fmt.Sprint(c.Version), fmt.Sprint(c.Size)
	if c.Deleted {
		what, version, size = "delete", "-", "-"
	}
	_, err := fmt.Fprintf(o.a.out, "%-10d  %-6s  %7s  %8s  %-16s  %-20s  %s\n", c.Revision, what, version, size, orDash(past.LeaseText(c.Lease)),
		past.TimeText(o.times.Of(c.Revision)), past.KeyText(c.Key))
	if o.values && !c.Deleted && err == nil {
		_, err = fmt.Fprintf(o.a.out, "    %s\n", valueText(o.kube, c.Value))
	}
	return err
}

func (o *logOutput) end(facts *past.Facts) error {
	if o.json != nil {
		return o.json.end(struct {
			Found    int64 `json:"found"`
			Complete int64 `json:"complete_after_revision"`
		}{facts.Found, max(0, facts.CompactRevision)})
	}
	if o.n == 0 {
		fmt.Fprintf(o.a.out, "nothing happened to it up to revision %d\n", o.view.result.Revision)
	}
	if !o.limited && facts.CompactRevision > 0 {
		fmt.Fprintf(o.a.err, "drd: note: all changes after revision %d are shown, and of those before it only what was still there; --from TIME looks further back\n", facts.CompactRevision)
	}
	return nil
}

// changeJSON is one change in the documents of drd log and drd diff. Key is absent where it is no text, and KeyBase64 where it is.
type changeJSON struct {
	Key            string     `json:"key,omitempty"`
	KeyBase64      string     `json:"key_base64,omitempty"`
	Revision       int64      `json:"revision"`
	Change         string     `json:"change"` // put or delete
	CreateRevision int64      `json:"create_revision,omitempty"`
	Version        int64      `json:"version,omitempty"`
	Size           int64      `json:"size"`
	Lease          string     `json:"lease,omitempty"`
	Time           *time.Time `json:"time,omitempty"`
	After          *time.Time `json:"time_after,omitempty"`
	By             *time.Time `json:"time_by,omitempty"`
	Value          *string    `json:"value_base64,omitempty"`
}

func newChangeJSON(c *past.Change, seen archive.Seen, values bool) changeJSON {
	out := changeJSON{
		Revision: c.Revision, Change: "put", CreateRevision: c.CreateRevision, Version: c.Version, Size: c.Size, Lease: past.LeaseText(c.Lease),
		Time: known(seen.At), After: known(seen.After), By: known(seen.By),
	}
	if utf8.Valid(c.Key) {
		out.Key = string(c.Key)
	} else {
		out.KeyBase64 = base64.StdEncoding.EncodeToString(c.Key)
	}
	switch {
	case c.Deleted:
		out.Change = "delete"
	case values:
		out.Value = base64Of(c.Value)
	}
	return out
}

func base64Of(b []byte) *string {
	s := base64.StdEncoding.EncodeToString(b)
	return &s
}

// known is nil for a time that is not.
func known(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// valueText is a value on one line: an object of Kubernetes as JSON, other text as it is, and everything else escaped.
func valueText(d *kube.Decoder, value []byte) string {
	if o, err := d.Decode(value); err == nil {
		if text, err := o.JSON(); err == nil {
			return string(text)
		}
	}
	return past.KeyText(value)
}
