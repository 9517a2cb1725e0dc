package stig

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/drd-project/drd/internal/config"
)

// node is a made-up root. Its files have real modes, and belong to the user of the test, who counts as root and as etcd.
type node struct {
	t    *testing.T
	root string
}

func (n node) dir(path string, mode fs.FileMode) {
	n.t.Helper()
	full := filepath.Join(n.root, path)
	if err := os.MkdirAll(full, 0o755); err != nil {
		n.t.Fatal(err)
	}
	if err := os.Chmod(full, mode); err != nil {
		n.t.Fatal(err)
	}
}

func (n node) file(path string, mode fs.FileMode, content string) {
	n.t.Helper()
	full := filepath.Join(n.root, path)
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		n.t.Fatal(err)
	}
	if err := os.WriteFile(full, []byte(content), 0o600); err != nil {
		n.t.Fatal(err)
	}
	if err := os.Chmod(full, mode); err != nil {
		n.t.Fatal(err)
	}
}

func (n node) check(cfg *config.Config) []Finding {
	n.t.Helper()
	findings, err := inspector{root: n.root, uid: uint32(os.Getuid()), gid: uint32(os.Getgid())}.check(cfg, "/etc/drd/config.yaml")
	if err != nil {
		n.t.Fatal(err)
	}
	ids := make(map[string]bool)
	for _, f := range findings {
		if f.ID == "" || f.Control == "" || f.Subject == "" || f.Expected == "" || f.Found == "" || f.Result == "" {
			n.t.Errorf("incomplete: %+v", f)
		}
		if ids[f.ID+" "+f.Subject] {
			n.t.Errorf("twice: %s %s", f.ID, f.Subject)
		}
		ids[f.ID+" "+f.Subject] = true
	}
	return findings
}

// failed are the findings that have, as "ID SUBJECT: FOUND".
func failed(findings []Finding) []string {
	var all []string
	for _, f := range findings {
		if f.Result == Fail {
			all = append(all, fmt.Sprintf("%s %s: %s", f.ID, f.Subject, f.Found))
		}
	}
	return all
}

const unit = "[Service]\nUMask=0077\nLimitCORE=0\nMemorySwapMax=0\nNoNewPrivileges=yes\nProtectSystem=strict\nPrivateTmp=yes\nMemoryDenyWriteExecute=yes\n"

// hardened is a server of RKE2 with drd, on which everything is as the guides ask.
func hardened(t *testing.T) (node, *config.Config) {
	n := node{t, t.TempDir()}
	n.file("/usr/bin/drd", 0o755, "")
	n.file("/etc/drd/config.yaml", 0o644, "")
	n.file("/etc/drd/signing.key", 0o600, "")
	n.file("/etc/drd/s3-credentials", 0o400, "")
	n.file("/etc/drd/recipient.txt", 0o644, "")
	n.dir("/etc/drd", 0o700)
	n.file(unitFile, 0o644, unit)
	n.file("/etc/systemd/system/drd.service.d/own.conf", 0o644, "[Service]\nEnvironment=AWS_PROFILE=x AWS_CA_BUNDLE=/etc/ca AWS_WEB_IDENTITY_TOKEN_FILE=/run/token\n")
	n.file("/var/lib/drd/spool/object", 0o600, "")
	n.dir("/var/lib/drd/spool", 0o700)
	n.dir("/var/lib/drd", 0o700)

	const rke2 = "/var/lib/rancher/rke2/"
	n.file("/etc/rancher/rke2/config.yaml", 0o600, "profile: cis\ntoken: Planted0Secret\n")
	n.file(rke2+"server/db/etcd/config", 0o600, "listen-client-urls: https://127.0.0.1:2379\nlisten-metrics-urls: http://127.0.0.1:2381\n"+
		"client-transport-security: {cert-file: a, key-file: b, client-cert-auth: true}\npeer-transport-security: {cert-file: a, key-file: b, client-cert-auth: true}\n")
	n.file(rke2+"server/db/snapshots/etcd-snapshot-1", 0o600, "")
	for _, d := range []string{"db/etcd", "db/snapshots", "db", "cred", "tls/etcd", "tls"} {
		n.dir(rke2+"server/"+d, 0o700)
	}
	n.file(rke2+"server/tls/server-ca.crt", 0o644, "")
	n.file(rke2+"server/tls/server-ca.key", 0o600, "")
	n.file(rke2+"server/tls/etcd/server-ca.crt", 0o644, "")
	n.file(rke2+"server/tls/etcd/client.key", 0o600, "")
	n.file(rke2+"server/token", 0o600, "Planted0Secret")
	n.dir(rke2+"server/manifests", 0o750)
	n.dir(rke2+"server/logs", 0o750)
	n.file(rke2+"agent/pod-manifests/etcd.yaml", 0o600, "spec: {containers: [{args: [\"--config-file=/x\"], env: [{name: NO_PROXY, value: x}, {name: TOKEN_FILE, value: /x}]}]}\n")
	n.file(rke2+"agent/pod-manifests/kube-apiserver.yaml", 0o600, "spec:\n  containers:\n  - args:\n    - --audit-log-maxage=30\n    - --audit-log-mode=blocking-strict\n    - --audit-policy-file=/x\n"+
		"    - --tls-min-version=VersionTLS12\n    - --etcd-certfile=/x\n    - --etcd-cafile=/x\n    - --encryption-provider-config=/x\n")
	return n, &config.Config{
		StateDir: "/var/lib/drd", RuntimeDir: "/run/drd", Metrics: config.Metrics{Listen: "127.0.0.1:9877"},
		Etcd: config.Etcd{Endpoints: []string{"https://127.0.0.1:2379"}}, Seal: config.Seal{RecipientsFile: "/etc/drd/recipient.txt"},
		Signing: config.Signing{KeyFile: "/etc/drd/signing.key"},
		Targets: []config.Target{{Name: "primary", S3: &config.S3{CredentialsFile: "/etc/drd/s3-credentials"}}, {Name: "nas", Dir: "/mnt/nas"}},
	}
}

