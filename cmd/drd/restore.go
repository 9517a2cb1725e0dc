package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"filippo.io/age"
	"github.com/spf13/cobra"

	"github.com/drd-project/drd/internal/disk"
	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/restore"
)

const restoreLong = `Brings a snapshot back: fetches it, checks signature and hashes, decrypts it, checks the database and
compares it with what was recorded, and only then gives the result its name. It needs no daemon, no
configuration and no running cluster.

--output FILE writes a standard etcd snapshot, for etcdutl or a distribution's own procedure. --data-dir
DIR makes a data directory that etcd can be started on, with etcd's own flags for a member. A multi-member
cluster is restored by running this once on each member, with the same snapshot.

--at TIME and --revision N bring back a point between snapshots, exactly as it was: every key with its revisions, version and
lease, and the HashKV that etcd had. A snapshot holds the history from its compact revision to its own revision, and the
segments of the archive lead on from there. Where something is missing nothing is restored, and the nearest points that can be
are named. Only where nothing was ever archived, --at takes the newest snapshot of that time, and says how much earlier that is.
Without a choice the newest archived revision is restored.

The plan is shown first and confirmed. --dry-run stops there.

Where the identity must not come near this machine, --header-out FILE writes the header of the object, drd unlock turns it into
the key of that one object on the machine that holds the identity, and --file-key FILE restores with it.

For a store that holds Kubernetes objects the revision is moved forward by 1000000000 and everything before it marked
compacted, so that no client believes that time went backwards; --bump-revision 0 keeps it exact.`

const restoreExample = `  drd restore --identity identity.txt --output snapshot.db
  drd restore --repo file:///mnt/usb/drd --cluster prod-east --trust allowed_signers \
      --identity identity.txt --data-dir /var/lib/etcd --name cp-1 \
      --initial-cluster cp-1=https://10.0.0.1:2380 --initial-advertise-peer-urls https://10.0.0.1:2380`

// restoreFlags are the flags of drd restore.
type restoreFlags struct {
	repository repositoryFlags
	request    restore.Request
	latest     bool
	revision   optionalRevision
	at         optionalTime
	bump       string
	identities []string
	fileKey    string
	headerOut  string
	peerURLs   string
	dryRun     bool
	yes        bool
	json       bool
}

func newRestore(a *app) *cobra.Command {
	f := &restoreFlags{}
	c := &cobra.Command{
		Use: "restore", Short: "bring a snapshot back, as a file or as a data directory",
		Long: restoreLong, Example: restoreExample,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.restore(cmd, f) },
	}
	f.repository.register(c)
	fl := c.Flags()
	fl.BoolVar(&f.latest, "latest", false, "restore the newest revision that was archived, or the newest snapshot (the default)")
	fl.StringVar(&f.request.ID, "id", "", "restore this snapshot: its `ID` or the beginning of it")
	fl.Var(&f.at, "at", "restore what was there at this time, to the second: RFC 3339, such as 2026-11-22T10:15:30Z")
	fl.Var(&f.revision, "revision", "restore this revision, exactly as it was, of the current history or that of --id")
	fl.StringArrayVar(&f.identities, "identity", nil, "`file` with the identity that opens the snapshot: age or SSH, also passphrase-protected (repeatable)")
	fl.StringVar(&f.fileKey, "file-key", "", "`file` with the key of this one object, as drd unlock writes it, in place of an identity")
	fl.StringVar(&f.headerOut, "header-out", "", "write the header of the object to this `file`, for drd unlock, and stop")
	fl.BoolVar(&f.request.InsecureSkipSignature, "insecure-skip-signature", false, "restore although nobody trusted vouches for the snapshot")
	fl.StringVar(&f.request.Output, "output", "", "write a standard etcd snapshot `file`")
	fl.StringVar(&f.request.DataDir, "data-dir", "", "make an etcd data `directory`")
	fl.StringVar(&f.request.WALDir, "wal-dir", "", "make the WAL in a `directory` of its own")
	fl.StringVar(&f.request.Name, "name", "", "`name` of the member (etcd's flag, etcd's default)")
	fl.StringVar(&f.request.InitialCluster, "initial-cluster", "", "`NAME=URL,…` of all members (etcd's flag)")
	fl.StringVar(&f.request.InitialClusterToken, "initial-cluster-token", "", "`token` of the cluster (etcd's flag, etcd's default)")
	fl.StringVar(&f.peerURLs, "initial-advertise-peer-urls", "", "`URLs` of this member (etcd's flag, etcd's default)")
	fl.StringVar(&f.bump, "bump-revision", "auto", "move the revision forward and mark it compacted: auto, `N` or 0")
	fl.StringVar(&f.request.ForEtcd, "for-etcd", "", "make the result fit servers of this older `version`: 3.4, 3.5, 3.6 or 3.7")
	fl.StringVar(&f.request.Scratch, "scratch", "", "working `directory`, on the file system of the destination")
	fl.BoolVar(&f.dryRun, "dry-run", false, "show the plan and stop")
	fl.BoolVarP(&f.yes, "yes", "y", false, "do not ask")
	fl.BoolVar(&f.json, "json", false, "write JSON: the plan with --dry-run, else the result")
	return c
}

