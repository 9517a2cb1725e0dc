package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/drd-project/drd/internal/audit"
	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/past"
	"github.com/drd-project/drd/internal/repo"
)

const extractLong = `Writes what was there at a time or a revision into a file, without restoring anything: a namespace, a key, or all keys with a prefix.

Objects of Kubernetes become manifests for kubectl apply, in an order in which they can be applied. Left away is what belongs to the
cluster and not to whoever wrote the object, such as UIDs, versions, status, addresses and the names of nodes and volumes. Objects
that a controller makes again, such as the pods of a Deployment, are left out and counted; --include-owned writes them too.

What the API server has encrypted, or what is no object that drd knows, is named, and nothing is written; --keep-going writes the rest.
--format raw writes every key as etcd has it, a JSON document a line.

The file holds Secrets as they were. It is readable for you alone, and does not exist if the command fails.`

const extractExample = `  drd extract --identity identity.txt --at 2026-11-22T10:15:29Z --namespace shop --output shop.yaml
  drd extract --identity identity.txt --revision 48890 --prefix /registry/configmaps/shop/ --output configmaps.yaml
  drd extract --identity identity.txt --revision 48890 --key app/leader --format raw --output leader.json`

// extractFlags are the flags of drd extract.
type extractFlags struct {
	pastFlags
	at        optionalTime
	revision  optionalRevision
	output    string
	format    string
	owned     bool
	keepGoing bool
}

func newExtract(a *app) *cobra.Command {
	f := &extractFlags{}
	c := &cobra.Command{
		Use: "extract", Short: "write what was there at a time to a file, without restoring anything",
		Long: extractLong, Example: extractExample,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.extract(cmd.Context(), f) },
	}
	f.register(c)
	fl := c.Flags()
	fl.Var(&f.at, "at", "what was there at this time, to the second: RFC 3339, such as 2026-11-22T10:15:30Z")
	fl.Var(&f.revision, "revision", "what was there at this revision")
	fl.StringVar(&f.prefix, "prefix", "", "all keys that begin `so`")
	fl.StringVarP(&f.output, "output", "o", "", "the `file` to write; - is standard output")
	fl.StringVar(&f.format, "format", string(past.YAML), "`format` of the file: yaml, json or raw")
	fl.BoolVar(&f.owned, "include-owned", false, "also write what a controller makes again by itself")
	fl.BoolVar(&f.keepGoing, "keep-going", false, "write the rest when something is encrypted or cannot be decoded")
	return c
}

func (f *extractFlags) complete(a *app) error {
	if err := f.pastFlags.complete(); err != nil {
		return err
	}
	switch {
	case f.selection.All():
		return usageError{hint.New(errors.New("nothing is selected"), "give --namespace, --key or --prefix; --prefix /registry/ is all of Kubernetes")}
	case f.revision != 0 && f.at.String() != "":
		return usageError{errors.New("--revision and --at exclude each other")}
	case !slices.Contains([]past.Format{past.YAML, past.JSON, past.Raw}, past.Format(f.format)):
		return usageError{fmt.Errorf("--format %q is none of yaml, json and raw", f.format)}
	case f.output == "":
		return usageError{hint.New(errors.New("no file to write to"), "--output FILE, or --output - for standard output")}
	case f.output == "-" && a.toTerminal:
		return usageError{hint.New(errors.New("this may hold Secrets, and standard output is a terminal"), "--output FILE, or pipe it into a program")}
	case f.output == "-":
		return nil
	}
	if _, err := os.Lstat(f.output); !errors.Is(err, os.ErrNotExist) {
		return usageError{hint.New(errors.Join(fmt.Errorf("%s is there already", f.output), err), "nothing is overwritten: name another file")}
	}
	return nil
}

func (a *app) extract(ctx context.Context, f *extractFlags) error {
	if err := f.complete(a); err != nil {
		return err
	}
	dir := filepath.Dir(f.output)
	if f.output == "-" {
		dir = f.scratch
	}
	m, err := past.NewManifests(dir, past.Format(f.format), f.owned)
	if err != nil {
		return err
	}
	defer m.Close()
	upTo := pastPoint{revision: int64(f.revision), at: time.Time(f.at)}
	var revision int64
	err = f.look(ctx, a, pastPoint{}, upTo, func(ctx context.Context, v *view) error {
		revision = v.result.Revision
		_, err := selfPast().Extract(ctx, v.path, f.selection, revision, m.Add)
		return err
	})
	if err != nil {
		return err
	}
	if err := a.judgeExtract(f, &m.Report, revision); err != nil {
		return err
	}
	write := func() error { return writeExtracted(f.output, m.Write) }
	if f.output == "-" {
		write = func() error { return m.Write(a.raw) }
	}
	err = audit.During(ctx, audit.Event{Name: audit.ExtractWrite, Object: f.output, Count: m.Written}, write)
	if err != nil || f.output == "-" {
		return err
	}
	fmt.Fprintf(a.err, "drd: wrote %s, as of revision %d, to %s\n", count(int(m.Written), "object"), revision, printable(f.output))
	return nil
}

