//go:build systemd

package systemd

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// trustAllButDrd makes a fapolicyd that lets the machine run: it trusts every file below /usr but drd, and has the rules that its own manual
// calls known-libs. It marks mounts, which are the machine's own, and never the file system, which the host has too. It stays root,
// because it cannot change to its own user with the capabilities of a container.
const trustAllButDrd = `
grep -qx 'allow_filesystem_mark = 0' /etc/fapolicyd/fapolicyd.conf
sed -i 's/^\([ug]id\) = .*/\1 = 0/' /etc/fapolicyd/fapolicyd.conf
chown -R 0:0 /var/lib/fapolicyd
fapolicyd-cli --check-config
fapolicyd-cli --file add /usr/ --trust-file machine
fapolicyd-cli --file delete /usr/bin/drd --trust-file machine
cd /usr/share/fapolicyd/sample-rules
cp 10-languages.rules 30-patterns.rules 40-bad-elf.rules 41-shared-obj.rules 42-trusted-elf.rules 70-trusted-lang.rules 72-shell.rules \
  90-deny-execute.rules 95-allow-open.rules /etc/fapolicyd/rules.d/
systemctl start fapolicyd
`

// stepFapolicyd: the rule of the package lets drd run, with the children that it starts, and nothing else that is not trusted.
func (n *node) stepFapolicyd(t *testing.T) {
	n.run(trustAllButDrd)
	n.wantDenied("/usr/bin/drd")
	n.follow("SELinux and fapolicyd")
	for _, file := range []string{"/opt/copy", "/var/lib/drd/copy"} {
		n.run("cp /usr/bin/drd " + file)
		n.wantDenied(file)
		n.run("rm " + file)
	}
	if out := n.run(asService + "drd verify --target nas"); !strings.Contains(out, "PASSED") {
		t.Errorf("%s", out)
	}
	n.run("systemctl stop fapolicyd")
}

// wantDenied waits until fapolicyd, which is still being started when systemd has started it, does not let a program run.
func (n *node) wantDenied(program string) {
	n.t.Helper()
	n.within(2*time.Minute, program+" is denied", func() error {
		if out, err := n.try(program + " version"); err == nil || !strings.Contains(out, "Operation not permitted") {
			return fmt.Errorf("%v: %s", err, out)
		}
		return nil
	})
}
