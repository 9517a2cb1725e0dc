// Package apparmor tests the profile in this directory.
package apparmor

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/drd-project/drd/test/servers"
)

// parse compiles a profile, without loading it and without what an earlier run has kept.
func parse(t *testing.T, text string) error {
	t.Helper()
	path := filepath.Join(t.TempDir(), "drd")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), servers.Tool(t, "apparmor_parser"), "--skip-kernel-load", "--skip-cache", path).CombinedOutput()
	if err != nil {
		t.Logf("%s", out)
	}
	return err
}

// TestProfile: apparmor_parser takes it, and would not take anything.
func TestProfile(t *testing.T) {
	text, err := os.ReadFile("drd")
	if err != nil {
		t.Fatal(err)
	}
	profile := string(text)
	if err := parse(t, profile); err != nil {
		t.Error(err)
	}
	for _, broken := range []string{
		strings.Replace(profile, "capability setfcap,", "capability setfcap", 1),
		strings.Replace(profile, "rwkl,", "rwkz,", 1),
		strings.Replace(profile, "<tunables/global>", "<tunables/none>", 1),
	} {
		if broken == profile || parse(t, broken) == nil {
			t.Error("a broken profile is taken")
		}
	}
}

// TestProfileFitsUnits: what a unit's sandbox lets drd write, the profile does, too.
func TestProfileFitsUnits(t *testing.T) {
	text, err := os.ReadFile("drd")
	if err != nil {
		t.Fatal(err)
	}
	profile := strings.ReplaceAll(string(text), "/{mnt,media,srv}/**", "/mnt/** rwkl,\n/media/** rwkl,\n/srv/**")
	for _, unit := range []string{"drd.service", "drd-verify.service"} {
		text, err := os.ReadFile(filepath.Join("../../systemd", unit))
		if err != nil {
			t.Fatal(err)
		}
		paths := 0
		for line := range strings.Lines(string(text)) {
			value, ok := strings.CutPrefix(strings.TrimSpace(line), "ReadWritePaths=")
			if !ok {
				continue
			}
			for _, path := range strings.Fields(value) {
				if paths++; !strings.Contains(profile, strings.TrimPrefix(path, "-")+"/** rwkl,") {
					t.Errorf("%s may write to %s, and the profile does not let it", unit, path)
				}
			}
		}
		if paths == 0 {
			t.Errorf("%s has no ReadWritePaths", unit)
		}
	}
}
