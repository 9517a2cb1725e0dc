//go:build systemd

package systemd

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/drd-project/drd/test/servers"
)

const (
	older = "1.2.3"
	newer = "1.2.4"
)

const etcdUnit = `[Service]
Type=notify
ExecStart=/usr/local/bin/etcd --name n1 --data-dir /var/lib/etcd \
  --listen-client-urls https://127.0.0.1:2379 --advertise-client-urls https://127.0.0.1:2379 \
  --listen-peer-urls http://127.0.0.1:2380 --initial-advertise-peer-urls http://127.0.0.1:2380 --initial-cluster n1=http://127.0.0.1:2380 \
  --cert-file /etc/etcd/pki/server.crt --key-file /etc/etcd/pki/server.key --trusted-ca-file /etc/etcd/pki/ca.crt --client-cert-auth
[Install]
WantedBy=multi-user.target
`

const config = `cluster: prod-east
etcd:
  endpoints: [https://127.0.0.1:2379]
  ca_file: /etc/etcd/pki/ca.crt
  cert_file: /etc/etcd/pki/client.crt
  key_file: /etc/etcd/pki/client.key
archive: {enabled: true, flush_interval: 5m}
seal: {recipients_file: /etc/drd/recipient.txt}
signing: {key_file: /etc/drd/signing.key}
targets:
  - {name: local, dir: /var/backups/drd}
metrics: {listen: "127.0.0.1:9877"}
`

// node is a machine with an etcd, on which drd is installed by the page.
type node struct {
	*machine
	page *page
}

func newNode(t *testing.T) *node {
	t.Helper()
	m := boot(t, rootfs(t))
	for file, tool := range map[string]string{"etcd": "etcd-3.7", "etcdctl": "etcdctl-3.7"} {
		m.install(servers.Tool(t, tool), "/usr/local/bin/"+file, 0o755)
	}
	ca := servers.NewCA(t)
	m.install(ca.CertFile(), "/etc/etcd/pki/ca.crt", 0o644)
	for _, name := range []string{"server", "client"} {
		cert, key := ca.Issue(t, name)
		m.install(cert, "/etc/etcd/pki/"+name+".crt", 0o644)
		m.install(key, "/etc/etcd/pki/"+name+".key", 0o600)
	}
	m.write("/etc/systemd/system/etcd.service", etcdUnit, 0o644)
	m.write("/usr/local/bin/etcdctl-tls", "#!/bin/sh\nexec etcdctl --endpoints https://127.0.0.1:2379 --cacert /etc/etcd/pki/ca.crt --cert /etc/etcd/pki/client.crt --key /etc/etcd/pki/client.key \"$@\"\n", 0o755)
	// What the operator does in the editor.
	m.write("/root/config.yaml", config, 0o644)
	m.write("/usr/local/bin/editor", "#!/bin/sh\ngrep -q CHANGE-ME \"$1\" && cat /root/config.yaml >\"$1\"\n", 0o755)
	m.run("mkdir -p /var/backups/drd && systemctl daemon-reload")
	return &node{machine: m, page: readPage(t)}
}

// follow runs the commands of a section of the page.
func (n *node) follow(section string) string {
	n.t.Helper()
	return n.run(n.page.commands(section))
}

// put brings the packages of a build into root's home, in place of those that are there.
func (n *node) put(dist string) {
	n.t.Helper()
	n.run("rm -f /root/drd* /root/SHA256SUMS")
	files, err := os.ReadDir(dist)
	if err != nil {
		n.t.Fatal(err)
	}
	for _, f := range files {
		n.install(filepath.Join(dist, f.Name()), "/root/"+f.Name(), 0o644)
	}
}

func (n *node) pid() int {
	n.t.Helper()
	pid, err := strconv.Atoi(n.property("drd", "MainPID"))
	if err != nil {
		n.t.Fatal(err)
	}
	return pid
}

// wantActive waits while it reloads: the service says so itself, and ExecReload= is over before.
func (n *node) wantActive() {
	n.t.Helper()
	n.within(10*time.Second, "an active service", func() error {
		state := n.property("drd", "ActiveState")
		if state != "active" && state != "reloading" {
			n.t.Fatalf("drd is %s\n%s", state, n.journal())
		}
		if state != "active" {
			return fmt.Errorf("it is %s", state)
		}
		return nil
	})
}

// change edits the configuration as an operator would.
func (n *node) change(old, new string) {
	n.t.Helper()
	text, err := os.ReadFile(filepath.Join(n.root, "etc/drd/config.yaml"))
	if err != nil {
		n.t.Fatal(err)
	}
	if !strings.Contains(string(text), old) {
		n.t.Fatalf("no %q in %s", old, text)
	}
	n.write("/etc/drd/config.yaml", strings.Replace(string(text), old, new, 1), 0o644)
}

