package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/drd-project/drd/internal/audit"
	"github.com/drd-project/drd/internal/disk"
	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/seal"
	"github.com/drd-project/drd/internal/unlock"
)

const unlockLong = `Takes the header of one sealed object, as drd restore --header-out or drd verify --header-out wrote it, and returns the key of
that one object. It runs on the machine that holds the identity, which needs no network: the identity never goes to
the machine that is restored. The key opens this object and no other; treat it as a secret all the same.

It says first which snapshot the header is said to be of, by the manifest in FILE, and with --trust who signed that manifest. Nothing in
FILE proves that the header is the one of that snapshot's object: hand out a key only to whom you would hand out any of the cluster's
backups.

FILE may also be a whole sealed object. The key goes to the file that --output names, mode 0600, which must not exist; without it,
or with -, to standard output, which must not be a terminal unless - is given.`

type unlockFlags struct {
	identities []string
	trust      string
	output     string
}

func newUnlock(a *app) *cobra.Command {
	f := &unlockFlags{}
	c := &cobra.Command{
		Use: "unlock FILE", Short: "turn the header of one object into its key, on the machine that holds the identity",
		Long:    unlockLong,
		Example: "  drd unlock --identity identity.txt --trust allowed_signers object.header --output object.key",
		Args:    cobra.ExactArgs(1),
		RunE:    func(cmd *cobra.Command, args []string) error { return a.unlock(cmd.Context(), f, args[0]) },
	}
	c.Flags().StringArrayVar(&f.identities, "identity", nil, "`file` with the identity that the object was sealed for: age or SSH, also passphrase-protected (repeatable)")
	c.Flags().StringVar(&f.trust, "trust", "", "allowed signers `file`: refuse a header whose manifest nobody in it has signed")
	c.Flags().StringVar(&f.output, "output", "", "write the key to this `file`; - is standard output")
	return c
}

func (a *app) unlock(ctx context.Context, f *unlockFlags, path string) error {
	switch {
	case len(f.identities) == 0:
		return usageError{hint.New(errors.New("no identity to unlock with"), "--identity FILE")}
	case f.output == "" && a.toTerminal:
		return usageError{hint.New(errors.New("the key is a secret, and standard output is a terminal"), "--output FILE writes it to a file, --output - shows it all the same")}
	}
	header, of, err := a.readRequest(f, path)
	if err != nil {
		return err
	}
	ids, err := a.loadIdentities(ctx, f.identities)
	if err != nil {
		return err
	}
	return audit.During(ctx, audit.Event{Name: audit.FileKeyRecover, Object: path + of}, func() error {
		key, err := seal.Unlock(header, ids)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		return a.handOut(f, key)
	})
}

// handOut gives away the key of one object.
func (a *app) handOut(f *unlockFlags, key seal.FileKey) error {
	if f.output == "" || f.output == "-" {
		if _, err := a.raw.Write(key.Encode()); err != nil {
			return fmt.Errorf("write the key: %w", err)
		}
		return nil
	}
	if err := writeNew(f.output, key.Encode(), 0o600); err != nil {
		return fmt.Errorf("write the key: %w", err)
	}
	fmt.Fprintf(a.out, "key        of one object: %s\n", f.output)
	return nil
}

// readRequest returns the header in a file, and tells what it is said to be of; of says it in the audit log.
func (a *app) readRequest(f *unlockFlags, path string) (header []byte, of string, err error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, "", fmt.Errorf("read header: %w", err)
	}
	defer file.Close()
	in := bufio.NewReader(file)
	if begin, err := in.Peek(1); err == nil && unlock.Looks(begin) {
		return a.readStatement(f, path, in)
	}
	header, err = seal.Header(in)
	if err != nil {
		return nil, "", hint.New(fmt.Errorf("%s: %w", path, err), "drd restore --header-out FILE writes one")
	}
	if f.trust != "" {
		return nil, "", hint.New(fmt.Errorf("%s: it is a header alone, with no signed manifest to check", path), "drd restore --header-out FILE writes one with its manifest")
	}
	fmt.Fprintln(a.aside(f), "header     by itself: nothing says which snapshot it is of")
	return header, "", nil
}

// readStatement reads a request, and says what it proves and what not.
func (a *app) readStatement(f *unlockFlags, path string, in io.Reader) (header []byte, of string, err error) {
	content, err := io.ReadAll(io.LimitReader(in, unlock.Max+1))
	if err != nil {
		return nil, "", fmt.Errorf("read header: %w", err)
	}
	request, err := unlock.Parse(content)
	if err != nil {
		return nil, "", hint.New(fmt.Errorf("%s: %w", path, err), "drd restore --header-out FILE writes one")
	}
	signature := "not checked: --trust FILE names the allowed signers"
	if f.trust != "" {
		trust, err := seal.LoadTrust(f.trust)
		if err != nil {
			return nil, "", usageError{err}
		}
		signer, err := request.Verify(trust)
		if err != nil {
			return nil, "", fmt.Errorf("%s: %w", path, err)
		}
		signature = fmt.Sprintf("good, by %s %s", signer.Principal, signer.Fingerprint)
	}
	m, out := request.About(), a.aside(f)
	fmt.Fprintf(out, "header     said to be of %s of cluster %s, captured %s at revision %d\n", m.ID, printable(m.Cluster), m.CaptureStart.UTC().Format(time.RFC3339), m.Revision)
	fmt.Fprintf(out, "object     SHA-256 %s, %s\n", m.Object.SHA256, disk.Size(m.Object.Size))
	fmt.Fprintf(out, "signature  of the manifest: %s\n", printable(signature))
	fmt.Fprintln(out, "not proved that the header is of this object: the key opens whichever object it is of")
	return request.Header, ", said to be of " + m.ID, nil
}

// aside is where people read what happens: standard output may take the key.
func (a *app) aside(f *unlockFlags) io.Writer {
	if f.output == "" || f.output == "-" {
		return a.err
	}
	return a.out
}
