package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/drd-project/drd/internal/audit"
	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/restore"
	"github.com/drd-project/drd/internal/unlock"
)

// headerOf writes the header of the object of one snapshot, or of the newest, for drd unlock.
func (a *app) headerOf(ctx context.Context, f *repositoryFlags, targets []string, id, path string) error {
	sources, trust, err := f.open(ctx, a)
	if err != nil {
		return err
	}
	if len(targets) > 0 {
		sources = slices.DeleteFunc(sources, func(s restore.Source) bool { return !slices.Contains(targets, s.Name) })
	}
	if len(sources) == 0 {
		return usageError{errors.New("--target names no target of the configuration")}
	}
	plan, err := restore.MakePlan(ctx, sources, trust, restore.Request{ID: id, Output: path}, time.Now())
	if err != nil {
		return err
	}
	return a.writeHeader(ctx, plan, path)
}

// writeHeader writes the header with the signed manifest of its snapshot, so that whoever holds the identity sees what it is
// said to be of. It never replaces a file: two headers look alike.
func (a *app) writeHeader(ctx context.Context, plan *restore.Plan, path string) error {
	header, err := restore.Header(ctx, plan)
	if err != nil {
		return err
	}
	manifest, signature, err := restore.Statement(ctx, plan)
	if err != nil {
		return err
	}
	request, err := unlock.New(manifest, signature, header)
	if err != nil {
		return err
	}
	content, err := request.Encode()
	if err != nil {
		return err
	}
	e := audit.Event{Name: audit.HeaderExport, Object: plan.Snapshot.ID, Target: plan.Source.Name}
	if err := audit.During(ctx, e, func() error { return writeNew(path, content, 0o644) }); err != nil {
		return fmt.Errorf("write the header: %w", err)
	}
	fmt.Fprintf(a.out, "header     of %s, %d bytes, not secret: %s\n", plan.Snapshot.ID, len(content), path)
	fmt.Fprintf(a.out, "next       where the identity is: drd unlock --identity KEY --trust SIGNERS %s --output object.key\n", path)
	fmt.Fprintf(a.out, "then       here: drd restore --id %s --file-key object.key …\n", plan.Snapshot.ID)
	return nil
}

// writeNew makes a file that must not be there, whole or not at all.
func writeNew(path string, content []byte, mode os.FileMode) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if errors.Is(err, os.ErrExist) {
		return hint.New(err, "nothing is overwritten: name another file")
	}
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}
