package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/seal"
)

const unlockLong = `Takes the header of one sealed object, as drd restore --header-out or drd verify --header-out wrote it, and returns the key of
that one object. It runs on the machine that holds the identity, which needs no network: the identity never goes to
the machine that is restored. The key opens this object and no other; treat it as a secret all the same.

FILE may also be a whole sealed object. The key goes to the file that --output names, mode 0600, which must not exist; without it,
or with -, to standard output, which must not be a terminal unless - is given.`

type unlockFlags struct {
	identities []string
	output     string
}

func newUnlock(a *app) *cobra.Command {
	f := &unlockFlags{}
	c := &cobra.Command{
		Use: "unlock FILE", Short: "turn the header of one object into its key, on the machine that holds the identity",
		Long:    unlockLong,
		Example: "  drd unlock --identity identity.txt object.header --output object.key",
		Args:    cobra.ExactArgs(1),
		RunE:    func(cmd *cobra.Command, args []string) error { return a.unlock(cmd.Context(), f, args[0]) },
	}
	c.Flags().StringArrayVar(&f.identities, "identity", nil, "`file` with the identity that the object was sealed for: age or SSH, also passphrase-protected (repeatable)")
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
	header, err := readHeader(path)
	if err != nil {
		return err
	}
	ids, err := seal.LoadIdentities(f.identities, a.prompter(ctx))
	if err != nil {
		return err
	}
	key, err := seal.Unlock(header, ids)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
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

// readHeader reads the header at the beginning of a file.
func readHeader(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read header: %w", err)
	}
	defer f.Close()
	header, err := seal.Header(f)
	if err != nil {
		return nil, hint.New(fmt.Errorf("%s: %w", path, err), "drd restore --header-out FILE writes one")
	}
	return header, nil
}
