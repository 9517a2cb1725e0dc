package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"filippo.io/age"
	"github.com/spf13/cobra"

	"github.com/drd-project/drd/internal/archive"
	"github.com/drd-project/drd/internal/audit"
	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/kube"
	"github.com/drd-project/drd/internal/past"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/restore"
	"github.com/drd-project/drd/internal/seal"
)

// pastCommand is the child process that looks into stores; see past.Reader.
const pastCommand = "past-file"

func newPast(a *app) *cobra.Command {
	return newChild(pastCommand+" FILE QUERY", "look into the past of a store", cobra.ExactArgs(2), a.toStdout(past.Main))
}

// selfPast reads stores with this very binary.
func selfPast() past.Reader {
	return past.Reader{Program: "/proc/self/exe", Command: []string{"drd", pastCommand}}
}

// pastFlags are what drd log, diff and extract have in common: where the history comes from, and which keys are meant.
type pastFlags struct {
	repository repositoryFlags
	targets    []string
	id         string
	identities []string
	fileKey    string
	insecure   bool
	scratch    string
	selection  past.Selection
	key        string
	prefix     string
	namespace  string
}

func (f *pastFlags) register(c *cobra.Command) {
	f.repository.register(c)
	fl := c.Flags()
	fl.StringArrayVar(&f.targets, "target", nil, "read this target of the configuration only, by `name` (repeatable)")
	fl.StringVar(&f.id, "id", "", "read the history of this snapshot: its `ID` or the beginning of it")
	fl.StringArrayVar(&f.identities, "identity", nil, "`file` with the identity that opens the snapshot: age or SSH, also passphrase-protected (repeatable)")
	fl.StringVar(&f.fileKey, "file-key", "", "`file` with the key of this one object, as drd unlock writes it, in place of an identity")
	fl.BoolVar(&f.insecure, "insecure-skip-signature", false, "read what nobody trusted vouches for")
	fl.StringVar(&f.scratch, "scratch", "", "working `directory`, with room for the database; it is removed at the end")
	fl.StringVar(&f.key, "key", "", "this `key`: literally, or quoted and escaped as drd shows it")
	fl.StringVarP(&f.namespace, "namespace", "n", "", "this `namespace` of Kubernetes: itself, and all objects in it")
}

// complete checks what needs no repository.
func (f *pastFlags) complete() error {
	f.selection = past.Selection{Key: past.ParseKeyText(f.key), Prefix: past.ParseKeyText(f.prefix), Namespace: f.namespace}
	err := f.selection.Validate()
	switch {
	case err != nil:
		return usageError{hint.New(err, "give one of --key, --prefix and --namespace")}
	case len(f.identities) > 0 && f.fileKey != "":
		return usageError{errors.New("--identity and --file-key exclude each other")}
	case len(f.identities) == 0 && f.fileKey == "":
		return usageError{hint.New(errors.New("no key to open the snapshot with"), "--identity FILE names the identity that it was sealed for")}
	}
	return nil
}

func (f *pastFlags) keys(ctx context.Context, a *app) ([]age.Identity, error) {
	one := restoreFlags{identities: f.identities, fileKey: f.fileKey}
	return one.keys(ctx, a)
}

// decoderOf shows values; nil where they are not to be shown.
func decoderOf(values bool) (*kube.Decoder, error) {
	if !values {
		return nil, nil //nolint:nilnil // none is needed
	}
	return kube.NewDecoder()
}

// pastPoint is the value of --from, --to and --at: a time, or a revision. A revision is a number, which no time is.
type pastPoint struct {
	revision int64
	at       time.Time
}

func (p *pastPoint) Set(s string) error {
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		if n < 1 {
			return errors.New("a revision is a number from 1 on")
		}
		*p = pastPoint{revision: n}
		return nil
	}
	var at optionalTime
	if at.Set(s) != nil {
		return errors.New("give a time as in RFC 3339, such as 2026-11-22T10:15:30Z, or a revision")
	}
	*p = pastPoint{at: time.Time(at)}
	return nil
}

func (p *pastPoint) Type() string { return "TIME|REVISION" }

func (p *pastPoint) String() string {
	switch {
	case p.revision != 0:
		return strconv.FormatInt(p.revision, 10)
	case !p.at.IsZero():
		return p.at.Format(time.RFC3339)
	}
	return ""
}

func (p *pastPoint) isZero() bool { return p.revision == 0 && p.at.IsZero() }

// after reports whether p comes after q, of two times or two revisions.
func (p *pastPoint) after(q pastPoint) bool {
	return p.revision != 0 && q.revision != 0 && p.revision > q.revision || !p.at.IsZero() && !q.at.IsZero() && p.at.After(q.at)
}

// view is a store in scratch, and what it was made of.
type view struct {
	path    string
	plan    *restore.Plan
	result  *restore.Result
	archive past.Archive
}

