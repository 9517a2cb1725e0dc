package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/drd-project/drd/internal/card"
	"github.com/drd-project/drd/internal/config"
)

// The two forms of a recovery card.
const (
	cardText = "card.txt"
	cardPage = "card.html"
)

// card writes the recovery card of the keys in the directory, and of the configuration. Unlike keys it is made anew each
// time: it says what is there. Keys are made before a configuration is finished, so that one that cannot be used is only
// said then, unless nothing but the card was asked for.
func (k keyFiles) card(alone bool) error {
	c := card.Card{Made: time.Now(), Drd: currentVersion().Version}
	if err := k.describe(&c); err != nil {
		return err
	}
	if k.config != "" {
		known := c
		if err := describeConfig(&c, k.config); err != nil {
			if alone {
				return err
			}
			c = known
			fmt.Fprintf(k.err, "drd: note: the recovery card does not name the targets, because %s cannot be used yet; later: drd keygen --only card --dir %s --config %s\n", k.config, k.dir, k.config)
		}
	}
	text, err := c.Text()
	if err != nil {
		return err
	}
	page, err := c.HTML()
	if err != nil {
		return err
	}
	if err := errors.Join(k.replace(cardText, text), k.replace(cardPage, page)); err != nil {
		return err
	}
	fmt.Fprintf(k.out, "card       %s and %s: print one, fill it in by hand, keep it beside the identity\n\n%s", filepath.Join(k.dir, cardText), filepath.Join(k.dir, cardPage), text)
	return nil
}

// describe adds the public keys of the directory.
func (k keyFiles) describe(c *card.Card) error {
	var own []card.Signer
	for name, add := range map[string]func([]byte) error{
		"recipient.txt": func(content []byte) (err error) {
			c.Recipients, err = card.ParseRecipients(nil, content)
			return err
		},
		"allowed_signers": func(content []byte) error {
			c.Signers = card.ParseSigners(content)
			return nil
		},
		"signing.key.pub": func(content []byte) error {
			if fields := strings.Fields(string(content)); len(fields) > 2 { // the comment is the name that it was made for
				own = card.ParseSigners([]byte(fields[2] + " " + string(content)))
			}
			return nil
		},
	} {
		content, err := os.ReadFile(filepath.Join(k.dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = add(content)
		}
		if err != nil {
			return fmt.Errorf("recovery card: %w", err)
		}
	}
	for _, s := range own { // its line may be missing in an allowed_signers that was there before
		if !slices.Contains(c.Signers, s) {
			c.Signers = append(c.Signers, s)
		}
	}
	return nil
}

// describeConfig adds what the configuration says, which goes before what lies in the directory: it is what the backups
// are made with. The files that it names need not be there yet.
func describeConfig(c *card.Card, file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("recovery card: %w", err)
	}
	cfg, err := config.Parse(file, text)
	if err != nil {
		return usageError{err}
	}
	c.Cluster, c.Targets = cfg.Cluster, card.Targets(cfg.Cluster, cfg.Targets)
	content, err := optional(cfg.Seal.RecipientsFile)
	if err != nil {
		return err
	}
	recipients, err := card.ParseRecipients(cfg.Seal.Recipients, content)
	if err != nil {
		return err
	}
	if len(recipients) > 0 {
		c.Recipients = recipients
	}
	if content, err = optional(cfg.Trust.File); err != nil {
		return err
	}
	if signers := card.ParseSigners(content); len(signers) > 0 {
		c.Signers = signers
	}
	return nil
}

// optional reads a file that may be missing or not named.
func optional(path string) ([]byte, error) {
	if path == "" {
		return nil, nil
	}
	content, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("recovery card: %w", err)
	}
	return content, nil
}

// foreignCard returns the name of a file that stands where the card would go and is none, or "".
func (k keyFiles) foreignCard() string {
	for _, name := range []string{cardText, cardPage} {
		path := filepath.Join(k.dir, name)
		content, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil || !bytes.Contains(content, []byte(card.Title)) {
			return path
		}
	}
	return ""
}

// replace writes a file that everybody may read.
func (k keyFiles) replace(name string, content []byte) error {
	path := filepath.Join(k.dir, name)
	fresh := path + ".new"
	err := os.WriteFile(fresh, content, 0o644)
	if err == nil {
		err = os.Chmod(fresh, 0o644) // whatever the umask is: nothing on it is secret, and it is to be printed
	}
	if err == nil {
		err = os.Rename(fresh, path)
	}
	if err != nil {
		return fmt.Errorf("recovery card: %w", errors.Join(err, os.RemoveAll(fresh)))
	}
	return nil
}
