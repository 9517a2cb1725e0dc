package preflight

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"filippo.io/age"

	"github.com/drd-project/drd/internal/audit"
	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/seal"
)

// checkKeys looks at what seals, what signs, and whom this node believes.
func checkKeys(ctx context.Context, cfg Config, found cluster) []Check {
	var checks []Check
	if cfg.Recipients != nil {
		checks = append(checks, checkRecipients(cfg.Recipients), checkIdentities(ctx, cfg))
	}
	if cfg.Signer != nil {
		checks = append(checks, checkSigner(cfg), checkTrust(cfg, len(found.members)))
	}
	if cfg.Keys != nil && !cfg.Keys.OnTmpfs() {
		checks = append(checks, warn("runtime directory", hint.New(errors.New("the keys of fresh objects are kept on a disk, where they outlive a reboot"),
			"set runtime_dir to a directory below /run")))
	}
	return checks
}

// published are fingerprints of recipients that people copy from documentation; the identities of some of them can be
// read there, too.
func published() map[string]string {
	known := make(map[string]string)
	for recipient, source := range map[string]string{
		"age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p": "the manual of age",
		"age1lggyhqrw2nlhcxprm67z43rta597azn8gknawjehu9d9dl0jq3yqqvfafg": "the manual of age",
		"age1yt3tfqlfrwdwx0z0ynwplcr6qxcxfaqycuprpmy89nr83ltx74tqdpszlw": "the manual of SOPS",
		"age1s3cqcks5genc6ru8chl0hkkd04zmxvczsvdxq99ekffe4gmvjpzsedk23c": "the manual of SOPS",
		"age1jpz8m26n48uh478mgjprg0y28fftsa6tsuudrkkfxt8n32q2uvyqdsa3le": "drd's own tests",
	} {
		if one, err := seal.ParseRecipients([]string{recipient}, ""); err == nil {
			known[one.Fingerprints()[0]] = source
		}
	}
	return known
}

// checkRecipients finds those that are somebody else's.
func checkRecipients(r *seal.Recipients) Check {
	const name = "recipients"
	known := published()
	for _, print := range r.Fingerprints() {
		if source := known[print]; source != "" {
			return fail(name, hint.New(fmt.Errorf("%s is an example from %s: whoever has its identity, which may be everybody, can read the backups, and you cannot", print, source),
				"make your own with drd keygen --only identity, on another machine"))
		}
	}
	return ok(name, "sealed for %s", strings.Join(r.Fingerprints(), ", "))
}

// checkIdentities looks for an identity that opens the backups of this node and was left on it, where keygen would have
// put it. The one that drills are made with is there because somebody said so, and has to open them.
func checkIdentities(ctx context.Context, cfg Config) Check {
	const name = "identities"
	drill := cfg.Settings.Verify.IdentityFile
	nearby := nearbyIdentities(cfg)
	for _, path := range nearby {
		if path == drill {
			continue
		}
		if sure, _ := opens(ctx, path, cfg.Recipients); sure {
			return warn(name, hint.New(fmt.Errorf("%s opens the backups of this node: who takes the node can read all of them", path),
				"keep it elsewhere, more than once, and remove it here"))
		}
	}
	looked := strings.Join(nearby, ", ")
	if looked == "" {
		looked = "no other file"
	}
	if drill == "" {
		return ok(name, "none that opens the backups is in %s; no other place was looked at", looked)
	}
	switch sure, perhaps := opens(ctx, drill, cfg.Recipients); {
	case perhaps:
		return ok(name, "the drills' own, %s, is of a plugin: only drills show what it opens; of others, looked at: %s", drill, looked)
	case sure:
		return ok(name, "the drills' own, %s, opens the backups of this node; of others, looked at: %s", drill, looked)
	}
	return fail(name, hint.New(fmt.Errorf("%s (verify.identity_file) opens nothing that is sealed for the recipients of this node: no drill can prove a backup", drill),
		"give it the identity of one of seal's recipients, or leave it out: the node then proves what it made itself since its last boot"))
}

// nearbyIdentities are identity.txt beside the files that keygen makes with it.
func nearbyIdentities(cfg Config) []string {
	var paths []string
	for _, beside := range []string{cfg.ConfigFile, cfg.Settings.Signing.KeyFile, cfg.Settings.Seal.RecipientsFile} {
		path := filepath.Join(filepath.Dir(beside), "identity.txt")
		if beside != "" && !slices.Contains(paths, path) {
			paths = append(paths, path)
		}
	}
	return paths
}

// opens says whether a file has an identity of one of the recipients; perhaps: it has one of a plugin instead, which does not tell. What is
// not there or cannot be read opens nothing.
func opens(ctx context.Context, path string, r *seal.Recipients) (sure, perhaps bool) {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return false, false
	}
	var ids []age.Identity
	err := audit.During(ctx, audit.Event{Name: audit.IdentityLoad, Object: path}, func() (err error) {
		ids, err = seal.LoadIdentities([]string{path}, nil)
		return err
	})
	if err != nil {
		return false, false
	}
	for _, id := range ids {
		print := seal.Fingerprint(id)
		if slices.Contains(r.Fingerprints(), print) {
			return true, false
		}
		perhaps = perhaps || print == ""
	}
	return false, perhaps
}

// checkSigner sees to it that what this node signs, this node believes: else its snapshots count nowhere.
func checkSigner(cfg Config) Check {
	const name = "signing key"
	message := []byte("drd check")
	signature, err := cfg.Signer.Sign(message)
	if err == nil {
		_, err = cfg.Trust.Verify(message, signature, time.Now())
	}
	if err != nil {
		return fail(name, hint.New(fmt.Errorf("%s does not count here: %w", cfg.Signer.Fingerprint(), err),
			"add this node's public key to the allowed signers (trust.file), on every node"))
	}
	until := cfg.Trust.ValidUntil(cfg.Signer.PublicKey())
	if !until.IsZero() && time.Until(until) < soonest {
		return warn(name, hint.New(fmt.Errorf("%s counts until %s only", cfg.Signer.Fingerprint(), until.UTC().Format(time.RFC3339)),
			"set a later valid-before in the allowed signers (trust.file), or make a new key, on every node"))
	}
	return ok(name, "%s", cfg.Signer.Fingerprint())
}

// checkTrust: a node that believes itself only does not see what the others of a cluster have stored.
func checkTrust(cfg Config, members int) Check {
	const name = "trust"
	if cfg.Settings.Trust.File == "" {
		own := errors.New("no allowed signers: this node believes what it signed itself and nothing else")
		if members > 1 {
			return warn(name, hint.New(own, "set trust.file to a file with the public keys of all nodes; drd keygen writes a line for each"))
		}
		return ok(name, "%s", own)
	}
	if n := cfg.Trust.Len(); n < members {
		return warn(name, hint.New(fmt.Errorf("%s has %d signing keys, and the cluster %d members: the backups of some nodes may not count here", cfg.Settings.Trust.File, n, members),
			"add the public key of every node that runs drd, on every node; of nodes without drd there is none to add"))
	}
	return ok(name, "%s has the keys that count here: %d", cfg.Settings.Trust.File, cfg.Trust.Len())
}
