//go:build systemd

package systemd

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// nodeConfig is that of a node whose etcd is not there yet.
const nodeConfig = `cluster: prod-east
etcd: {endpoints: ["http://127.0.0.1:2379"]}
seal: {recipients_file: /etc/drd/recipient.txt}
signing: {key_file: /etc/drd/signing.key}
targets:
  - {name: local, dir: /var/backups/drd}
`

// rpm has no database of what Debian has installed, and --nodeps leaves out what it would not find there.
const rpm = "rpm --nodeps --nosignature "

// TestRPM is the life of the .rpm: the real rpm on a machine with the real systemd.
func TestRPM(t *testing.T) {
	t.Parallel()
	before := build(t, tree(t), "--version", older, "--arch", "amd64", "--format", "rpm")
	changed := copied(t, "changed")
	command(t, "sed", "-i", "$a # new", filepath.Join(changed, "packaging/config.example.yaml"))
	after := build(t, changed, "--version", newer, "--arch", "amd64", "--format", "rpm")
	n := &node{machine: boot(t, rootfs(t))}
	n.put(before, "/root/"+older)
	n.put(after, "/root/"+newer)
	n.take(t, []step{
		{"install", (*node).stepInstallRPM},
		{"SELinux", (*node).stepSELinux},
		{"upgrade", (*node).stepUpgradeRPM},
		{"remove", (*node).stepRemoveRPM},
	})
}

// stepInstallRPM: the files are there as the package has them, and nothing runs.
func (n *node) stepInstallRPM(t *testing.T) {
	n.run(rpm + "-ivh " + older + "/drd-*.rpm")
	n.wantVerified("")
	var odd []string
	for line := range strings.Lines(n.run("rpm -q --qf '[%{FILENAMES} %{FILEMODES:perms} %{FILEUSERNAME} %{FILEGROUPNAME}\n]' drd")) {
		f := strings.Fields(line)
		mode, known := map[string]string{"/usr/bin/drd": "-rwxr-xr-x", "/etc/drd": "drwx------"}[f[0]]
		if f[2] != "root" || f[3] != "root" || known && f[1] != mode || !known && f[1] != "-rw-r--r--" && f[1] != "drwxr-xr-x" {
			odd = append(odd, line)
		}
	}
	if len(odd) > 0 {
		t.Errorf("odd modes and owners:\n%s", odd)
	}
	if got := n.run("rpm -qc drd"); got != "/etc/apparmor.d/drd\n/etc/drd/config.yaml.example\n" {
		t.Errorf("configuration files: %s", got)
	}
	if got := n.run("rpm -q --requires drd"); !slices.Contains(strings.Fields(got), "util-linux") {
		t.Errorf("it needs %s", got)
	}
	if state := n.property("drd", "ActiveState") + " " + n.property("drd", "UnitFileState"); state != "inactive disabled" {
		t.Errorf("after the installation drd is %s", state)
	}
	if modes := n.run("stat -c %a:%U /etc/drd /var/lib/drd /run/drd"); modes != strings.Repeat("700:root\n", 3) {
		t.Errorf("the directories are %s", modes)
	}
	n.run("drd keygen --dir safe && cp safe/recipient.txt /etc/drd/ && drd keygen --only signing --dir /etc/drd --name n1 && mkdir -p /var/backups/drd")
	n.write("/etc/drd/config.yaml", nodeConfig, 0o600)
	n.run("systemctl enable --now drd drd-verify@local.timer")
	n.wantActive()
}

// wantVerified looks at the files of the package that are not as they were installed, as rpm -V does.
func (n *node) wantVerified(want string) {
	n.t.Helper()
	out, _ := n.try("rpm -V --nodeps drd")
	if diff := cmp.Diff(want, out); diff != "" {
		n.t.Errorf("rpm -V (-want +got):\n%s", diff)
	}
}

// stepUpgradeRPM: the service goes on as the new version, and an edited configuration file stays, with the new one beside it.
func (n *node) stepUpgradeRPM(t *testing.T) {
	n.run("echo '# edited' >>/etc/drd/config.yaml.example")
	pid := n.pid()
	n.run(rpm + "-Uvh " + newer + "/drd-*.rpm")
	n.wantActive()
	if n.pid() == pid {
		t.Error("the old process runs on")
	}
	if version := n.run("drd version"); !strings.HasPrefix(version, "drd v"+newer+"\n") {
		t.Errorf("%s", version)
	}
	if n.run("cat /etc/drd/config.yaml") != nodeConfig || n.run("tail -n 1 /etc/drd/config.yaml.example /etc/drd/config.yaml.example.rpmnew -q") != "# edited\n# new\n" {
		t.Error("the upgrade changed the configuration")
	}
	if state := n.property("drd", "UnitFileState") + " " + n.property("drd-verify@local.timer", "UnitFileState"); state != "enabled enabled" {
		t.Errorf("the units are %s", state)
	}
	n.wantVerified("S.5....T.  c /etc/drd/config.yaml.example\n")
}

// stepRemoveRPM: nothing of it runs or is enabled, and keys, configuration and state stay.
func (n *node) stepRemoveRPM(t *testing.T) {
	const kept = "sha256sum /etc/drd/config.yaml /etc/drd/signing.key /etc/drd/allowed_signers"
	before := n.run(kept)
	out := n.run(rpm + "-e drd")
	for _, want := range []string{"drd: /etc/drd is kept", "drd: /var/lib/drd is kept"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if after := n.run(kept); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
	n.run("test -f /etc/drd/config.yaml.example.rpmsave && test -f /var/lib/drd/audit.jsonl")
	if out, _ := n.try("pgrep -x drd"); out != "" {
		t.Errorf("it still runs: %s", out)
	}
	n.fails("command -v drd")
	if left := n.run("find /etc/systemd/system /usr/lib/systemd /usr/lib/tmpfiles.d /usr/share/doc /usr/share/man -name 'drd*'"); left != "" {
		t.Errorf("left:\n%s", left)
	}
}