// TestInstalled is the life of a node: the steps follow each other on one machine.
func TestInstalled(t *testing.T) {
	before := build(t, tree(t), "--version", older, "--arch", "amd64", "--format", "deb")
	after := build(t, tree(t), "--version", newer, "--arch", "amd64", "--format", "deb")
	n := newNode(t)
	n.put(before)
	for _, step := range []struct {
		name string
		run  func(*node, *testing.T)
	}{
		{"package", (*node).stepPackage},
		{"boot without etcd", (*node).stepBoot},
		{"sandbox", (*node).stepSandbox},
		{"etcd comes", (*node).stepEtcd},
		{"reload", (*node).stepReload},
		{"watchdog", (*node).stepWatchdog},
		{"credentials", (*node).stepCredentials},
		{"drills", (*node).stepDrills},
		{"stop", (*node).stepStop},
		{"upgrade", func(n *node, t *testing.T) { n.put(after); n.stepUpgrade(t) }},
		{"remove", (*node).stepRemove},
	} {
		began := time.Now()
		if !t.Run(step.name, func(t *testing.T) {
			n.t, n.page.t = t, t
			defer func() { n.t, n.page.t = nil, nil }()
			step.run(n, t)
		}) {
			n.t, n.page.t = t, t
			t.Fatal("the steps after it need what it should have done")
		}
		t.Logf("%s: %v", step.name, time.Since(began).Round(100*time.Millisecond))
	}
	n.t, n.page.t = t, t
	n.page.allRan()
}

// stepPackage: it installs by the page, and starts nothing.
func (n *node) stepPackage(t *testing.T) {
	n.follow("The package")
	if state := n.property("drd", "ActiveState") + " " + n.property("drd", "UnitFileState"); state != "inactive disabled" {
		t.Errorf("after the installation drd is %s", state)
	}
	if mode := n.run("stat -c %a:%U /etc/drd"); mode != "700:root\n" {
		t.Errorf("/etc/drd is %s", mode)
	}
	if version := n.run("drd version"); !strings.HasPrefix(version, "drd v"+older+"\n") {
		t.Errorf("%s", version)
	}
	if page := n.run("man -P cat drd-daemon | tr -s '[:space:]' ' '"); !strings.Contains(page, "drd-daemon - run the service") || !strings.Contains(page, "On SIGHUP it reads its configuration again") {
		t.Errorf("%s", page)
	}
	n.run("systemd-analyze verify --man=no drd.service drd-verify.service drd-verify.timer")
	if out := n.fails("systemctl start drd"); !strings.Contains(n.journal(), "/etc/drd/config.yaml") {
		t.Errorf("a start without configuration: %s\n%s", out, n.journal())
	}
	n.run("systemctl stop drd; systemctl reset-failed drd || true")
	n.follow("The keys")
	n.follow("The configuration")
	n.write("/etc/drd/config.yaml.example", "# edited\n", 0o644)
}

// stepBoot: a node whose etcd is down at boot is ready, waits, and says so.
func (n *node) stepBoot(t *testing.T) {
	n.run("systemctl enable drd")
	n.reboot()
	n.within(time.Minute, "ready", func() error {
		if state := n.property("drd", "SubState"); state != "running" {
			return errors.New(state)
		}
		return nil
	})
	n.waitStatus(time.Minute, "failed (attempt 1)")
	if s := n.status(); !strings.Contains(s, "no snapshot yet; the snapshot of ") || !strings.Contains(s, "connection refused") {
		t.Errorf("status %q", s)
	}
	if n.property("drd", "NRestarts") != "0" {
		t.Error("it was restarted")
	}
}

