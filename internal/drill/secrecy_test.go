package drill_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/drd-project/drd/internal/drill"
	"github.com/drd-project/drd/internal/proof"
)

// TestNoNames: a record tells whoever reads the target neither the name of a key nor a hash of a value, also where a
// restored store is not what was expected.
func TestNoNames(t *testing.T) {
	src := ordinary(t, "3.7")
	for name, tc := range map[string]struct{ change, check, cause string }{
		"prefix":  {`s|"app/":[0-9]*|"app/":1|`, drill.CheckEtcdKeys, "number 1 of 2 in the file, which has 1 there"},
		"gone":    {`s|"key":"[^"]*"|"key":"YXBwL2tleS1ub25l"|`, drill.CheckSamples, "sample 1 of "},
		"value":   {`s|"value_sha256":"........|"value_sha256":"00000000|`, drill.CheckSamples, "is another one"},
		"version": {`s|"version":|"version":7|`, drill.CheckSamples, "version 7"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			line := self(t) + " " + surveyChild + ` "$@" | sed '` + tc.change + `'`
			p.config.Survey.Command = []string{"/bin/sh", "-c", line, "sh"}
			_, id := p.publish(t, src, captureTime)
			d := p.drill(t, id, proof.LevelDrill, nil, nil)
			if d.Outcome != proof.Failed || !strings.HasPrefix(d.Cause, tc.check+": ") || !strings.Contains(d.Cause, tc.cause) {
				t.Errorf("%s, %s", d.Outcome, d.Cause)
			}
			record, err := json.Marshal(d)
			if err != nil {
				t.Fatal(err)
			}
			// The fingerprint of the key that signed is 43 random letters, which may spell anything.
			signer := at(d, drill.CheckSignature).Found
			_, fingerprint, _ := strings.Cut(signer, "SHA256:")
			if len(fingerprint) != 43 {
				t.Fatalf("signed by %q", signer)
			}
			record = bytes.ReplaceAll(record, []byte(fingerprint), nil)
			for _, secret := range []string{"app", "other/key", "key-", "sha-256"} {
				if strings.Contains(string(record), secret) {
					t.Errorf("the record names %q: %s", secret, d.Cause)
				}
			}
		})
	}
}

// TestBackground: whatever reads a file for a drill is behind everything else that the machine does.
func TestBackground(t *testing.T) {
	src, p := ordinary(t, "3.7"), newPlace(t)
	said := filepath.Join(t.TempDir(), "said")
	wait := `for i in $(seq 300); do [ "$(nice) $(ionice -p $$)" = "19 idle" ] && break; sleep 0.1; done; echo "$(nice) $(ionice -p $$)" >>` + said + `; exec ` + self(t)
	p.config.Inspector.Command = []string{"/bin/sh", "-c", wait + " " + inspectChild + ` "$@"`, "sh"}
	p.config.Survey.Command = []string{"/bin/sh", "-c", wait + " " + surveyChild + ` "$@"`, "sh"}
	_, id := p.publish(t, src, captureTime)
	wantPassed(t, p.drill(t, id, proof.LevelData, nil, nil), drill.CheckChain, drill.CheckMembers)
	if got, err := os.ReadFile(said); err != nil || string(got) != "19 idle\n19 idle\n" {
		t.Errorf("%q, %v", got, err)
	}
}