// look has the store of a point made in scratch and hands it to f. Nothing of it is left afterwards.
func (f *pastFlags) look(ctx context.Context, a *app, since, upTo pastPoint, see func(context.Context, *view) error) error {
	sources, trust, err := f.sources(ctx, a)
	if err != nil {
		return err
	}
	request := restore.Request{
		ID: f.id, InScratch: true, Scratch: f.scratch, InsecureSkipSignature: f.insecure,
		Since: since.revision, SinceAt: since.at, Revision: upTo.revision, At: upTo.at,
	}
	plan, err := restore.MakePlan(ctx, sources, trust, request, time.Now())
	if err != nil {
		return err
	}
	if f.fileKey != "" && plan.Archive != nil {
		return hint.New(fmt.Errorf("this takes a snapshot and %s, and each has a key of its own", count(plan.Archive.Segments, "segment")),
			"bring the identity: --identity FILE")
	}
	ids, err := f.keys(ctx, a)
	if err != nil {
		return err
	}
	if err := restore.CanOpen(ctx, plan, ids); err != nil {
		return err
	}
	for _, w := range plan.Warnings {
		fmt.Fprintln(a.err, "drd: note:", w)
	}
	if f.insecure {
		trust = nil
	}
	p := a.progress()
	defer p.finish()
	made := func(ctx context.Context, path string, r *restore.Result) error {
		p.finish()
		return see(ctx, &view{path, plan, r, past.Archive{Sources: sources, Trust: trust, Timeline: plan.Snapshot.Timeline, Keys: ids}})
	}
	audit.Note(ctx, audit.Event{Name: audit.PastBegin, Outcome: audit.Begun, Object: plan.Snapshot.ID})
	_, err = restore.RunWith(ctx, plan, ids, selfInspector(), restoreProgress{p}, restore.Options{Made: made})
	audit.Note(ctx, audit.Event{Name: audit.PastEnd, Object: plan.Snapshot.ID, Err: err})
	return err
}

func (f *pastFlags) sources(ctx context.Context, a *app) ([]restore.Source, *seal.Trust, error) {
	sources, trust, err := f.repository.open(ctx, a)
	if err != nil || len(f.targets) == 0 {
		return sources, trust, err
	}
	sources = slices.DeleteFunc(sources, func(s restore.Source) bool { return !slices.Contains(f.targets, s.Name) })
	if len(sources) == 0 {
		return nil, nil, usageError{errors.New("--target names no target of the configuration")}
	}
	return sources, trust, nil
}

// query hands each change, or each difference, to a function, in order; with its values, or without. It can be asked again.
type query[T any] func(values bool, each func(*T) error) (*past.Facts, error)

// answer shows what a query finds.
type answer[T any] interface {
	add(*T) error
	end(*past.Facts) error
}

// show answers a query.
func show[T any](q query[T], values bool, to answer[T]) error {
	facts, err := q(values, to.add)
	if err != nil {
		return err
	}
	return to.end(facts)
}

// timesOf asks a query for its revisions, beginning with first, and finds out when these came to be. What cannot be found out is a
// note: the bounds that are known are shown instead.
func timesOf[T any](ctx context.Context, a *app, v *view, first int64, q query[T], revision func(*T) int64) (*past.Times, error) {
	v.archive.First, v.archive.Last = max(1, first), v.result.Revision
	t, err := v.archive.Times(ctx)
	if err == nil || ctx.Err() == nil {
		a.noteTimes(err)
		_, err = q(false, func(found *T) error { t.Need(revision(found)); return nil })
	}
	if err != nil {
		return nil, err
	}
	if err := t.Read(ctx); err != nil {
		if ctx.Err() != nil {
			return nil, err
		}
		a.noteTimes(err)
	}
	return t, nil
}

func (a *app) noteTimes(err error) {
	if err != nil {
		fmt.Fprintln(a.err, "drd: note: some times are not known exactly:", repo.Describe(err))
	}
}

// seenOf is what is known of a time; t may be nil.
func seenOf(t *past.Times, revision int64) archive.Seen {
	if t == nil {
		return archive.Seen{}
	}
	return t.Of(revision)
}

// jsonList writes one document with a list that is too long to be kept: the fields of head, the list, and those of tail.
type jsonList struct {
	a   *app
	n   int
	err error
}

func (a *app) newJSONList(head any, name string) *jsonList {
	l := &jsonList{a: a}
	content, err := json.Marshal(head)
	if err != nil {
		l.err = err
		return l
	}
	l.write(fmt.Sprintf("%s,%q:[", content[:len(content)-1], name))
	return l
}

func (l *jsonList) write(s string) {
	if l.err == nil {
		_, l.err = l.a.raw.Write([]byte(s))
	}
}

func (l *jsonList) add(v any) error {
	content, err := json.Marshal(v)
	if err != nil {
		return err
	}
	separator := ",\n"
	if l.n++; l.n == 1 {
		separator = "\n"
	}
	l.write(separator + string(content))
	return l.err
}

func (l *jsonList) end(tail any) error {
	content, err := json.Marshal(tail)
	if err != nil {
		return err
	}
	l.write("\n]," + string(content[1:]) + "\n")
	return l.err
}