// stepSandbox looks at the process, and tries what it must not be able to do from inside its mount namespace, as a root that has all
// capabilities.
func (n *node) stepSandbox(t *testing.T) {
	status := n.run(fmt.Sprintf("cat /proc/%d/status", n.pid()))
	for _, want := range []string{
		"CapEff:\t0000000000000000\n", "CapPrm:\t0000000000000000\n", "CapBnd:\t0000000000000000\n", "CapAmb:\t0000000000000000\n", "NoNewPrivs:\t1\n", "Seccomp:\t2\n",
	} {
		if !strings.Contains(status, want) {
			t.Errorf("no %q in\n%s", want, status)
		}
	}
	if limits := n.run(fmt.Sprintf("grep core /proc/%d/limits", n.pid())); strings.Join(strings.Fields(limits), " ") != "Max core file size 0 0 bytes" {
		t.Errorf("core dumps: %s", limits)
	}
	inside := fmt.Sprintf("nsenter --target %d --mount -- ", n.pid())
	for _, dir := range []string{"/usr/bin", "/etc", "/etc/drd", "/var/lib", "/var/log", "/", "/opt"} {
		if out := n.fails(inside + "/usr/bin/drd keygen --only signing --name x --dir " + dir + "/planted"); !strings.Contains(out, "read-only file system") {
			t.Errorf("write below %s: %s", dir, out)
		}
	}
	n.run(inside + "/usr/bin/drd keygen --only signing --name x --dir /var/lib/drd/planted && rm -r /var/lib/drd/planted")
	for _, program := range []string{"/bin/sh", "/usr/bin/env", "/usr/local/bin/etcd"} {
		if out := n.fails(inside + program); !strings.Contains(out, "Permission denied") {
			t.Errorf("execute %s: %s", program, out)
		}
	}
	n.run("cp /bin/true /var/lib/drd/ && cp /bin/true /run/drd/ && cp /bin/true /var/backups/drd/ && cp /bin/true /srv/ && cp /bin/true /tmp/systemd-private-*-drd.service-*/tmp/")
	for _, dir := range []string{"/var/lib/drd", "/run/drd", "/var/backups/drd", "/srv", "/tmp"} {
		if out := n.fails(inside + dir + "/true"); !strings.Contains(out, "Permission denied") {
			t.Errorf("execute what was written to %s: %s", dir, out)
		}
	}
	n.run("rm /var/lib/drd/true /run/drd/true /var/backups/drd/true /srv/true")
	// The mount that makes it executable is writable, but the kernel lets nobody write a program that runs.
	if out := n.fails("echo planted >>/usr/bin/drd"); !strings.Contains(out, "Text file busy") {
		t.Errorf("write to the program: %s", out)
	}
	if out := n.run("systemd-analyze security --no-pager drd | tail -1"); !strings.Contains(out, ": 1.7 ") {
		t.Errorf("%s", out)
	}
}

