//go:build systemd

package systemd

import (
	"strings"
	"testing"
)

// asMake has what make package makes in place: a machine without a network has no compiler for it, and TestReproducible has packaging/build
// do it.
const asMake = `make() { [ "$*" = package ] && mkdir -p dist && cp packages/* dist/; }
`

// TestReadme follows the README from its installation to its restore. Of its configuration, the store is another one than Amazon's.
func TestReadme(t *testing.T) {
	t.Parallel()
	readme, config := readPage(t, "README.md", ""), readPage(t, "README.md", "yaml")
	n := newNode(t)
	n.put(build(t, tree(t), "--version", older, "--arch", "amd64", "--format", "deb"), "/root/packages")
	n.run("mkdir -p /etc/kubernetes/pki /mnt/nas/drd && cp -r /etc/etcd/pki /etc/kubernetes/pki/etcd && cd /etc/kubernetes/pki/etcd && mv client.crt healthcheck-client.crt && mv client.key healthcheck-client.key")
	n.run("systemctl start etcd minio")
	n.wantServers()
	n.run("etcdctl-tls put k v")

	install := readme.blocks(t, "Install")
	if len(install) != 3 {
		t.Fatalf("README.md has %d blocks of commands to install it", len(install))
	}
	n.run(asMake + strings.ReplaceAll(install[0], "apt-get install", "apt-get install -y"))
	n.run(install[1])
	n.run("cp safe/recipient.txt /etc/drd/ && cp /etc/drd/allowed_signers safe/ && install -m 600 s3-credentials /etc/drd/s3-credentials && cp /etc/etcd/pki/ca.crt /etc/drd/s3-ca.crt")
	const store = "      region: us-east-1\n      endpoint: https://127.0.0.1:9000\n      path_style: true\n      ca_file: /etc/drd/s3-ca.crt\n"
	n.write("/etc/drd/config.yaml", strings.Replace(config.commands(t, "Install"), "      region: eu-central-1\n", store, 1), 0o600)
	out := n.run(install[2])
	for _, want := range []string{"config.yaml is good", "ok       target primary ", "PASSED", "prod-east: recoverable to 20", ", proved "} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	n.wantActive()
	n.restoreByReadme(readme)
}

// restoreByReadme does it where the identity is, at a terminal, and starts an etcd on what has come back.
func (n *node) restoreByReadme(readme *page) {
	n.t.Helper()
	const store = "region=us-east-1&endpoint=https://127.0.0.1:9000&path_style=true&ca_file=/etc/drd/s3-ca.crt"
	n.write("/root/safe/restore", "set -e\n"+strings.ReplaceAll(readme.commands(n.t, "Restore"), "region=eu-central-1", store), 0o700)
	n.run("systemctl stop drd etcd && mv /var/lib/etcd /var/lib/etcd.lost")
	n.run("cd safe && export AWS_SHARED_CREDENTIALS_FILE=/etc/drd/s3-credentials && echo yes | script --quiet --return --command 'bash restore' /dev/null")
	n.run(`systemd-run --quiet --property=Type=notify /usr/local/bin/etcd --name cp-1 --data-dir /var/lib/etcd \
		--initial-cluster cp-1=https://10.0.0.1:2380 --initial-advertise-peer-urls https://10.0.0.1:2380 --listen-peer-urls http://127.0.0.1:2380 \
		--listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379`)
	if got := n.run("etcdctl get k --print-value-only"); got != "v\n" {
		n.t.Errorf("the restored etcd has %q", got)
	}
}