// etcdOwner is the one thing that one user cannot make: a file of another one.
const etcdOwner = "CIS-1.1.12 /var/lib/rancher/rke2/server/db/etcd: root:root"

func TestHardened(t *testing.T) {
	n, cfg := hardened(t)
	findings := n.check(cfg)
	if diff := cmp.Diff([]string{etcdOwner}, failed(findings)); diff != "" || Open(findings) != 1 {
		t.Errorf("open findings (-want +got):\n%s", diff)
	}
	passed := make(map[string]int)
	for _, f := range findings {
		if f.Result == Pass {
			passed[f.ID]++
		}
	}
	for _, id := range []string{"DRD-FILES", "DRD-UNIT", "DRD-SECRETS", "DRD-PORTS", "DRD-TRANSPORT", stigFiles, stigPorts, stigSecrets, stigAudit, stigAuditAge, stigTLS,
		"CIS-1.1.7", "CIS-1.1.8", "CIS-1.1.11", "CIS-1.1.19", "CIS-1.1.20", "CIS-1.1.21", "CIS-1.2.23", "CIS-1.2.26", "CIS-1.2.27", "CIS-2.1", "CIS-2.2", "CIS-2.3", "CIS-2.4", "CIS-2.5", "CIS-2.6"} {
		if passed[id] == 0 {
			t.Errorf("%s did not pass anywhere", id)
		}
	}
}

// TestDocumented: docs/stig.md has every rule.
func TestDocumented(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "stig.md"))
	if err != nil {
		t.Fatal(err)
	}
	n, cfg := hardened(t)
	for _, f := range append(n.check(cfg), node{t, t.TempDir()}.check(cfg)...) {
		if !strings.Contains(string(page), "`"+f.ID+"`") {
			t.Errorf("docs/stig.md does not name %s", f.ID)
		}
	}
}

// TestOwners: etcd's directory may be etcd's by the node's own table, and a file of a stranger is found.
func TestOwners(t *testing.T) {
	n, cfg := hardened(t)
	n.file("/etc/passwd", 0o644, fmt.Sprintf("root:x:77:77::/:\netcd:x:%d:%d::/:\n", os.Getuid(), os.Getgid()))
	n.file("/etc/group", 0o644, fmt.Sprintf("etcd:x:%d:\n", os.Getgid()))
	found := make(map[string]Finding)
	for _, f := range n.check(cfg) {
		found[f.ID+" "+f.Subject] = f
	}
	if f := found["CIS-1.1.12 /var/lib/rancher/rke2/server/db/etcd"]; f.Result != Pass || f.Found != "etcd:etcd" {
		t.Errorf("%+v", f)
	}
	if f := found["DRD-FILES /etc/drd/signing.key"]; f.Result != Fail || f.Found != "0600, etcd:etcd" || f.Expected != "0600 or stricter, root:root" {
		t.Errorf("%+v", f)
	}
}

