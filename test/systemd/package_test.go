//go:build systemd

package systemd

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// epoch is the time of what the tests build.
const epoch = "1780000000"

// build runs packaging/build of the tree at dir and returns the directory with the packages.
func build(t *testing.T, dir string, args ...string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "dist")
	cmd := exec.CommandContext(t.Context(), filepath.Join(dir, "packaging", "build"), append(args, "--out", out)...)
	cmd.Dir = t.TempDir()
	cmd.Env = append(os.Environ(), "SOURCE_DATE_EPOCH="+epoch)
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("packaging/build %s: %v\n%s", strings.Join(args, " "), err, text)
	}
	return out
}

// tree is the root of the source.
func tree(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// copied is a copy of the source below a directory of its own.
func copied(t *testing.T, name string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{
		"cmd", "internal", "docs", "systemd", "packaging", "test", "go.mod", "go.sum", "README.md", "CHANGELOG.md", "LICENSE",
	} {
		command(t, "cp", "-r", filepath.Join(tree(t), part), dir)
	}
	return dir
}

// commit is what the packages are said to be made of.
const commit = "0123456789abcdef0123456789abcdef01234567"

// TestReproducible builds all packages twice: from this tree, and from a copy of it elsewhere, whose files have other times and modes.
func TestReproducible(t *testing.T) {
	elsewhere := copied(t, "longer path") // where there is no git to ask
	t.Setenv("COMMIT", commit)
	command(t, "chmod", "-R", "go-rwx", elsewhere)
	first := build(t, tree(t), "--version", "1.2.3")
	t.Setenv("TZ", "Asia/Kathmandu")
	t.Setenv("LC_ALL", "C")
	second := build(t, elsewhere, "--version", "1.2.3")

	sums, err := os.ReadFile(filepath.Join(first, "SHA256SUMS"))
	if err != nil {
		t.Fatal(err)
	}
	again, err := os.ReadFile(filepath.Join(second, "SHA256SUMS"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(sums), string(again)); diff != "" {
		t.Errorf("two builds differ (-first +second):\n%s", diff)
	}
	for _, want := range []string{
		"drd_1.2.3-1_amd64.deb", "drd_1.2.3-1_arm64.deb", "drd-1.2.3-1.x86_64.rpm", "drd-1.2.3-1.aarch64.rpm", "drd_1.2.3_amd64.cdx.json", "drd_1.2.3_arm64.cdx.json",
	} {
		if !strings.Contains(string(sums), "  "+want+"\n") {
			t.Errorf("no %s in SHA256SUMS:\n%s", want, sums)
		}
	}
	check := exec.CommandContext(t.Context(), "sha256sum", "--check", "--strict", "SHA256SUMS")
	check.Dir = first
	if out, err := check.CombinedOutput(); err != nil {
		t.Errorf("SHA256SUMS: %v\n%s", err, out)
	}
	wantBinaries(t, first)
	wantSBOM(t, filepath.Join(first, "drd_1.2.3_arm64.cdx.json"))
}

// wantBinaries takes the binaries out of the .deb packages: static, of the right architecture, and nothing of the builder in them.
func wantBinaries(t *testing.T, dist string) {
	t.Helper()
	for arch, machine := range map[string]string{"amd64": "\x3e\x00", "arm64": "\xb7\x00"} { // e_machine of elf(5)
		root := filepath.Join(t.TempDir(), arch)
		command(t, "dpkg-deb", "-x", filepath.Join(dist, "drd_1.2.3-1_"+arch+".deb"), root)
		text, err := os.ReadFile(filepath.Join(root, "usr/bin/drd"))
		if err != nil {
			t.Fatal(err)
		}
		if got := string(text[18:20]); got != machine {
			t.Errorf("%s: e_machine is %x", arch, got)
		}
		if !strings.Contains(string(text), commit) {
			t.Errorf("%s: drd does not know the commit that it was made of", arch)
		}
		if info := command(t, "go", "version", "-m", filepath.Join(root, "usr/bin/drd")); !strings.Contains(info, "CGO_ENABLED=0") || strings.Contains(info, "vcs.") {
			t.Errorf("%s: %s", arch, info)
		}
		if strings.Contains(string(text), tree(t)+"/") || strings.Contains(string(text), "/ld-linux") {
			t.Errorf("%s: the binary names the tree it was built in, or is not static", arch)
		}
		for _, page := range []string{"drd.1", "drd-daemon.1", "drd-restore.1", "drd-config-check.1"} {
			if _, err := os.Stat(filepath.Join(root, "usr/share/man/man1", page)); err != nil {
				t.Error(err)
			}
		}
	}
}

func wantSBOM(t *testing.T, file string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var bom struct {
		BomFormat, SpecVersion string
		Metadata               struct {
			Component struct{ Name, Version string }
		}
		Components []struct{ Name, Version string }
	}
	if err := json.Unmarshal(text, &bom); err != nil {
		t.Fatal(err)
	}
	versions := make(map[string]string)
	for _, c := range bom.Components {
		versions[c.Name] = c.Version
	}
	if bom.BomFormat != "CycloneDX" || bom.SpecVersion != "1.6" || bom.Metadata.Component.Name != "drd" || bom.Metadata.Component.Version != "1.2.3" {
		t.Errorf("%+v", bom.Metadata)
	}
	if "go"+versions["std"] != runtime.Version() || versions["filippo.io/age"] == "" || versions["go.etcd.io/etcd/server/v3"] == "" {
		t.Errorf("components: %v", versions)
	}
}

// TestExposure rates the units in this tree, as systemd-analyze(1) does: 9.6 is a plain unit. docs/install.md names the limits.
func TestExposure(t *testing.T) {
	for unit, limit := range map[string]float64{"drd.service": 1.7, "drd-verify.service": 2.4} {
		out := command(t, "systemd-analyze", "security", "--offline=yes", "--no-pager", filepath.Join(tree(t), "systemd", unit))
		_, rest, found := strings.Cut(out, "Overall exposure level for "+unit+": ")
		var exposure float64
		if _, err := fmt.Sscan(rest, &exposure); !found || err != nil {
			t.Fatalf("no exposure in:\n%s", out)
		}
		if exposure > limit {
			t.Errorf("exposure of %s is %.1f, above %.1f:\n%s", unit, exposure, limit, out)
		}
	}
}