// stepEtcd: what waits goes on by itself when etcd is there.
func (n *node) stepEtcd(t *testing.T) {
	n.run("systemctl enable --now etcd && etcdctl-tls put k v")
	n.waitStatus(2*time.Minute, "last snapshot 20") // the second attempt comes within a minute
	out := n.follow("The service")
	for _, want := range []string{"Active: active (running)", "Status: \"last snapshot 20"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
}

func (n *node) stepReload(t *testing.T) {
	pid := n.pid()
	n.change("127.0.0.1:9877", "127.0.0.1:9878")
	n.follow("Changing the configuration")
	n.within(30*time.Second, "the new address", func() error {
		_, err := n.try("exec 3<>/dev/tcp/127.0.0.1/9878 && ! (exec 4<>/dev/tcp/127.0.0.1/9877) 2>/dev/null")
		return err
	})
	n.wantActive()

	n.change("cluster:", "clutser:")
	if out := n.fails("systemctl reload drd"); !strings.Contains(n.journal(), "clutser: unknown key") {
		t.Errorf("the reload of a wrong file: %s\n%s", out, n.journal())
	}
	n.wantActive()
	n.change("clutser:", "cluster:")

	n.run("cp -p /etc/drd/signing.key /root/ && echo broken >/etc/drd/signing.key && systemctl reload drd")
	n.waitStatus(30*time.Second, "NOT RELOADED, the configuration before is in force: ")
	n.wantActive()
	n.run("cp -p /root/signing.key /etc/drd/ && systemctl reload drd")
	n.within(30*time.Second, "a status without the refusal", func() error {
		if s := n.status(); strings.Contains(s, "NOT RELOADED") || !strings.Contains(s, "last snapshot 20") {
			return errors.New(s)
		}
		return nil
	})
	if n.pid() != pid || n.property("drd", "NRestarts") != "0" {
		t.Errorf("it is another process: %d, was %d", n.pid(), pid)
	}
}

// stepWatchdog: a daemon that hangs is ended and started anew; one that works is not.
func (n *node) stepWatchdog(t *testing.T) {
	n.write("/etc/systemd/system/drd.service.d/test.conf", "[Service]\nWatchdogSec=3s\nRestartSec=100ms\n", 0o644)
	n.run("systemctl daemon-reload && systemctl restart drd")
	pid := n.pid()
	time.Sleep(7 * time.Second)
	if n.pid() != pid {
		t.Fatalf("a daemon that works was ended\n%s", n.journal())
	}
	n.run(fmt.Sprintf("kill -STOP %d", pid))
	n.within(30*time.Second, "another process", func() error {
		if n.property("drd", "SubState") != "running" || n.pid() == pid {
			return errors.New(n.property("drd", "SubState"))
		}
		return nil
	})
	if restarts := n.property("drd", "NRestarts"); restarts != "1" {
		t.Errorf("restarts: %s\n%s", restarts, n.journal())
	}
	n.run(`journalctl --sync && journalctl --no-pager -u drd | grep "Failed with result 'watchdog'"`)
	n.run("rm -r /etc/systemd/system/drd.service.d && systemctl daemon-reload && systemctl restart drd")
}

func (n *node) stepCredentials(t *testing.T) {
	n.write("/etc/drd/s3-credentials", "[default]\n", 0o600)
	n.change("/etc/drd/signing.key", `"${CREDENTIALS_DIRECTORY}/signing.key"`)
	n.follow("Credentials")
	n.wantActive()
	if got := n.run("stat -c %a /run/credentials/drd.service/signing.key"); got != "400\n" {
		t.Errorf("mode of the credential: %s", got)
	}
	n.run("systemctl reload drd") // ExecReload= has them too
	n.wantActive()
	n.change(`"${CREDENTIALS_DIRECTORY}/signing.key"`, "/etc/drd/signing.key")
	n.run("rm -r /etc/systemd/system/drd.service.d && systemctl daemon-reload && systemctl restart drd")
}

// stepDrills: a drill in its own slice, which passes.
func (n *node) stepDrills(t *testing.T) {
	n.follow("Drills on their own")
	if result := n.property("drd-verify", "Result") + " " + n.property("drd-verify", "ExecMainStatus"); result != "success 0" {
		t.Errorf("drd-verify ended with %s\n%s", result, n.journal())
	}
	if group := n.property("drd-verify", "Slice"); group != "drd-verify.slice" {
		t.Errorf("it ran in %s", group)
	}
	n.run("journalctl --sync && journalctl --no-pager -u drd-verify | grep PASSED")
	n.run("systemctl restart drd") // it looks for records of others every half hour, and at its start
	n.waitStatus(time.Minute, "restore last proved 20")
}

// stepStop: what was written a moment ago is in the target when the service has ended: the archive flushes every five minutes here.
func (n *node) stepStop(t *testing.T) {
	const count = "find /var/backups/drd/prod-east/archive -type f | wc -l"
	n.within(time.Minute, "the archive follows", func() error {
		_, err := n.try(fmt.Sprintf("journalctl --sync && journalctl _PID=%d | grep 'archive follows the cluster'", n.pid()))
		return err
	})
	before := n.run(count)
	n.run("etcdctl-tls put last word && sleep 1")
	if now := n.run(count); now != before {
		t.Fatalf("the archive flushes by itself: %s, then %s", before, now)
	}
	n.run("systemctl stop drd")
	if now := n.run(count); now == before {
		t.Errorf("the last change is not in the target: %s segments, as before\n%s", now, n.journal())
	}
	if result := n.property("drd", "Result") + " " + n.property("drd", "ExecMainStatus"); result != "success 0" {
		t.Errorf("the service ended with %s", result)
	}
	n.change("flush_interval: 5m", "flush_interval: 1s")
	n.run("systemctl start drd")
	n.within(time.Minute, "status with the archive", func() error {
		n.run("etcdctl-tls put another word")
		if s := n.status(); !strings.Contains(s, "recoverable to 20") {
			return errors.New(s)
		}
		return nil
	})
}

func (n *node) stepUpgrade(t *testing.T) {
	config, pid := n.run("cat /etc/drd/config.yaml"), n.pid()
	n.follow("Upgrade")
	n.wantActive()
	if n.pid() == pid {
		t.Error("the old process runs on")
	}
	if version := n.run("drd version"); !strings.HasPrefix(version, "drd v"+newer+"\n") {
		t.Errorf("%s", version)
	}
	if n.run("cat /etc/drd/config.yaml") != config || n.run("cat /etc/drd/config.yaml.example") != "# edited\n" {
		t.Error("the upgrade changed the configuration")
	}
	if state := n.property("drd", "UnitFileState"); state != "enabled" {
		t.Errorf("the unit is %s", state)
	}
	n.waitStatus(time.Minute, "last snapshot 20")
}

// stepRemove: keys, configuration and state stay, also after a purge.
func (n *node) stepRemove(t *testing.T) {
	const kept = "sha256sum /etc/drd/config.yaml /etc/drd/signing.key /etc/drd/allowed_signers && find /var/backups/drd /var/lib/drd/spool | sort"
	n.run("systemctl stop drd")
	before := n.run(kept)
	n.run("systemctl start drd")
	n.follow("Remove")
	if out, _ := n.try("pgrep -x drd"); out != "" {
		t.Errorf("it still runs: %s", out)
	}
	n.fails("command -v drd")
	if state, _ := n.try("systemctl is-enabled drd drd-verify.timer"); strings.Contains(state, "enabled\n") && !strings.Contains(state, "disabled") {
		t.Errorf("the units are %s", state)
	}
	n.run("apt-get purge -y drd")
	if after := n.run(kept); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
}
