//go:build systemd

package systemd

import (
	"bufio"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// packages are what the machine has beside Debian's smallest system.
var packages = []string{
	"systemd-sysv", "dbus", "procps", "man-db",
	"rpm",
	"fapolicyd",
	"selinux-policy-default", "selinux-utils", // the reference policy, and what looks labels up in it
}

// rootfs is a fresh root file system, below the test's temporary directory.
func rootfs(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("these tests boot a machine with systemd-nspawn: run them as root (make test-systemd)")
	}
	for program, pkg := range map[string]string{
		"debootstrap": "debootstrap", "systemd-nspawn": "systemd-container", "nsenter": "util-linux", "unshare": "util-linux", "apt-get": "apt",
	} {
		if _, err := exec.LookPath(program); err != nil {
			t.Fatalf("%s is missing: install %s (make test-systemd does)", program, pkg)
		}
	}
	root := filepath.Join(t.TempDir(), "root")
	command(t, "cp", "-a", "--reflink=auto", bootstrapped(t), root)
	return root
}

// bootstrapped is the root file system in the cache, made where it is missing.
func bootstrapped(t *testing.T) string {
	t.Helper()
	release := osRelease(t)
	suite := release["VERSION_CODENAME"]
	key := sha256.Sum256([]byte(suite + " " + runtime.GOARCH + " " + strings.Join(packages, " ")))
	cache := filepath.Join(cacheDir(t), fmt.Sprintf("%s-%x", suite, key[:6]))
	if _, err := os.Stat(cache); err == nil {
		return cache
	}
	if err := os.MkdirAll(filepath.Dir(cache), 0o755); err != nil {
		t.Fatal(err)
	}
	made, err := os.MkdirTemp(filepath.Dir(cache), ".making-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(made)
	root := filepath.Join(made, "root")
	command(t, "debootstrap", "--variant=minbase", "--include="+strings.Join(packages, ","), suite, root, mirror(t, suite))
	command(t, "rm", "-rf", filepath.Join(root, "var/cache/apt/archives"), filepath.Join(root, "var/lib/apt/lists"))
	// A test starts it, with rules that let the machine run.
	command(t, "rm", filepath.Join(root, "etc/systemd/system/multi-user.target.wants/fapolicyd.service"))
	if err := os.Rename(root, cache); err != nil && !os.IsExist(err) {
		t.Fatal(err)
	}
	return cache
}

// mirror is where this machine's own apt gets the suite.
func mirror(t *testing.T, suite string) string {
	t.Helper()
	out := command(t, "apt-get", "indextargets", "--format", "$(SITE) $(CODENAME) $(COMPONENT)", "Created-By: Packages")
	for line := range strings.Lines(out) {
		if f := strings.Fields(line); len(f) == 3 && f[1] == suite && f[2] == "main" {
			return f[0]
		}
	}
	t.Fatalf("apt of this machine has no source of %s main; it has:\n%s", suite, out)
	return ""
}

func osRelease(t *testing.T) map[string]string {
	t.Helper()
	f, err := os.Open("/etc/os-release")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	values := make(map[string]string)
	for lines := bufio.NewScanner(f); lines.Scan(); {
		key, value, _ := strings.Cut(lines.Text(), "=")
		values[key] = strings.Trim(value, `"`)
	}
	if values["ID"] != "debian" {
		t.Fatalf("the machine is made with this machine's own apt, which takes Debian, not %s", values["ID"])
	}
	return values
}

func cacheDir(t *testing.T) string {
	t.Helper()
	dir, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "drd", "rootfs")
}

// command runs a program of the host, and returns what it wrote to standard output.
func command(t *testing.T, name string, args ...string) string {
	t.Helper()
	var stderr strings.Builder
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s%s", name, strings.Join(args, " "), err, out, &stderr)
	}
	return string(out)
}
