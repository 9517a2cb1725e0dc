package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"filippo.io/age"
	"github.com/spf13/cobra"

	"github.com/drd-project/drd/internal/archive"
	"github.com/drd-project/drd/internal/audit"
	"github.com/drd-project/drd/internal/config"
	"github.com/drd-project/drd/internal/drill"
	"github.com/drd-project/drd/internal/proof"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/restore"
	"github.com/drd-project/drd/internal/seal"
	"github.com/drd-project/drd/internal/storage"
	"github.com/drd-project/drd/internal/verify"
)

// openAudit gives a command the audit log. The demo's cluster is nobody's.
func (a *app) openAudit(cmd *cobra.Command) {
	if cmd.Name() == "demo" {
		return
	}
	cmd.SetContext(audit.Into(cmd.Context(), audit.New(audit.Config{
		Place: a.auditPlace, Command: cmd.CommandPath(), Classes: auditClasses(),
		Trouble: func(err error) {
			if cmd.Name() == "keygen" && errors.Is(err, audit.ErrNoFile) {
				return // keys are made far from nodes, on machines that may have no journal either
			}
			fmt.Fprintf(a.err, "drd: warning: audit log: %v\n", err)
		},
	})))
}

// auditPlace is in the state directory of the configuration. Without one there is the journal alone.
func (a *app) auditPlace() (file, cluster string) {
	data, err := os.ReadFile(a.configFile)
	if err != nil {
		return "", ""
	}
	stateDir, cluster := config.Place(data)
	if stateDir == "" {
		return "", cluster
	}
	return filepath.Join(stateDir, audit.FileName), cluster
}

func auditFile(cfg *config.Config) string { return filepath.Join(cfg.StateDir, audit.FileName) }

// auditClasses are the names of errors in the audit log; docs/audit.md has them.
func auditClasses() []audit.Class {
	return []audit.Class{
		{Err: seal.ErrNoIdentity, Name: "no-identity"}, {Err: drill.ErrNoKey, Name: "no-identity"},
		{Err: seal.ErrDamaged, Name: "damaged"}, {Err: repo.ErrDamaged, Name: "damaged"}, {Err: restore.ErrPlaintext, Name: "damaged"},
		{Err: archive.ErrMalformed, Name: "damaged"}, {Err: archive.ErrFork, Name: "fork"}, {Err: restore.ErrDiverged, Name: "diverged"},
		{Err: seal.ErrUnsigned, Name: "signature"}, {Err: seal.ErrUnknownSigner, Name: "signature"}, {Err: seal.ErrBadSignature, Name: "signature"},
		{Err: seal.ErrExpiredSigner, Name: "signature"}, {Err: repo.ErrNothing, Name: "missing"}, {Err: storage.ErrNotExist, Name: "missing"},
		{Err: storage.ErrLocked, Name: "locked"}, {Err: storage.ErrDenied, Name: "denied"},
	}
}

// loadIdentities is seal.LoadIdentities, recorded.
func (a *app) loadIdentities(ctx context.Context, files []string) ([]age.Identity, error) {
	for _, file := range files {
		audit.Note(ctx, audit.Event{Name: audit.IdentityLoad, Outcome: audit.Begun, Object: file})
	}
	ids, err := seal.LoadIdentities(files, a.prompter(ctx))
	for _, file := range files {
		audit.Note(ctx, audit.Event{Name: audit.IdentityLoad, Object: file, Err: err})
	}
	return ids, err
}

// loadSigner is seal.LoadSigner, recorded.
func loadSigner(ctx context.Context, file string) (*seal.Signer, error) {
	signer, err := seal.LoadSigner(file)
	audit.Note(ctx, audit.Event{Name: audit.SigningKeyLoad, Object: file, Err: err})
	return signer, err
}

// readFileKey is seal.ReadFileKey, recorded.
func readFileKey(ctx context.Context, file string) (seal.FileKey, error) {
	key, err := seal.ReadFileKey(file)
	audit.Note(ctx, audit.Event{Name: audit.FileKeyLoad, Object: file, Err: err})
	return key, err
}

// auditedDrills is the run of drills, recorded: that it begins and ends, and the first time that it reads the identity. How each
// drill ended is in its signed record.
func auditedDrills(ctx context.Context, runner *verify.Runner, req verify.Request) ([]*proof.Record, error) {
	e := audit.Event{Name: audit.DrillBegin, Outcome: audit.Begun, Object: drillObject(req), Target: strings.Join(req.Targets, ", ")}
	audit.Note(ctx, e)
	records, err := runner.Run(ctx, req)
	e.Name, e.Outcome, e.Err, e.Count = audit.DrillEnd, "", err, int64(len(records))
	audit.Note(ctx, e)
	return records, err
}

func drillObject(req verify.Request) string {
	asked := []string{"trigger " + req.Trigger}
	if req.ID != "" {
		asked = append(asked, req.ID)
	}
	if req.Revision != 0 {
		asked = append(asked, fmt.Sprintf("revision %d", req.Revision))
	}
	if !req.At.IsZero() {
		asked = append(asked, req.At.UTC().Format(time.RFC3339))
	}
	return strings.Join(asked, ", ")
}

// noteIn is audit.Note for code without a context of its own.
func noteIn(ctx context.Context) func(audit.Event) {
	return func(e audit.Event) { audit.Note(ctx, e) }
}

// identityAgain is how often it is recorded that an identity goes on being read: a drill reads it for each object.
const identityAgain = time.Hour

// auditedIdentities is load, recorded the first time, when it comes to something else, and every hour.
func auditedIdentities(note func(audit.Event), file string, load func() ([]age.Identity, error)) func() ([]age.Identity, error) {
	var mu sync.Mutex
	var last time.Time
	var failed bool
	return func() ([]age.Identity, error) {
		mu.Lock()
		defer mu.Unlock()
		due := last.IsZero() || time.Since(last) >= identityAgain
		if due {
			note(audit.Event{Name: audit.IdentityLoad, Outcome: audit.Begun, Object: file})
		}
		ids, err := load()
		if due || failed != (err != nil) {
			last, failed = time.Now(), err != nil
			note(audit.Event{Name: audit.IdentityLoad, Object: file, Err: err})
		}
		return ids, err
	}
}

// auditedRestore is a restore, recorded from its confirmation to its end.
func auditedRestore(ctx context.Context, plan *restore.Plan, run func() (*restore.Result, error)) (*restore.Result, error) {
	e := audit.Event{Name: audit.RestoreBegin, Outcome: audit.Begun, Object: restoreObject(plan)}
	audit.Note(ctx, e)
	result, err := run()
	audit.Note(ctx, audit.Event{Name: audit.RestoreEnd, Object: e.Object, Err: err})
	return result, err
}

func restoreObject(plan *restore.Plan) string {
	d := plan.Destination
	object := plan.Snapshot.ID
	switch w := plan.Wanted; {
	case w == nil:
	case w.Revision != nil:
		object += fmt.Sprintf(" at revision %d", *w.Revision)
	case w.At != nil:
		object += " at " + w.At.UTC().Format(time.RFC3339)
	}
	return object + " to " + d.Output + d.DataDir
}
