package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"filippo.io/age"
	"github.com/spf13/cobra"

	"github.com/drd-project/drd/internal/audit"
	"github.com/drd-project/drd/internal/config"
	"github.com/drd-project/drd/internal/drill"
	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/members"
	"github.com/drd-project/drd/internal/proof"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/seal"
	"github.com/drd-project/drd/internal/verify"
)

const verifyLong = `Restores snapshots for practice, from each target: fetches the object, checks signature, chain and hashes, opens it, checks
the database and compares it with what was recorded, starts an etcd on it that nobody else can reach, reads and writes through
its client API, compares again, and wipes everything. docs/verify.md says what that proves.

Without an ID it tries the newest snapshot and an older one at random, in every target, and where something was archived the newest
archived revision and another one, of those that a key here opens. --revision N and --at TIME try that point of the archive alone. What came of it is signed with the
key of this host and stored in the target, for drd list, drd status and drd report. On a node the keys of its own fresh snapshots
are at hand; --identity, or verify.identity_file, opens the others.

Exit codes: 0 all passed; 3 one failed or could not be found out, or one of several targets has nothing to try; 4 there is
nothing to try in any of them.`

const verifyExample = `  drd verify
  drd verify 20261122T100000Z --target nas --data-only
  drd verify --at 2026-11-22T10:15:30Z
  drd verify --repo file:///mnt/usb/drd --cluster prod-east --trust allowed_signers --identity identity.txt`

// verifyFlags are the flags of drd verify.
type verifyFlags struct {
	repository repositoryFlags
	targets    []string
	identities []string
	fileKey    string
	headerOut  string
	dataOnly   bool
	at         optionalTime
	revision   optionalRevision
	etcdBinary string
	scratch    string
	noRecord   bool
	json       bool
}

func newVerify(a *app) *cobra.Command {
	f := &verifyFlags{}
	c := &cobra.Command{
		Use: "verify [ID]", Short: "restore snapshots for practice and say whether they can be restored",
		Long: verifyLong, Example: verifyExample, Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			id := ""
			if len(args) > 0 {
				id = args[0]
			}
			return a.verify(cmd.Context(), f, id)
		},
	}
	f.repository.register(c)
	fl := c.Flags()
	fl.StringArrayVar(&f.targets, "target", nil, "try only the target of this `name` (repeatable)")
	fl.StringArrayVar(&f.identities, "identity", nil, "`file` with the identity that opens the snapshots, in place of any key that this host has (repeatable)")
	fl.StringVar(&f.fileKey, "file-key", "", "`file` with the key of the one object that ID names, as drd unlock writes it")
	fl.StringVar(&f.headerOut, "header-out", "", "write the header of the object to this `file`, for drd unlock, and stop")
	fl.Var(&f.at, "at", "try what was there at this time, to the second: RFC 3339, such as 2026-11-22T10:15:30Z")
	fl.Var(&f.revision, "revision", "try this revision, of the current history")
	fl.BoolVar(&f.dataOnly, "data-only", false, "check the data alone: start no etcd")
	fl.StringVar(&f.etcdBinary, "etcd-binary", "", "start this etcd `program` on the restored data, in place of the one inside drd")
	fl.StringVar(&f.scratch, "scratch", "", "working `directory`, where the snapshot lies in plaintext meanwhile")
	fl.BoolVar(&f.noRecord, "no-record", false, "store no record in the targets")
	fl.BoolVar(&f.json, "json", false, "write JSON")
	return c
}

func (f *verifyFlags) contradiction(id string) error {
	switch {
	case f.point() && id != "":
		return hint.New(errors.New("ID, --revision and --at exclude each other"), "leave ID out: the snapshot that leads to the point is found")
	case f.revision != 0 && !time.Time(f.at).IsZero():
		return errors.New("--revision and --at exclude each other")
	case f.point() && (f.fileKey != "" || f.headerOut != ""):
		return hint.New(errors.New("a point of the archive is made of several objects, each with a key of its own"), "--identity FILE opens them all")
	case len(f.identities) > 0 && f.fileKey != "":
		return errors.New("--identity and --file-key exclude each other")
	case f.fileKey != "" && id == "":
		return hint.New(errors.New("--file-key opens one object only"), "name its snapshot: drd verify ID --file-key FILE")
	}
	return nil
}

// point reports whether a point of the archive is to be tried.
func (f *verifyFlags) point() bool { return f.revision != 0 || !time.Time(f.at).IsZero() }

func (a *app) verify(ctx context.Context, f *verifyFlags, id string) error {
	if err := f.contradiction(id); err != nil {
		return usageError{err}
	}
	if f.headerOut != "" {
		return a.headerOf(ctx, &f.repository, f.targets, id, f.headerOut)
	}
	setup, err := a.verifySetup(ctx, f)
	if err != nil {
		return err
	}
	runner, err := setup.runner()
	if err != nil {
		return err
	}
	p := a.progress()
	report := verifyReport{app: a, asJSON: f.json, unsigned: setup.unsigned, results: []verifyResult{}}
	req := verify.Request{Trigger: proof.TriggerCommand, Targets: f.targets, ID: id, Revision: int64(f.revision), At: time.Time(f.at), Watcher: restoreProgress{p}}
	if f.dataOnly {
		req.Level = proof.LevelData
	}
	req.Done = func(r verify.Result) {
		p.finish()
		report.add(r)
	}
	_, err = auditedDrills(ctx, runner, req)
	p.finish()
	if errors.Is(err, verify.ErrNoTarget) || errors.Is(err, verify.ErrRequest) {
		return usageError{err}
	}
	if ctx.Err() != nil || err != nil && len(report.results) == 0 {
		return err
	}
	return report.end()
}