// TestEachIsFound breaks one thing at a time.
func TestEachIsFound(t *testing.T) {
	const server, pods = "/var/lib/rancher/rke2/server", "/var/lib/rancher/rke2/agent/pod-manifests"
	edit := func(path, old, text string) func(n node, cfg *config.Config) {
		return func(n node, _ *config.Config) {
			content := string(inspector{root: n.root}.read(path))
			if !strings.Contains(content, old) {
				n.t.Fatalf("%s has no %q", path, old)
			}
			n.file(path, 0o600, strings.Replace(content, old, text, 1))
		}
	}
	chmod := func(path string, mode fs.FileMode) func(n node, cfg *config.Config) {
		return func(n node, _ *config.Config) {
			if err := os.Chmod(filepath.Join(n.root, path), mode); err != nil {
				n.t.Fatal(err)
			}
		}
	}
	for want, change := range map[string]func(n node, cfg *config.Config){
		"DRD-FILES /etc/drd/signing.key: 0640, root:root":                                                                                chmod("/etc/drd/signing.key", 0o640),
		"DRD-FILES /etc/drd/config.yaml: 0664, root:root":                                                                                chmod("/etc/drd/config.yaml", 0o664),
		"DRD-FILES /etc/drd: 0755, root:root":                                                                                            chmod("/etc/drd", 0o755),
		"DRD-FILES /usr/bin/drd: 4755, root:root":                                                                                        chmod("/usr/bin/drd", 0o755|fs.ModeSetuid),
		"DRD-FILES /var/lib/drd/**: 1 of 2 are not so; /var/lib/drd/spool/object is 0604, root:root":                                     chmod("/var/lib/drd/spool/object", 0o604),
		"DRD-FILES /var/lib/drd/**: 1 of 2 are not so; /var/lib/drd/spool is 0750, root:root":                                            chmod("/var/lib/drd/spool", 0o750),
		"DRD-UNIT drd.service LimitCORE: infinity":                                                                                       edit("/etc/systemd/system/drd.service.d/own.conf", "[Service]", "[Service]\nLimitCORE=infinity"),
		"DRD-UNIT drd.service ProtectSystem: not set":                                                                                    edit(unitFile, "ProtectSystem=strict\n", ""),
		"DRD-SECRETS drd.service Environment: AWS_SECRET_ACCESS_KEY":                                                                     edit("/etc/systemd/system/drd.service.d/own.conf", "AWS_PROFILE=x", "AWS_SECRET_ACCESS_KEY=Planted0Secret"),
		"DRD-PORTS metrics.listen: 0.0.0.0:9877":                                                                                         func(_ node, cfg *config.Config) { cfg.Metrics.Listen = "0.0.0.0:9877" },
		"DRD-TRANSPORT etcd.endpoints[0]: http":                                                                                          func(_ node, cfg *config.Config) { cfg.Etcd.Endpoints = []string{"http://127.0.0.1:2379"} },
		"DRD-TRANSPORT target primary: http":                                                                                             func(_ node, cfg *config.Config) { cfg.Targets[0].S3.Endpoint = "http://minio:9000" },
		"DRD-CRYPTO envelope age-v1: X25519 and ChaCha20-Poly1305, which are not approved; module in FIPS mode: no":                      func(n node, _ *config.Config) { n.file("/proc/sys/crypto/fips_enabled", 0o444, "1\n") },
		stigFiles + " /etc/rancher/rke2/config.yaml: 0640, root:root":                                                                    chmod("/etc/rancher/rke2/config.yaml", 0o640),
		stigFiles + " " + server + "/cred: 0711, root:root":                                                                              chmod(server+"/cred", 0o711),
		stigFiles + " " + server + "/token: 0640, root:root":                                                                             chmod(server+"/token", 0o640),
		stigFiles + " " + server + "/db/snapshots/**: 1 of 1 are not so; " + server + "/db/snapshots/etcd-snapshot-1 is 0644, root:root": chmod(server+"/db/snapshots/etcd-snapshot-1", 0o644),
		stigAudit + " /etc/rancher/rke2/config.yaml profile: not set":                                                                    edit("/etc/rancher/rke2/config.yaml", "profile: cis\n", ""),
		stigAudit + " " + pods + "/kube-apiserver.yaml --audit-log-mode: blocking":                                                       edit(pods+"/kube-apiserver.yaml", "blocking-strict", "blocking"),
		stigAuditAge + " " + pods + "/kube-apiserver.yaml --audit-log-maxage: 7":                                                         edit(pods+"/kube-apiserver.yaml", "maxage=30", "maxage=7"),
		stigTLS + " " + pods + "/kube-apiserver.yaml --tls-min-version: VersionTLS10":                                                    edit(pods+"/kube-apiserver.yaml", "VersionTLS12", "VersionTLS10"),
		stigPorts + " " + server + "/db/etcd/config listen-metrics-urls: http://127.0.0.1:2381,http://10.0.0.1:2381":                     edit(server+"/db/etcd/config", "http://127.0.0.1:2381", "http://127.0.0.1:2381,http://10.0.0.1:2381"),
		stigSecrets + " " + pods + "/etcd.yaml env: DB_PASSWORD":                                                                         edit(pods+"/etcd.yaml", "NO_PROXY", "DB_PASSWORD"),
		"CIS-1.1.7 " + pods + "/etcd.yaml: 0644":                                                                                         chmod(pods+"/etcd.yaml", 0o644),
		"CIS-1.1.11 " + server + "/db/etcd: 0755":                                                                                        chmod(server+"/db/etcd", 0o755),
		"CIS-1.1.20 " + server + "/tls/**.crt: 1 of 2 are not so; " + server + "/tls/server-ca.crt is 0664":                              chmod(server+"/tls/server-ca.crt", 0o664),
		"CIS-1.1.21 " + server + "/tls/**.key: 1 of 2 are not so; " + server + "/tls/etcd/client.key is 0644":                            chmod(server+"/tls/etcd/client.key", 0o644),
		"CIS-1.2.27 " + pods + "/kube-apiserver.yaml --encryption-provider-config: not set":                                              edit(pods+"/kube-apiserver.yaml", "--encryption-provider-config=/x", ""),
		"CIS-2.2 etcd client-cert-auth: false":                                                                                           edit(server+"/db/etcd/config", "client-cert-auth: true", "client-cert-auth: false"),
		"CIS-2.3 etcd auto-tls: true":                                                                                                    edit(server+"/db/etcd/config", "listen-client-urls", "auto-tls: true\nlisten-client-urls"),
		"CIS-2.4 etcd peer-cert-file and peer-key-file: b":                                                                               edit(server+"/db/etcd/config", "peer-transport-security: {cert-file: a,", "peer-transport-security: {"),
	} {
		t.Run(want, func(t *testing.T) {
			n, cfg := hardened(t)
			n.t = t
			change(n, cfg)
			findings := n.check(cfg)
			if diff := cmp.Diff([]string{etcdOwner, want}, failed(findings), sorted); diff != "" {
				t.Errorf("open findings (-want +got):\n%s", diff)
			}
			if text := fmt.Sprintf("%+v", findings); strings.Contains(text, "Planted0Secret") {
				t.Error("a secret is repeated")
			}
		})
	}
}

