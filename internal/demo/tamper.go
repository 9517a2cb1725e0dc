package demo

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"filippo.io/age"

	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/restore"
	"github.com/drd-project/drd/internal/seal"
)

// The objects of a snapshot in a directory target.
const (
	manifestFile  = "manifest.json"
	signatureFile = "manifest.json.sig"
)

// attempt is something that somebody with access to the target does, and the error that a restore must end with.
type attempt struct {
	what  string
	spoil func(d *demo, dir string, m *repo.Manifest) error // dir holds a copy of the snapshot's objects
	want  error
}

func attempts() []attempt {
	return []attempt{
		{"one bit of the object is flipped", flipBit, seal.ErrDamaged},
		{"the manifest now says one key more", editManifest, seal.ErrBadSignature},
		{"that manifest is signed again, with the intruder's own key", forgeManifest, seal.ErrUnknownSigner},
	}
}

// resistTampering is chapter 5.
func (d *demo) resistTampering(ctx context.Context) error {
	s := d.story
	s.chapter("Somebody gets at the target")
	var err error
	if d.ids, err = seal.LoadIdentities([]string{d.place.path("safe", "identity.txt")}, nil); err != nil {
		return err
	}
	s.say("Copies of the newest snapshot are changed, in forged/1 and so on, and restored:")
	s.command("drd restore --repo file://$PWD/forged/1 --id " + d.newest.ID + " \\\n" +
		"--trust safe/allowed_signers --identity safe/identity.txt --output forged/back.db")
	for i, a := range attempts() {
		why, err := d.tryForgery(ctx, i+1, a, d.newest, d.ids)
		if err != nil {
			return err
		}
		d.showRefusal(fmt.Sprintf("forged/%d: %s", i+1, a.what), why)
	}
	stranger, err := d.strangersKey()
	if err != nil {
		return err
	}
	why, err := d.mustRefuse(ctx, []string{"target"}, d.newest.ID, stranger, seal.ErrNoIdentity)
	if err != nil {
		return err
	}
	d.showRefusal("target: nothing is changed, but somebody else's key is given, --identity forged/identity.txt", why)
	return nil
}

func (d *demo) showRefusal(what, why string) {
	d.story.say("%s", what)
	d.story.output("refused: %s", why)
}

// tryForgery makes a changed copy of the snapshot and tries to restore it. The text is why that was refused.
func (d *demo) tryForgery(ctx context.Context, number int, a attempt, m *repo.Manifest, ids []age.Identity) (string, error) {
	forged := fmt.Sprint(number)
	objects := []string{clusterName, "snapshots", m.ID}
	dir := d.place.path(append([]string{"forged", forged}, objects...)...)
	if err := os.CopyFS(dir, os.DirFS(d.place.path(append([]string{"target"}, objects...)...))); err != nil {
		return "", fmt.Errorf("copy snapshot %s: %w", m.ID, err)
	}
	if err := a.spoil(d, dir, m); err != nil {
		return "", fmt.Errorf("change a copy of snapshot %s: %w", m.ID, err)
	}
	return d.mustRefuse(ctx, []string{"forged", forged}, m.ID, ids, a.want)
}

// mustRefuse tries a restore to a file that has to fail with the error want, and to leave nothing.
func (d *demo) mustRefuse(ctx context.Context, target []string, id string, ids []age.Identity, want error) (string, error) {
	output := d.place.path("forged", "back.db")
	err := d.restoreFile(ctx, d.place.path(target...), id, output, ids)
	switch {
	case ctx.Err() != nil:
		return "", context.Cause(ctx)
	case err == nil:
		return "", fmt.Errorf("snapshot %s was restored from %s although it must be refused: %w", id, strings.Join(target, "/"), want)
	case !errors.Is(err, want):
		return "", fmt.Errorf("the restore failed for another reason than %q: %w", want, err)
	}
	if _, err := os.Lstat(output); !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("the refused restore left %s", output)
	}
	return strings.ReplaceAll(err.Error(), "\n", "; "), nil
}

func (d *demo) restoreFile(ctx context.Context, target, id, output string, ids []age.Identity) error {
	sources, trust, err := d.offline(ctx, target)
	if err != nil {
		return err
	}
	plan, err := restore.MakePlan(ctx, sources, trust, restore.Request{ID: id, Output: output}, time.Now())
	if err != nil {
		return err
	}
	_, err = restore.Run(ctx, plan, ids, d.Inspector, nil)
	return err
}

func flipBit(_ *demo, dir string, m *repo.Manifest) error {
	path := filepath.Join(dir, m.Object.Name)
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	content[len(content)/2] ^= 1
	return os.WriteFile(path, content, 0o600)
}

func editManifest(d *demo, dir string, m *repo.Manifest) error {
	signed, err := d.forge(m)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, manifestFile), signed.Bytes, 0o600)
}

func forgeManifest(d *demo, dir string, m *repo.Manifest) error {
	signed, err := d.forge(m)
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(filepath.Join(dir, manifestFile), signed.Bytes, 0o600),
		os.WriteFile(filepath.Join(dir, signatureFile), signed.Signature, 0o600))
}

// forge changes what a manifest says and signs it with a new key.
func (d *demo) forge(m *repo.Manifest) (*repo.Signed, error) {
	private, _, err := seal.GenerateSigningKey("intruder")
	if err != nil {
		return nil, err
	}
	if err := d.place.write(0o600, string(private), "forged", "signing.key"); err != nil {
		return nil, err
	}
	signer, err := seal.LoadSigner(d.place.path("forged", "signing.key"))
	if err != nil {
		return nil, err
	}
	changed := *m
	changed.Keys++
	return repo.Sign(&changed, signer)
}

// strangersKey is an identity that the snapshots are not sealed for.
func (d *demo) strangersKey() ([]age.Identity, error) {
	identity, _, err := seal.GenerateIdentity(false)
	if err != nil {
		return nil, err
	}
	if err := d.place.write(0o600, identity+"\n", "forged", "identity.txt"); err != nil {
		return nil, err
	}
	return seal.LoadIdentities([]string{d.place.path("forged", "identity.txt")}, nil)
}