// judgeExtract says what is not in the result, and whether there is one.
func (a *app) judgeExtract(f *extractFlags, r *past.Report, revision int64) error {
	for _, by := range slices.Sorted(maps.Keys(r.MadeAgain)) {
		fmt.Fprintf(a.err, "drd: note: left out: %s, made again by %s; --include-owned writes it all\n", count(int(r.MadeAgain[by]), "object"), printable(by))
	}
	if r.NotObjects > 0 {
		fmt.Fprintf(a.err, "drd: note: left out, as no object of Kubernetes is in it: %s; --format raw writes it all\n", count(int(r.NotObjects), "key"))
	}
	refused := r.Encrypted + r.Broken
	for _, text := range r.Refused {
		fmt.Fprintln(a.err, "drd: note:", repo.Printable(text))
	}
	if refused > int64(len(r.Refused)) {
		fmt.Fprintf(a.err, "drd: note: and %d more\n", refused-int64(len(r.Refused)))
	}
	switch {
	case refused > 0 && (!f.keepGoing || r.Written == 0):
		var why []string
		if r.Encrypted > 0 {
			why = append(why, are(r.Encrypted, "value")+" encrypted by the API server")
		}
		if r.Broken > 0 {
			why = append(why, count(int(r.Broken), "value")+" cannot be decoded")
		}
		return hint.New(fmt.Errorf("%s; nothing was written", strings.Join(why, ", and ")), "--keep-going writes the rest; --format raw writes all as etcd has it; what is encrypted comes back with a full restore, where the API server has its keys")
	case r.Written == 0 && len(r.MadeAgain) > 0:
		return hint.New(errors.New("all objects there are made again by their controllers; nothing was written"), "--include-owned writes them, without their owner")
	case r.Written == 0:
		return hint.New(fmt.Errorf("%w: no such key was there at revision %d", repo.ErrNothing, revision), "drd log --from TIME shows when it was there")
	}
	if r.Secrets > 0 {
		fmt.Fprintf(a.err, "drd: note: it holds %s of Kubernetes as plain text\n", count(int(r.Secrets), "Secret"))
	} else if past.Format(f.format) == past.Raw {
		fmt.Fprintln(a.err, "drd: note: all values are in it as they were, Secrets too")
	}
	return nil
}

// are is "1 value is" or "2 values are".
func are(n int64, what string) string {
	if n == 1 {
		return "1 " + what + " is"
	}
	return fmt.Sprintf("%d %ss are", n, what)
}

// writeExtracted makes a file that must not be there, whole or not at all, for its owner alone. Where the file system has files without
// a name, a process that is killed leaves nothing.
func writeExtracted(path string, write func(io.Writer) error) error {
	f, err := nameless(filepath.Dir(path))
	if err != nil {
		return writeNamed(path, write)
	}
	if err = errors.Join(write(f), f.Sync()); err != nil {
		err = notWritten(path, err)
	} else {
		err = nameFile(f, path)
	}
	return errors.Join(err, f.Close())
}

// nameless makes a file that no name leads to, of mode 0600 (open(2), O_TMPFILE).
func nameless(dir string) (*os.File, error) {
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), filepath.Join(dir, "extracted")), nil
}

// nameFile gives a file without a name one, and replaces nothing. Where that cannot be done, for want of /proc or on a file system that does
// one half, the file is copied. The detour over /proc takes no capability, as naming the descriptor itself would.
func nameFile(f *os.File, path string) error {
	err := unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", f.Fd()), unix.AT_FDCWD, path, unix.AT_SYMLINK_FOLLOW)
	if err == nil || errors.Is(err, os.ErrExist) {
		return notWritten(path, err)
	}
	return writeNamed(path, func(w io.Writer) error {
		_, err := io.Copy(w, io.NewSectionReader(f, 0, math.MaxInt64))
		return err
	})
}

// writeNamed is writeExtracted by way of a file .drd-extract-*, which a process that is killed leaves.
func writeNamed(path string, write func(io.Writer) error) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".drd-extract-*") // with mode 0600
	if err != nil {
		return notWritten(path, err)
	}
	defer func() {
		if rmErr := os.Remove(f.Name()); rmErr != nil {
			err = errors.Join(err, fmt.Errorf("remove what is left of it: %w", rmErr))
		}
	}()
	err = write(f)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Link(f.Name(), path) // unlike a renaming it replaces nothing
	}
	return notWritten(path, err)
}

// notWritten is err as the caller is told of it; nil for nil.
func notWritten(path string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, os.ErrExist):
		return hint.New(fmt.Errorf("write %s: it is there already", path), "nothing is overwritten: name another file")
	}
	return fmt.Errorf("write %s: %w", path, err)
}