// optionalRevision is the value of --revision: at least 1, or 0 when the flag is not given.
type optionalRevision int64

func (r *optionalRevision) Set(s string) error {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 1 {
		return errors.New("a revision is a number from 1 on")
	}
	*r = optionalRevision(n)
	return nil
}

func (r *optionalRevision) Type() string { return "N" }

func (r *optionalRevision) String() string {
	if *r == 0 {
		return ""
	}
	return strconv.FormatInt(int64(*r), 10)
}

// optionalTime is the value of --at, zero when the flag is not given.
type optionalTime time.Time

func (o *optionalTime) Set(s string) error {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil || t.IsZero() {
		return errors.New("a time is given as in RFC 3339: 2026-11-22T10:15:30Z or 2026-11-22T11:15:30+01:00")
	}
	*o = optionalTime(t.UTC())
	return nil
}

func (o *optionalTime) Type() string { return "TIME" }

func (o *optionalTime) String() string {
	if t := time.Time(*o); !t.IsZero() {
		return t.Format(time.RFC3339)
	}
	return ""
}

func (a *app) restore(cmd *cobra.Command, f *restoreFlags) error {
	ctx := cmd.Context()
	if err := f.complete(); err != nil {
		return err
	}
	sources, trust, err := f.repository.open(ctx, a)
	if err != nil {
		return err
	}
	plan, err := restore.MakePlan(ctx, sources, trust, f.request, time.Now())
	if err != nil {
		return err
	}
	if (f.headerOut != "" || f.fileKey != "") && plan.Archive != nil {
		return hint.New(fmt.Errorf("this point is made of a snapshot and %s, and each has a key of its own", count(plan.Archive.Segments, "segment")),
			"restore one object: --id %s, or --revision N that a snapshot holds", plan.Snapshot.ID)
	}
	if f.headerOut != "" {
		return a.writeHeader(ctx, plan, f.headerOut)
	}
	plan.Measure(ctx, trust, f.repository.proofTargetAt(plan.Source.Name, plan.Source.Location))
	if f.dryRun {
		if f.json {
			return a.writeJSON(plan)
		}
		return plan.WriteText(a.out)
	}
	ids, err := f.keys(ctx, a)
	if err != nil {
		return err
	}
	if err := restore.CanOpen(ctx, plan, ids); err != nil {
		return err
	}
	if err := a.confirm(ctx, plan, f); err != nil {
		return err
	}
	p := a.progress()
	result, err := auditedRestore(ctx, plan, func() (*restore.Result, error) {
		return restore.Run(ctx, plan, ids, selfInspector(), restoreProgress{p})
	})
	p.finish()
	if err != nil {
		return err
	}
	if f.json {
		return a.writeJSON(result)
	}
	a.writeRestored(plan, result)
	return nil
}

// complete checks what needs no repository.
func (f *restoreFlags) complete() error {
	bump, err := restore.ParseBump(f.bump)
	if err != nil {
		return usageError{err}
	}
	f.request.Bump = bump
	f.request.Revision, f.request.At = int64(f.revision), time.Time(f.at)
	if f.peerURLs != "" {
		f.request.PeerURLs = strings.Split(f.peerURLs, ",")
	}
	if f.headerOut != "" && f.request.Output == "" && f.request.DataDir == "" {
		f.request.Output = f.headerOut // a plan has a destination
	}
	if err := f.contradiction(); err != nil {
		return usageError{err}
	}
	return nil
}

// contradiction is what cannot be meant by these flags together.
func (f *restoreFlags) contradiction() error {
	switch {
	case f.latest && f.request.ID != "":
		return errors.New("--latest and --id exclude each other")
	case f.latest && f.revision != 0:
		return errors.New("--latest and --revision exclude each other")
	case f.latest && !f.request.At.IsZero():
		return errors.New("--latest and --at exclude each other")
	case f.revision != 0 && !f.request.At.IsZero():
		return errors.New("--revision and --at exclude each other")
	case len(f.identities) > 0 && f.fileKey != "":
		return errors.New("--identity and --file-key exclude each other")
	case (f.request.Output == "") == (f.request.DataDir == ""):
		return hint.New(errors.New("give one destination"), "--output FILE for a snapshot file, or --data-dir DIR for a data directory")
	case f.request.Output != "" && (f.request.Name+f.request.InitialCluster+f.request.InitialClusterToken+f.peerURLs != ""):
		return hint.New(errors.New("a snapshot file has no member"), "--name and the --initial flags go with --data-dir")
	case !f.dryRun && f.headerOut == "" && len(f.identities) == 0 && f.fileKey == "":
		return hint.New(errors.New("no key to open the snapshot with"), "--identity FILE names the identity that it was sealed for")
	}
	return nil
}

