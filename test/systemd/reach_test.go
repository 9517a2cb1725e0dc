//go:build systemd

package systemd

import (
	"regexp"
	"strings"
	"testing"
)

// stepReach: what its sandbox keeps from the service, drd check finds from outside of it, where all of that works; and its hints help.
func (n *node) stepReach(t *testing.T) {
	n.run("chown 7 /etc/etcd/pki/client.key")
	n.wantUnreached("cannot read /etc/etcd/pki/client.key (etcd.key_file): permission denied", "etcd-owned-keys.conf")
	n.run("install -D -m 644 /usr/share/doc/drd/examples/etcd-owned-keys.conf /etc/systemd/system/drd.service.d/etcd-owned-keys.conf && systemctl daemon-reload && systemctl restart drd")
	n.wantReached()
	n.run("chown root /etc/etcd/pki/client.key && rm /etc/systemd/system/drd.service.d/etcd-owned-keys.conf && systemctl daemon-reload && systemctl restart drd")

	n.run("mkdir -p /data/drd")
	n.change("dir: /var/backups/drd", "dir: /data/drd")
	n.wantUnreached("cannot write to /data/drd (targets[1].dir): read-only file system", "directory-target.conf")
	n.run("install -D -m 644 /usr/share/doc/drd/examples/directory-target.conf /etc/systemd/system/drd.service.d/directory-target.conf && systemctl daemon-reload && systemctl restart drd")
	n.wantReached()
	n.change("dir: /data/drd", "dir: /var/backups/drd")
	n.run("rm -r /data /etc/systemd/system/drd.service.d && systemctl daemon-reload && systemctl restart drd")
	n.wantReached()
}

var reached = regexp.MustCompile(`(?m)^ok +service reach +drd\.service can read and write `)

func (n *node) wantReached() {
	n.t.Helper()
	if out := n.run("drd check || true"); !reached.MatchString(out) || strings.Contains(out, "failed ") {
		n.t.Errorf("the service does not reach what it needs:\n%s", out)
	}
}

func (n *node) wantUnreached(why, advice string) {
	n.t.Helper()
	out := n.fails("drd check")
	if !regexp.MustCompile(`(?m)^failed +service reach +drd\.service `+regexp.QuoteMeta(why)).MatchString(out) || !strings.Contains(out, advice) || strings.Count(out, "failed ") != 1 {
		n.t.Errorf("no %q in:\n%s", why, out)
	}
}

// stepReinstall: a removal disables the service, and a package that comes again says that it is so.
func (n *node) stepReinstall(t *testing.T) {
	n.run("apt-get remove -y drd")
	out := n.run("apt-get install -y /root/drd_*_amd64.deb 2>&1")
	if !strings.Contains(out, "drd: there is a configuration, and no backups are taken after the next boot: systemctl enable --now drd") {
		t.Errorf("%s", out)
	}
	n.run("systemctl enable --now drd")
	if out := n.run("apt-get install --reinstall -y /root/drd_*_amd64.deb 2>&1"); strings.Contains(out, "systemctl enable") {
		t.Errorf("%s", out)
	}
	n.wantRunning()
}
