package preflight

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/drd-project/drd/internal/config"
)

// reachRoot is set where TestReach runs again as root of a namespace of its own, and says where its files are.
const reachRoot = "DRD_TEST_REACH"

// TestReach: what a confined process cannot read or write is found from a command that can.
func TestReach(t *testing.T) {
	if root := os.Getenv(reachRoot); root != "" {
		reaches(t, root)
		return
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, "-test.run=^TestReach$", "-test.timeout=5m")
	cmd.Env = append(os.Environ(), reachRoot+"="+t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("in a namespace of its own: %v\n%s", err, out)
	}
}

func reaches(t *testing.T, root string) {
	for _, name := range []string{"state", "run", "nas", "scratch", "hidden"} {
		if err := os.Mkdir(filepath.Join(root, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for name, mode := range map[string]os.FileMode{"signing.key": 0o600, "client.key": 0o000, "hidden/trust": 0o600} { // 0: only capabilities open it
		if err := os.WriteFile(filepath.Join(root, name), nil, mode); err != nil {
			t.Fatal(err)
		}
	}
	in := func(name string) string { return filepath.Join(root, name) }
	good := config.Config{StateDir: in("state"), RuntimeDir: in("run"), Signing: config.Signing{KeyFile: in("signing.key")}}
	for name, c := range map[string]struct {
		capabilities string // that setpriv leaves
		change       func(*config.Config)
		status       Status
		detail, hint string
	}{
		"all is well":        {"-all", func(*config.Config) {}, OK, "drd.service can read and write what the configuration names: 3 files and directories", ""},
		"key of another":     {"-all", func(c *config.Config) { c.Etcd.KeyFile = in("client.key") }, Fail, "cannot read " + in("client.key") + " (etcd.key_file): permission denied", "namei -l"},
		"with the drop-in":   {"-all,+dac_read_search", func(c *config.Config) { c.Etcd.KeyFile = in("client.key") }, OK, "4 files", ""},
		"read-only target":   {"-all", func(c *config.Config) { c.Targets = []config.Target{{Name: "nas", Dir: in("nas")}} }, Fail, "cannot write to " + in("nas") + " (targets[0].dir): read-only file system", "directory-target.conf"},
		"read-only textfile": {"-all", func(c *config.Config) { c.Metrics.Textfile = in("nas/drd.prom") }, Warn, "cannot write to " + in("nas") + " (metrics.textfile)", "directory-target.conf"},
		"scratch of drills":  {"-all", func(c *config.Config) { c.Verify = config.Verify{ScratchDir: in("nas"), Schedule: "@daily"} }, Fail, "cannot write to " + in("nas") + " (verify.scratch_dir)", ""},
		"scratch of a unit":  {"-all", func(c *config.Config) { c.Verify.ScratchDir = in("nas") }, Warn, "cannot write to " + in("nas") + " (verify.scratch_dir)", ""},
		"hidden":             {"-all", func(c *config.Config) { c.Trust.File = in("hidden/trust") }, Fail, "cannot read " + in("hidden/trust") + " (trust.file): no such file", "does not see it"},
		"not there":          {"-all", func(c *config.Config) { c.Trust.File = in("missing") }, OK, "4 files", ""},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := good
			c.change(&cfg)
			checks := checkReach(t.Context(), Config{Settings: &cfg, Unit: "drd.service"}, confined(t, root, c.capabilities))
			if len(checks) != 1 {
				t.Fatalf("%+v", checks)
			}
			if !strings.Contains(strings.Join(checks[0].Hints, ""), c.hint) {
				t.Errorf("hints %q", checks[0].Hints)
			}
			wants(t, checks[0], c.status, c.detail)
		})
	}
	// The command itself has stayed what it was, whichever thread it was on.
	for range 20 {
		if _, err := asProcess(t.Context(), confined(t, root, "-all"), os.Getpid); err != nil {
			t.Fatal(err)
		}
		if c, err := credentialsOf(os.Getpid()); err != nil || c.capabilities == 0 {
			t.Fatalf("%+v, %v", c, err)
		}
	}
	if err := unix.Access(in("nas"), unix.W_OK); err != nil {
		t.Error(err)
	}
	if _, err := os.ReadFile(in("client.key")); err != nil {
		t.Error(err)
	}
	gone := checkReach(t.Context(), Config{Settings: &good, Unit: "drd.service"}, 1<<22)
	if len(gone) != 1 {
		t.Fatalf("%+v", gone)
	}
	wants(t, gone[0], Warn, "is not known")
}

// confined is a process as systemd would make it: with other mounts and fewer capabilities.
func confined(t *testing.T, root, capabilities string) (pid int) {
	t.Helper()
	const script = `mount --bind "$1/nas" "$1/nas" && mount -o remount,bind,ro "$1/nas" && mount -t tmpfs drd-test "$1/hidden" &&
exec setpriv --bounding-set "$2" --inh-caps "$2" --ambient-caps "$2" --no-new-privs sh -c 'echo confined; exec sleep 300'`
	cmd := exec.CommandContext(t.Context(), "/bin/sh", "-c", script, "sh", root, capabilities)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended
		_ = cmd.Wait()         // with what kill says
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "confined\n" {
		t.Fatalf("%q, %v", line, err)
	}
	return cmd.Process.Pid
}
