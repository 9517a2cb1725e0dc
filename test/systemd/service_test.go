//go:build systemd

package systemd

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

const (
	older = "1.2.3"
	newer = "1.2.4"
)

// finished is what a person makes of the draft: sed(1).
const finished = `s/bucket: CHANGE-ME/bucket: prod-backups/
s/region: CHANGE-ME/region: us-east-1/
s|# endpoint: .*|endpoint: https://127.0.0.1:9000|
s/# path_style:/path_style:/
s|# ca_file: "/etc/drd/s3-ca.crt"|ca_file: "/etc/drd/s3-ca.crt"|
s/# object_lock:/object_lock:/
s/# - name: nas/- name: nas/
s|#   dir: /mnt/nas/drd|  dir: /var/backups/drd|
`

// TestInstalled is the life of a node: the steps follow each other on one machine.
func TestInstalled(t *testing.T) {
	t.Parallel()
	before := build(t, tree(t), "--version", older, "--arch", "amd64", "--format", "deb")
	after := build(t, tree(t), "--version", newer, "--arch", "amd64", "--format", "deb")
	n := newNode(t)
	n.page = readPage(t, "docs/install.md", "sh")
	n.put(before, "/root")
	n.take(t, []step{
		{"package", (*node).stepPackage},
		{"configuration", (*node).stepConfiguration},
		{"boot without etcd", (*node).stepBoot},
		{"sandbox", (*node).stepSandbox},
		{"etcd comes", (*node).stepEtcd},
		{"reach", (*node).stepReach},
		{"reinstall", (*node).stepReinstall},
		{"reload", (*node).stepReload},
		{"watchdog", (*node).stepWatchdog},
		{"credentials", (*node).stepCredentials},
		{"encrypted credentials", (*node).stepEncrypted},
		{"drills", (*node).stepDrills},
		{"fapolicyd", (*node).stepFapolicyd},
		{"stop", (*node).stepStop},
		{"upgrade", func(n *node, t *testing.T) { n.put(after, "/root"); n.stepUpgrade(t) }},
		{"remove", (*node).stepRemove},
	})
	n.page.allRan(t)
}

// stepPackage: it installs by the page, and starts nothing.
func (n *node) stepPackage(t *testing.T) {
	n.follow("The package")
	if state := n.property("drd", "ActiveState") + " " + n.property("drd", "UnitFileState"); state != "inactive disabled" {
		t.Errorf("after the installation drd is %s", state)
	}
	if modes := n.run("stat -c %a:%U /etc/drd /var/lib/drd /run/drd"); modes != strings.Repeat("700:root\n", 3) {
		t.Errorf("the directories are %s", modes)
	}
	if version := n.run("drd version"); !strings.HasPrefix(version, "drd v"+older+"\n") {
		t.Errorf("%s", version)
	}
	if page := n.run("man -P cat drd-daemon | tr -s '[:space:]' ' '"); !strings.Contains(page, "drd-daemon - run the service") || !strings.Contains(page, "On SIGHUP it reads its configuration again") {
		t.Errorf("%s", page)
	}
	n.run("systemd-analyze verify --man=no drd.service drd-verify.service drd-verify.timer drd-verify@nas.service drd-verify@nas.timer")
	if out := n.fails("systemctl start drd"); !strings.Contains(n.journal(), "/etc/drd/config.yaml") {
		t.Errorf("a start without configuration: %s\n%s", out, n.journal())
	}
	n.run("systemctl stop drd; systemctl reset-failed drd || true")
}

// stepConfiguration: what drd config init leaves open is all that a person has to write.
func (n *node) stepConfiguration(t *testing.T) {
	n.run("cp /etc/etcd/pki/ca.crt /etc/drd/s3-ca.crt && mkdir -p edits && cp s3-credentials edits/")
	n.follow("The keys")
	n.edits("config.yaml.sed", finished)
	out := n.follow("The configuration")
	for _, want := range []string{
		"etcd of plain etcd at https://127.0.0.1:2379\n", "CHANGE-ME: targets[0].s3.bucket: ", "CHANGE-ME: targets[0].s3.region: ", "config.yaml is good: cluster prod-east, 2 targets\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if strings.Contains(out, "still missing") {
		t.Errorf("the page leaves something out:\n%s", out)
	}
	n.write("/etc/drd/config.yaml.example", "# edited\n", 0o644)
}

