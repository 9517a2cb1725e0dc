//go:build systemd

package systemd

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// machine is a running container, with systemd as its PID 1.
type machine struct {
	t      *testing.T
	name   string
	root   string // its root file system, on the host
	leader int    // its PID 1, on the host
	nspawn *exec.Cmd
	log    string
}

// cgroup2 is the beginning of scripts that see a control group of version 2 where the host mounts only those of version 1, in a mount
// namespace of their own.
const cgroup2 = `
set -eu
if [ "$(stat -f -c %T /sys/fs/cgroup)" != cgroup2fs ]; then
	umount -l /sys/fs/cgroup || true
	mount -t cgroup2 cgroup2 /sys/fs/cgroup
	own=/sys/fs/cgroup/$1
fi
`

// bootScript boots a machine. fapolicyd needs two system calls that containers do not have by default.
const bootScript = cgroup2 + `
if [ -n "${own-}" ]; then
	mkdir "$own"
	echo $$ >"$own/cgroup.procs"
fi
exec systemd-nspawn --quiet --register=no --keep-unit --private-network --link-journal=no --console=pipe \
	--system-call-filter='fanotify_init fanotify_mark' --machine="$1" --directory="$2" --boot
`

// sweepScript removes the control groups that a machine leaves behind when it is killed. The last processes may still be on their way out.
const sweepScript = cgroup2 + `
for _ in $(seq 300); do
	if [ ! -d "${own-}" ]; then exit; fi
	find "$own" -depth -type d -exec rmdir {} + 2>/dev/null || sleep 0.1
done
rmdir "$own"
`

// privately is a script in a mount namespace of its own.
func privately(script string, args ...string) *exec.Cmd {
	return exec.Command("unshare", append([]string{"--mount", "--propagation=private", "bash", "-c", script, "bash"}, args...)...)
}

// boot starts a machine, which ends with the test.
func boot(t *testing.T, root string) *machine {
	t.Helper()
	m := &machine{t: t, root: root, log: filepath.Join(t.TempDir(), "console")}
	t.Cleanup(func() { m.noSecrets(); m.kill() })
	m.start()
	return m
}

func (m *machine) start() {
	m.t.Helper()
	console, err := os.OpenFile(m.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		m.t.Fatal(err)
	}
	defer console.Close()
	m.name = "drd-test-" + strings.ToLower(rand.Text()[:8])
	m.nspawn = privately(bootScript, m.name, m.root)
	m.nspawn.Stdout, m.nspawn.Stderr = console, console
	if err := m.nspawn.Start(); err != nil {
		m.t.Fatal(err)
	}
	m.within(5*time.Minute, "the machine boots", func() error {
		children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", m.nspawn.Process.Pid))
		if err != nil {
			return err
		}
		if m.leader, err = strconv.Atoi(strings.TrimSpace(string(children))); err != nil {
			return fmt.Errorf("PID 1 is not there: %w", err)
		}
		state, _ := m.try("systemctl is-system-running")
		if state != "running\n" && state != "degraded\n" {
			return fmt.Errorf("it is %q", state)
		}
		return nil
	})
}

// kill ends the machine at once, with all that runs there: they are in the PID namespace of its PID 1.
func (m *machine) kill() {
	if m.nspawn == nil || m.nspawn.Process == nil {
		return
	}
	if m.leader != 0 {
		_ = syscall.Kill(m.leader, syscall.SIGKILL)
		time.Sleep(100 * time.Millisecond) // for nspawn to take note and clean up
	}
	_ = m.nspawn.Process.Signal(syscall.SIGTERM)
	ended := make(chan struct{})
	go func() { defer close(ended); _ = m.nspawn.Wait() }()
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		_ = m.nspawn.Process.Kill()
		<-ended
	}
	if out, err := privately(sweepScript, m.name).CombinedOutput(); err != nil {
		m.t.Errorf("remove the control groups of the machine: %v\n%s", err, out)
	}
	if m.t.Failed() {
		console, _ := os.ReadFile(m.log)
		m.t.Logf("the console:\n%s", console)
	}
	m.nspawn, m.leader = nil, 0
}

// reboot ends the machine without warning and boots it again.
func (m *machine) reboot() {
	m.t.Helper()
	m.kill()
	m.start()
}

// try runs a script in the machine, as root, and returns what it wrote, errors included.
func (m *machine) try(script string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "nsenter", "--target", strconv.Itoa(m.leader), "--all", "--", "env", "-i",
		"HOME=/root", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive",
		"bash", "-c", "sudo() { \"$@\"; }\ncd /root\nset -eu\n"+script)
	cmd.Stdin = nil
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// run is try for scripts that must succeed.
func (m *machine) run(script string) string {
	m.t.Helper()
	out, err := m.try(script)
	if err != nil {
		m.t.Fatalf("%v:\n%s\n%s\nlog of the service:\n%s", err, script, out, m.journal())
	}
	return out
}

// fails is try for scripts that must not succeed.
func (m *machine) fails(script string) string {
	m.t.Helper()
	out, err := m.try(script)
	if err == nil {
		m.t.Errorf("%s succeeded:\n%s", script, out)
	}
	return out
}

func (m *machine) journal() string {
	out, _ := m.try("journalctl --sync; journalctl --no-pager -n 60 -u drd -u drd-verify -u etcd")
	return out
}

// property is one of a unit, as systemctl show has it.
func (m *machine) property(unit, name string) string {
	m.t.Helper()
	return strings.TrimSpace(m.run(fmt.Sprintf("systemctl show --value -p %s %s", name, unit)))
}

func (m *machine) status() string { return m.property("drd", "StatusText") }

// waitStatus waits until the status of the daemon has a text.
func (m *machine) waitStatus(limit time.Duration, text string) {
	m.t.Helper()
	m.within(limit, "status "+text, func() error {
		if s := m.status(); !strings.Contains(s, text) {
			return fmt.Errorf("it is %q", s)
		}
		return nil
	})
}

// within polls until f is content.
func (m *machine) within(limit time.Duration, what string, f func() error) {
	m.t.Helper()
	deadline := time.Now().Add(limit)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			m.t.Fatalf("%s: not within %v: %v\nlog of the service:\n%s", what, limit, err, m.journal())
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// write puts a file into the machine.
func (m *machine) write(path, text string, mode os.FileMode) {
	m.t.Helper()
	at := filepath.Join(m.root, path)
	if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
		m.t.Fatal(err)
	}
	if err := os.WriteFile(at, []byte(text), mode); err != nil {
		m.t.Fatal(err)
	}
	if err := os.Chmod(at, mode); err != nil {
		m.t.Fatal(err)
	}
}

// install copies a file of the host into the machine.
func (m *machine) install(file, path string, mode os.FileMode) {
	m.t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		m.t.Fatal(err)
	}
	m.write(path, string(text), mode)
}
