package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"github.com/drd-project/drd/internal/audit"
	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/seal"
)

const keygenLong = `Makes the two key pairs that drd needs.

The identity opens snapshots. Make it on a machine that is not a server node, keep it where the cluster's loss cannot
reach it (a safe, a hardware token, a second person), and give the nodes its recipient only.

The signing key proves which node wrote a snapshot. It decrypts nothing, and every node has its own; allowed_signers
lists the public halves for whoever restores.

The recovery card says where the backups are, which keys open and prove them, and what to type, with drd and without:
card.txt and card.html, to be printed. Nothing on it is secret. With --config it names the targets; with --only card
it is made anew, of the keys that are there.

No key is ever overwritten.`

func newKeygen(a *app) *cobra.Command {
	var dir, name, only string
	var postQuantum bool
	c := &cobra.Command{
		Use: "keygen", Short: "make an identity, which opens snapshots, a signing key for a node, and a recovery card",
		Long:    keygenLong,
		Example: "  drd keygen --only identity --dir /media/safe\n  drd keygen --only signing --dir /etc/drd --name cp-1\n  drd keygen --only card --dir /media/safe --config /etc/drd/config.yaml",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if only != "" && only != onlyIdentity && only != onlySigning && only != onlyCard {
				return usageError{fmt.Errorf("--only %q: known are identity, signing and card", only)}
			}
			if !signerName.MatchString(name) {
				return usageError{fmt.Errorf("--name %q: letters, digits and the characters . _ @ - are needed, beginning with a letter or digit", name)}
			}
			k := keyFiles{app: a, dir: dir}
			if cmd.Flags().Changed("config") {
				k.config = a.configFile
			}
			return k.all(cmd.Context(), only, name, postQuantum)
		},
	}
	host, err := os.Hostname()
	if err != nil {
		host = "node"
	}
	c.Flags().StringVar(&dir, "dir", ".", "`directory` for the files")
	c.Flags().StringVar(&name, "name", host, "`name` of the node in allowed_signers")
	c.Flags().StringVar(&only, "only", "", "make only this: identity, signing or card")
	c.Flags().BoolVar(&postQuantum, "post-quantum", false, "make a hybrid post-quantum identity (ML-KEM-768 with X25519); opening it without drd needs age 1.3")
	return c
}

// Values of --only.
const (
	onlyIdentity = "identity"
	onlySigning  = "signing"
	onlyCard     = "card"
)

// keyFiles writes new key files into a directory, and the card of a configuration; "" is none.
type keyFiles struct {
	*app
	dir, config string
}

func (k keyFiles) all(ctx context.Context, only, name string, postQuantum bool) error {
	if err := k.prepare(only); err != nil {
		return err
	}
	if only == "" || only == onlyIdentity {
		if err := k.identity(ctx, postQuantum); err != nil {
			return err
		}
	}
	if only == "" || only == onlySigning {
		if err := k.signing(ctx, name); err != nil {
			return err
		}
	}
	return k.card(only == onlyCard)
}

// signerName is what stands in front of a line of allowed_signers without meaning anything else there.
var signerName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@-]*$`)

// prepare makes the directory, and finds out before anything is made whether a name is taken: half a set of keys would
// be in the way of the next try.
func (k keyFiles) prepare(only string) error {
	if err := os.MkdirAll(k.dir, 0o700); err != nil {
		return fmt.Errorf("make keys: %w", err)
	}
	if foreign := k.foreignCard(); foreign != "" {
		return errTaken(foreign)
	}
	var names []string
	if only == "" || only == onlyIdentity {
		names = append(names, "identity.txt", "recipient.txt")
	}
	if only == "" || only == onlySigning {
		names = append(names, "signing.key", "signing.key.pub")
	}
	for _, name := range names {
		if _, err := os.Lstat(filepath.Join(k.dir, name)); err == nil {
			return errTaken(filepath.Join(k.dir, name))
		}
	}
	return nil
}

func errTaken(path string) error {
	return hint.New(fmt.Errorf("make keys: %s: %w", path, fs.ErrExist), "choose another directory with --dir; an existing key is never overwritten")
}

func (k keyFiles) identity(ctx context.Context, postQuantum bool) error {
	identity, recipient, err := seal.GenerateIdentity(postQuantum)
	if err != nil {
		return err
	}
	secret, err := k.writeSecret(ctx, "identity.txt", identity)
	if err != nil {
		return err
	}
	public, err := k.write("recipient.txt", 0o644, recipient)
	if err != nil {
		return errors.Join(err, os.Remove(secret))
	}
	fmt.Fprintf(k.out, "identity   %s: SECRET, opens every snapshot sealed for it. Keep it off the nodes, and more than once.\n", secret)
	fmt.Fprintf(k.out, "recipient  %s: for the nodes (seal.recipients_file)\n", public)
	return nil
}

func (k keyFiles) signing(ctx context.Context, name string) error {
	private, public, err := seal.GenerateSigningKey(name)
	if err != nil {
		return err
	}
	secret, err := k.writeSecret(ctx, "signing.key", string(private))
	if err != nil {
		return err
	}
	half, err := k.write("signing.key.pub", 0o644, string(public))
	if err != nil {
		return errors.Join(err, os.Remove(secret))
	}
	line := fmt.Sprintf("%s namespaces=%q %s", name, seal.Namespace, public)
	trust, err := k.write("allowed_signers", 0o644, line)
	if errors.Is(err, fs.ErrExist) {
		fmt.Fprintf(k.out, "signing    %s: stays on the node (signing.key_file)\ntrust      %s exists; add this line to it:\n%s", secret, filepath.Join(k.dir, "allowed_signers"), withNewline(line))
		return nil
	}
	if err != nil {
		return errors.Join(err, os.Remove(secret), os.Remove(half))
	}
	fmt.Fprintf(k.out, "signing    %s: stays on the node (signing.key_file)\n", secret)
	fmt.Fprintf(k.out, "trust      %s: for whoever restores (--trust); one line for each node\n", trust)
	return nil
}

// writeSecret is write for a private key, recorded.
func (k keyFiles) writeSecret(ctx context.Context, name, content string) (path string, err error) {
	e := audit.Event{Name: audit.KeyGenerate, Object: filepath.Join(k.dir, name)}
	err = audit.During(ctx, e, func() error {
		path, err = k.write(name, 0o600, content)
		return err
	})
	return path, err
}

// write creates a file that must not exist. One that cannot be written whole is removed: it would be in the way of the next try.
func (k keyFiles) write(name string, mode fs.FileMode, content string) (string, error) {
	path := filepath.Join(k.dir, name)
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if errors.Is(err, fs.ErrExist) {
		return "", errTaken(path)
	}
	if err != nil {
		return "", fmt.Errorf("make keys: %w", err)
	}
	_, err = f.WriteString(withNewline(content))
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return "", errors.Join(fmt.Errorf("make keys: %w", err), os.Remove(path))
	}
	return path, nil
}

func withNewline(s string) string { return strings.TrimRight(s, "\n") + "\n" }