// TestWithTLS: an address for others is good with TLS.
func TestWithTLS(t *testing.T) {
	n, cfg := hardened(t)
	cfg.Metrics = config.Metrics{Listen: ":9877", WebConfigFile: "/etc/drd/web.yaml"}
	n.file("/etc/drd/web.yaml", 0o600, "basic_auth_users: {a: b}\n")
	if got := failed(n.check(cfg)); len(got) != 2 {
		t.Errorf("passwords in the clear: %q", got)
	}
	n.file("/etc/drd/web.yaml", 0o600, "tls_server_config: {cert_file: x, key_file: y}\n")
	if got := failed(n.check(cfg)); len(got) != 1 {
		t.Errorf("with TLS: %q", got)
	}
}

// TestElsewhere: without RKE2 its rules do not apply; those about etcd do on kubeadm.
func TestElsewhere(t *testing.T) {
	n := node{t, t.TempDir()}
	cfg := &config.Config{Metrics: config.Metrics{Listen: "localhost:9877"}, StateDir: "/var/lib/drd", RuntimeDir: "/run/drd"}
	findings := n.check(cfg)
	if open := failed(findings); len(open) != 0 {
		t.Errorf("nothing is there, and open are %q", open)
	}
	n.file("/etc/kubernetes/manifests/etcd.yaml", 0o644, "spec: {containers: [{command: [etcd, \"--data-dir=/var/lib/etcd\", \"--client-cert-auth=true\", \"--peer-client-cert-auth=true\", \"--cert-file=a\", \"--key-file=b\", \"--peer-cert-file=a\", \"--peer-key-file=b\"]}]}\n")
	n.dir("/var/lib/etcd", 0o700)
	want := []string{"CIS-1.1.7 /etc/kubernetes/manifests/etcd.yaml: 0644", "CIS-1.1.12 /var/lib/etcd: root:root"}
	for _, f := range []string{"etcd-certfile", "etcd-cafile", "encryption-provider-config"} {
		id := map[string]string{"etcd-certfile": "23", "etcd-cafile": "26", "encryption-provider-config": "27"}[f]
		want = append(want, "CIS-1.2."+id+" /etc/kubernetes/manifests/kube-apiserver.yaml --"+f+": not set")
	}
	if diff := cmp.Diff(want, failed(n.check(cfg)), sorted); diff != "" {
		t.Errorf("kubeadm: open findings (-want +got):\n%s", diff)
	}
}

var sorted = cmp.Transformer("sorted", func(in []string) map[string]bool {
	set := make(map[string]bool)
	for _, s := range in {
		set[s] = true
	}
	return set
})