// stepBoot: a node whose etcd is down at boot is ready, waits, and says so.
func (n *node) stepBoot(t *testing.T) {
	n.run("systemctl enable drd")
	n.reboot()
	n.wantRunning()
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

// stepEtcd: what waits goes on by itself when etcd and the store are there. Then everything is green: with a key that may do no more than
// it must, on a bucket with Object Lock.
func (n *node) stepEtcd(t *testing.T) {
	n.run("systemctl enable --now etcd minio && etcdctl-tls put k v")
	n.waitStatus(10*time.Minute, "last snapshot 20") // the second attempt comes within a minute, and the fourth within four of the third
	out := n.follow("The service")
	for _, want := range []string{
		"Active: active (running)", "Status: \"last snapshot 20", "prod-east: recoverable to 20", ", proved ", "recovery point  20",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	n.wantServers() // and that the service has noticed
	n.wantGreen(n.run("drd check"))
	if out := n.run("drd check --stig"); !strings.Contains(out, "DRD-UNIT") { // it fails where a finding is open
		t.Errorf("%s", out)
	}
	n.run("mkdir -p /run/systemd/system/drd.service.d && printf '[Service]\\nNoNewPrivileges=no\\nSystemCallFilter=mount\\n' >/run/systemd/system/drd.service.d/loose.conf && systemctl daemon-reload")
	if out := n.fails("drd check --stig"); !strings.Contains(out, "with mount") {
		t.Errorf("a loosened unit: %s", out)
	}
	n.run("rm /run/systemd/system/drd.service.d/loose.conf && systemctl daemon-reload")
}

func (n *node) stepReload(t *testing.T) {
	pid := n.pid()
	n.change("127.0.0.1:9877", "127.0.0.1:9878")
	n.follow("Changing the configuration")
	n.within(time.Minute, "the new address", func() error {
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
	n.waitStatus(time.Minute, "NOT RELOADED, the configuration before is in force: ")
	n.wantActive()
	n.run("cp -p /root/signing.key /etc/drd/ && systemctl reload drd")
	n.within(time.Minute, "a status without the refusal", func() error {
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
	// Long enough for a machine that stands still now and then: the daemon gives a sign of life twice in that time.
	n.write("/etc/systemd/system/drd.service.d/test.conf", "[Service]\nWatchdogSec=8s\nRestartSec=100ms\n", 0o644)
	n.run("systemctl daemon-reload && systemctl restart drd")
	pid := n.pid()
	time.Sleep(18 * time.Second)
	if n.pid() != pid {
		t.Fatalf("a daemon that works was ended\n%s", n.journal())
	}
	n.run(fmt.Sprintf("kill -STOP %d", pid))
	n.within(2*time.Minute, "another process", func() error {
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

// stepDrills: a drill in its own slice, which passes, without a schedule of the daemon's; then one in a single target.
func (n *node) stepDrills(t *testing.T) {
	n.edits("config.yaml.sed", `/^verify:/,/schedule/ s/schedule: .*/fresh: data/`)
	blocks := n.page.blocks(t, "Drills on their own")
	if len(blocks) != 2 {
		t.Fatalf("the page has %d blocks of commands about drills", len(blocks))
	}
	n.run(asService + "drd snapshot") // the keys of those before the reboot are gone
	n.run(blocks[0])
	n.wantDrilled("drd-verify", "primary", "nas")
	n.run("systemctl restart drd") // it looks for records of others every half hour, and at its start
	n.waitStatus(3*time.Minute, "restore last proved 20")
	n.run(blocks[1])
	n.wantDrilled("drd-verify@nas", "nas")
}

// wantDrilled looks at a unit that has drilled in these targets and no others.
func (n *node) wantDrilled(unit string, targets ...string) {
	n.t.Helper()
	if result := n.property(unit, "Result") + " " + n.property(unit, "ExecMainStatus"); result != "success 0" {
		n.t.Errorf("%s ended with %s\n%s", unit, result, n.journal())
	}
	if group := n.property(unit, "Slice"); group != "drd-verify.slice" {
		n.t.Errorf("%s ran in %s", unit, group)
	}
	out := n.run("journalctl --sync && journalctl --no-pager -o cat -u " + unit)
	if !strings.Contains(out, "PASSED") {
		n.t.Errorf("%s has proved nothing:\n%s", unit, out)
	}
	for _, target := range []string{"primary", "nas"} {
		if strings.Contains(out, target) != slices.Contains(targets, target) {
			n.t.Errorf("%s drills in %s:\n%s", unit, targets, out)
		}
	}
}

// stepStop: what was written a moment ago is in the target when the service has ended: the archive flushes every five minutes here.
func (n *node) stepStop(t *testing.T) {
	const count = "find /var/backups/drd/prod-east/archive -type f | wc -l"
	n.change("enabled: true\n", "enabled: true\n  flush_interval: 5m\n")
	n.run("systemctl restart drd")
	n.within(3*time.Minute, "the archive follows", func() error {
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
	n.within(3*time.Minute, "status with the archive", func() error {
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

// stepRemove: keys, configuration, backups and state stay, also after a purge.
func (n *node) stepRemove(t *testing.T) {
	const kept = "find /etc/drd /etc/credstore.encrypted /var/lib/drd /var/backups/drd -type f | sort | xargs sha256sum"
	const written = "sha256sum /etc/drd/config.yaml /etc/drd/allowed_signers /etc/credstore.encrypted/* && find /var/backups/drd -name manifest.json | sort"
	before := n.run(written)
	if out := n.follow("Remove"); !strings.Contains(out, "drd: /etc/drd is kept") || !strings.Contains(out, "drd: /var/lib/drd is kept") {
		t.Errorf("%s", out)
	}
	if out, _ := n.try("pgrep -x drd"); out != "" {
		t.Errorf("it still runs: %s", out)
	}
	n.fails("command -v drd")
	if after := n.run(written); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
	if links := n.run("find /etc/systemd/system -name 'drd*' -type l"); links != "" {
		t.Errorf("units are still enabled:\n%s", links)
	}
	before = n.run(kept)
	n.run("apt-get purge -y drd")
	// The example is the package's.
	if after := n.run(kept); after != regexp.MustCompile(`(?m)^.* /etc/drd/config\.yaml\.example\n`).ReplaceAllString(before, "") {
		t.Errorf("before the purge:\n%s\nafter:\n%s", before, after)
	}
}