// verifySetup takes everything from the configuration, or from flags where --repo says so.
func (a *app) verifySetup(ctx context.Context, f *verifyFlags) (s drillSetup, err error) {
	sources, trust, err := f.repository.open(ctx, a)
	if err != nil {
		return s, err
	}
	if trust == nil {
		return s, usageError{hint.New(errors.New("nobody is trusted to sign snapshots"), "name the allowed signers: --trust FILE")}
	}
	s = drillSetup{trust: trust, scratch: f.scratch, log: a.logger()}
	if f.etcdBinary != "" {
		if s.etcdBinary, err = program(f.etcdBinary); err != nil {
			return s, usageError{err}
		}
	}
	for _, source := range sources {
		s.targets = append(s.targets, drill.Target{Name: source.Name, Repo: source.Repo})
	}
	if len(f.repository.urls) > 0 {
		s.unsigned, s.takeLastRoom = "without a configuration there is no signing key", true
	} else if err := f.fromConfig(ctx, a, &s); err != nil {
		return s, err
	}
	if err := f.giveKeys(ctx, a, &s); err != nil {
		return s, err
	}
	if s.scratch == "" {
		s.scratch = ownScratch()
	}
	return s, nil
}

// ownScratch is where plaintext lies during the drills of a user who has no configuration: always the same place, so that
// the next run wipes what a killed one has left. A drill refuses it unless it is this user's and nobody else's.
func ownScratch() string {
	return filepath.Join(os.TempDir(), fmt.Sprintf("drd-verify-%d", os.Getuid()))
}

// fromConfig fills in what flags do not say.
func (f *verifyFlags) fromConfig(ctx context.Context, a *app, s *drillSetup) error {
	cfg, err := f.repository.readConfig(a)
	if err != nil {
		return err
	}
	flags := *s
	if err := s.configure(cfg); err != nil {
		return err
	}
	s.ownOnly = s.ownOnly && f.repository.trust == ""
	if flags.scratch != "" {
		s.scratch = flags.scratch
	}
	if flags.etcdBinary != "" {
		s.etcdBinary = flags.etcdBinary
	}
	if err := f.giveSigner(ctx, cfg, s); err != nil {
		return err
	}
	if !cfg.Verifier() {
		if s.members, err = members.OpenLog(cfg.StateDir); err != nil {
			return err
		}
	}
	if s.keys.Identities = fileIdentities(cfg, noteIn(ctx)); len(f.identities) > 0 || f.fileKey != "" || cfg.Verifier() {
		return nil
	}
	if _, err := os.Stat(keyDir(cfg)); err != nil {
		return nil // nothing was uploaded from here since the boot
	}
	s.keys.Ring, err = seal.OpenKeyRing(keyDir(cfg))
	audit.Note(ctx, audit.Event{Name: audit.FileKeyLoad, Object: keyDir(cfg), Err: err})
	if err != nil {
		return hint.New(err, "--identity FILE needs no key of this node")
	}
	return nil
}

// giveSigner says why there is none.
func (f *verifyFlags) giveSigner(ctx context.Context, cfg *config.Config, s *drillSetup) (err error) {
	switch {
	case f.noRecord:
		s.unsigned = "--no-record"
	case f.repository.asOf != "":
		s.unsigned = "nothing is written into the past"
	case cfg.Signing.KeyFile == "":
		s.unsigned = "the configuration has no signing key"
	default:
		s.signer, err = configuredSigner(ctx, cfg)
	}
	return hint.New(err, "--no-record needs no signing key")
}

// program is the absolute path of a program: etcd is started in another directory.
func program(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("--etcd-binary: %w", err)
	}
	return filepath.Abs(path)
}

// giveKeys takes the keys of the command line, which stand in for all others. A passphrase is asked for once, before
// anything else.
func (f *verifyFlags) giveKeys(ctx context.Context, a *app, s *drillSetup) error {
	switch {
	case f.fileKey != "":
		key, err := readFileKey(ctx, f.fileKey)
		s.keys = verify.Keys{FileKey: key}
		return err
	case len(f.identities) > 0:
		ids, err := a.loadIdentities(ctx, f.identities)
		s.keys = verify.Keys{Identities: func() ([]age.Identity, error) { return ids, nil }}
		return err
	case s.keys.Ring == nil && s.keys.Identities == nil:
		return usageError{hint.New(errors.New("no key to open the snapshots with"), "--identity FILE names the identity that they were sealed for")}
	}
	return nil
}

// errNotProved ends drd verify with exit code 3; which drills are meant was said already.
var errNotProved = errors.New("not proved")

// exitOf says how the command ends.
func exitOf(results []verifyResult) error {
	failed, unsure, nothing := 0, 0, 0
	for _, r := range results {
		switch {
		case errors.Is(r.err, verify.ErrAmbiguous):
			return usageError{r.err}
		case errors.Is(r.err, repo.ErrNothing):
			nothing++
		case r.Outcome == proof.Failed:
			failed++
		case r.Outcome == proof.Inconclusive:
			unsure++
		}
	}
	switch {
	case nothing > 0 && nothing == len(results):
		return results[0].err
	case failed > 0:
		return exitError{fmt.Errorf("%w: drills failed in %s", errNotProved, named(results, proof.Failed)), exitUnhealthy}
	case unsure > 0:
		return exitError{fmt.Errorf("%w: it could not be found out in %s", errNotProved, named(results, proof.Inconclusive)), exitUnhealthy}
	case nothing > 0:
		return exitError{fmt.Errorf("%w: there is nothing to try in %s", errNotProved, named(results, proof.Inconclusive)), exitUnhealthy}
	}
	return nil
}
