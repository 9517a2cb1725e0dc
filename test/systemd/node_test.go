//go:build systemd

package systemd

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/drd-project/drd/internal/preflight"
	"github.com/drd-project/drd/test/servers"
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

// editor writes what is at the same place below /root/edits: whole files, and scripts for sed.
const editor = `#!/bin/sh
set -e
edit=/root/edits/${1##*/}
if [ -f "$edit.sed" ]; then sed -i -f "$edit.sed" "$1" && rm "$edit.sed"; else cat "$edit" >"$1" && rm "$edit"; fi
`

// node is a machine with an etcd and a store, neither of which runs yet, and without drd.
type node struct {
	*machine
	ca   *servers.CA
	page *page // docs/install.md
}

func newNode(t *testing.T) *node {
	t.Helper()
	n := &node{machine: boot(t, rootfs(t)), ca: servers.NewCA(t)}
	for file, tool := range map[string]string{"etcd": "etcd-3.7", "etcdctl": "etcdctl-3.7"} {
		n.install(servers.Tool(t, tool), "/usr/local/bin/"+file, 0o755)
	}
	n.install(n.ca.CertFile(), "/etc/etcd/pki/ca.crt", 0o644)
	for _, name := range []string{"server", "client"} {
		n.certificate("/etc/etcd/pki/"+name+".crt", "/etc/etcd/pki/"+name+".key")
	}
	n.write("/etc/systemd/system/etcd.service", etcdUnit, 0o644)
	n.write("/usr/local/bin/etcdctl-tls", "#!/bin/sh\nexec etcdctl --endpoints https://127.0.0.1:2379 --cacert /etc/etcd/pki/ca.crt --cert /etc/etcd/pki/client.crt --key /etc/etcd/pki/client.key \"$@\"\n", 0o755)
	n.write("/usr/local/bin/editor", editor, 0o755)
	n.installStore()
	n.run("mkdir -p /var/backups/drd && systemctl daemon-reload")
	return n
}

// certificate issues one for servers and clients on the machine's loopback.
func (n *node) certificate(cert, key string) {
	n.t.Helper()
	certFile, keyFile := n.ca.Issue(n.t, filepath.Base(cert))
	n.install(certFile, cert, 0o644)
	n.install(keyFile, key, 0o600)
}

// follow runs the commands of a section of the page.
func (n *node) follow(section string) string {
	n.t.Helper()
	return n.run(n.page.commands(n.t, section))
}

// edits is what the operator does to a file in the editor, the next time.
func (n *node) edits(file, text string) {
	n.t.Helper()
	n.write("/root/edits/"+file, text, 0o600)
}

// put brings the packages of a build into a directory, in place of those that are there.
func (n *node) put(dist, dir string) {
	n.t.Helper()
	n.run(fmt.Sprintf("mkdir -p %s && rm -f %[1]s/drd* %[1]s/SHA256SUMS", dir))
	files, err := os.ReadDir(dist)
	if err != nil {
		n.t.Fatal(err)
	}
	for _, f := range files {
		n.install(filepath.Join(dist, f.Name()), filepath.Join(dir, f.Name()), 0o644)
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

// wantRunning waits for a service that systemd has started by itself.
func (n *node) wantRunning() {
	n.t.Helper()
	n.within(2*time.Minute, "a running service", func() error {
		if state := n.property("drd", "SubState"); state != "running" {
			return errors.New(state)
		}
		return nil
	})
}

// wantActive waits while it reloads: the service says so itself, and ExecReload= is over before.
func (n *node) wantActive() {
	n.t.Helper()
	n.within(time.Minute, "an active service", func() error {
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

// asService lets a command have the credentials of the service.
const asService = "env CREDENTIALS_DIRECTORY=/run/credentials/drd.service "

// finding is a line of drd check.
var finding = regexp.MustCompile(`(?m)^(ok|warning|failed) +([a-z].*?)  .*$`)

// ofTheHost are the checks of what a container has from its host.
var ofTheHost = []string{"clock", "memory", "disk", "disk spool", "disk scratch", "target nas room"}

// wantGreen wants no warning of drd check, about anything, and looks for what it says about a bucket.
func (n *node) wantGreen(checks string) {
	n.t.Helper()
	green := make(map[string]bool)
	for _, f := range finding.FindAllStringSubmatch(checks, -1) {
		if green[f[2]] = f[1] == "ok"; f[1] != "ok" && !slices.Contains(ofTheHost, f[2]) {
			n.t.Error(f[0])
		}
	}
	for _, name := range []string{"target primary", "target primary checksum", "target primary object lock", "target primary delete", "target nas", "audit log", "unit"} {
		if !green[name] {
			n.t.Errorf("%s is not ok:\n%s", name, checks)
		}
	}
}

// wantServers waits for etcd and the store after a boot.
func (n *node) wantServers() {
	n.t.Helper()
	n.within(3*time.Minute, "etcd and the store", func() error {
		out, err := n.try("etcdctl-tls endpoint health && exec 3<>/dev/tcp/127.0.0.1/9000")
		if err != nil {
			return errors.New(out)
		}
		return nil
	})
	n.within(3*time.Minute, "a service that has them, too", func() error {
		if s := n.status(); preflight.Troubled(s) {
			return errors.New(s)
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
	n.write("/etc/drd/config.yaml", strings.Replace(string(text), old, new, 1), 0o600)
}

// step is one of those that follow each other on a machine.
type step struct {
	name string
	run  func(*node, *testing.T)
}

// take runs steps, each as a test of its own, and ends with the first that fails.
func (n *node) take(t *testing.T, steps []step) {
	t.Helper()
	for _, s := range steps {
		began := time.Now()
		passed := t.Run(s.name, func(t *testing.T) {
			n.t = t
			s.run(n, t)
		})
		n.t = t
		if !passed {
			t.Fatal("the steps after it need what it should have done")
		}
		t.Logf("%s: %v", s.name, time.Since(began).Round(100*time.Millisecond))
	}
}