func (f *restoreFlags) keys(ctx context.Context, a *app) ([]age.Identity, error) {
	if f.fileKey != "" {
		key, err := readFileKey(ctx, f.fileKey)
		if err != nil {
			return nil, err
		}
		return []age.Identity{key.Identity()}, nil
	}
	return a.loadIdentities(ctx, f.identities)
}

// confirm shows the plan to a person and waits for a yes.
func (a *app) confirm(ctx context.Context, plan *restore.Plan, f *restoreFlags) error {
	if err := plan.WriteText(a.err); err != nil {
		return err
	}
	fmt.Fprintln(a.err)
	if f.yes {
		return nil
	}
	if !isTerminal(a.in) {
		return usageError{hint.New(errors.New("nobody is there to confirm the plan"), "--yes restores without asking, --dry-run only shows the plan")}
	}
	fmt.Fprint(a.err, "Restore this? [y/N] ")
	answer, err := waitFor(ctx, func() (string, error) { return bufio.NewReader(a.in).ReadString('\n') })
	if ctx.Err() != nil {
		return err
	}
	if err != nil || !strings.EqualFold(strings.TrimSpace(answer), "y") && !strings.EqualFold(strings.TrimSpace(answer), "yes") {
		return errors.New("not confirmed; nothing was changed")
	}
	return nil
}

func (a *app) writeRestored(plan *restore.Plan, r *restore.Result) {
	fmt.Fprintf(a.out, "restored   %s from %s\n", r.ID, r.Source.Name)
	fmt.Fprintf(a.out, "to         %s\n", r.Path)
	if r.At != nil {
		fmt.Fprintf(a.out, "as of      %s%s\n", r.At.Format(time.RFC3339), earlier(r))
	}
	fmt.Fprintf(a.out, "revision   %s\n", restoredRevision(r))
	fmt.Fprintf(a.out, "content    %s, %s, HashKV %d\n", count(int(r.Facts.Keys), "key"), disk.Size(r.Facts.DBSize), r.Facts.HashKV)
	for _, c := range r.Compared {
		fmt.Fprintf(a.out, "compared   member %s at revision %d, HashKV %d: %s\n", c.Member, c.Revision, c.Hash, c.Result)
	}
	if r.LeasesAdded > 0 {
		fmt.Fprintf(a.out, "leases     %d records added that live keys name and the snapshot lacked\n", r.LeasesAdded)
	}
	for _, alarm := range r.AlarmsCleared {
		fmt.Fprintf(a.out, "alarm      %s: cleared\n", alarm)
	}
	fmt.Fprintf(a.out, "took       %.1f s\n", r.Seconds)
	a.writeNextSteps(plan)
}

func earlier(r *restore.Result) string {
	if r.EarlierSeconds == 0 {
		return ""
	}
	return fmt.Sprintf(", but up to %s EARLIER: nothing was archived then", time.Duration(r.EarlierSeconds)*time.Second)
}

func restoredRevision(r *restore.Result) string {
	exact := fmt.Sprint(r.Revision)
	if r.Segments > 0 {
		exact += fmt.Sprintf(", %s from %d on", count(r.Segments, "segment"), r.SnapshotRevision)
	}
	if r.Revision < r.SnapshotRevision {
		exact += fmt.Sprintf(", cut back from %d", r.SnapshotRevision)
	}
	if r.Bumped == 0 {
		return exact
	}
	return fmt.Sprintf("%d (%s, moved forward by %d and marked compacted)", r.Facts.Revision, exact, r.Bumped)
}

// writeNextSteps says what the person does with the result.
func (a *app) writeNextSteps(plan *restore.Plan) {
	d := plan.Destination
	if d.Output != "" {
		fmt.Fprintf(a.out, "next       etcdutl snapshot restore %s --data-dir DIR (or your distribution's own procedure)\n", d.Output)
		return
	}
	fmt.Fprintf(a.out, "next       give the directory to the user etcd runs as, then start etcd with: --data-dir %s --name %s --initial-cluster %s --initial-cluster-token %s --initial-advertise-peer-urls %s\n",
		d.DataDir, d.Name, d.InitialCluster, d.InitialClusterToken, strings.Join(d.PeerURLs, ","))
}

// restoreProgress shows a restore's steps.
type restoreProgress struct{ p *progress }

func (r restoreProgress) Step(name string, total int64) { r.p.start(name, total) }
func (r restoreProgress) Add(n int64)                   { r.p.add(n) }
func (r restoreProgress) Notice(text string) {
	r.p.finish()
	fmt.Fprintln(r.p.w, "drd: note:", text)
}
