//go:build systemd

package systemd

import (
	"strings"
	"testing"
)

const asCredentials = `s|"/etc/drd/signing.key"|"${CREDENTIALS_DIRECTORY}/signing.key"|
s|"/etc/drd/s3-credentials"|"${CREDENTIALS_DIRECTORY}/s3-credentials"|
`

// stepCredentials: signing key and S3 credentials come from systemd, also for the check of a reload.
func (n *node) stepCredentials(t *testing.T) {
	n.edits("config.yaml.sed", asCredentials)
	n.wantGreen(n.follow("Credentials"))
	n.wantActive()
	n.wantCredentials("LoadCredential=")
	n.run("systemctl reload drd")
	n.wantActive()
}

// stepEncrypted: sealed to the machine, and the plain files gone, also at the next boot.
func (n *node) stepEncrypted(t *testing.T) {
	n.wantGreen(n.follow("Encrypted credentials"))
	n.wantActive()
	n.wantCredentials("LoadCredentialEncrypted=")
	if out := n.run("ls -A /etc/drd"); strings.Contains(out, "signing.key\n") || strings.Contains(out, "s3-credentials") {
		t.Errorf("plain files are left:\n%s", out)
	}
	for name, plain := range map[string]string{"signing.key": "PRIVATE KEY", "s3-credentials": "aws_secret_access_key"} {
		if n.run("grep -c '"+plain+"' /etc/credstore.encrypted/"+name+" || true") != "0\n" {
			t.Errorf("%s is not sealed", name)
		}
	}
	n.reboot()
	n.wantRunning()
	n.wantServers()
	n.wantGreen(n.run(asService + "drd check"))
}

// wantCredentials: the service has them, by this setting, from nowhere but memory, and they are for root only.
func (n *node) wantCredentials(setting string) {
	n.t.Helper()
	if out := n.run("systemctl cat drd"); strings.Count(out, "\n"+setting) != 2 {
		n.t.Errorf("the credentials are not by %s:\n%s", setting, out)
	}
	for _, name := range []string{"signing.key", "s3-credentials"} {
		if got := n.run("stat -c %a /run/credentials/drd.service/" + name); got != "400\n" {
			n.t.Errorf("mode of the credential %s: %s", name, got)
		}
	}
}
