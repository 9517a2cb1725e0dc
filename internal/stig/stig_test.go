package stig

import (
	"encoding/pem"
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
	t       *testing.T
	root    string
	systemd bool // is asked, as far as PATH has a systemctl
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
	findings, err := inspector{root: n.root, systemd: n.systemd, uid: uint32(os.Getuid()), gid: uint32(os.Getgid())}.check(n.t.Context(), cfg, "/etc/drd/config.yaml")
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

const unitFile = "/usr/lib/systemd/system/drd.service"

// shipped is the text of a unit as the packages have it.
func shipped(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "systemd", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// hardened is a server of RKE2 with drd, on which everything is as the guides ask.
func hardened(t *testing.T) (node, *config.Config) {
	n := node{t: t, root: t.TempDir()}
	n.file("/usr/bin/drd", 0o755, "")
	n.file("/etc/drd/config.yaml", 0o644, "")
	n.file("/etc/drd/signing.key", 0o600, "")
	n.file("/etc/drd/s3-credentials", 0o400, "")
	n.file("/etc/drd/recipient.txt", 0o644, "")
	n.dir("/etc/drd", 0o700)
	n.file("/etc/passwd", 0o644, "etcd:x:4242:4242::/:\n")
	n.file("/etc/group", 0o644, "etcd:x:4242:\n")
	n.file(unitFile, 0o644, shipped(t, "drd.service"))
	n.file("/usr/lib/systemd/system/drd-verify.service", 0o644, shipped(t, "drd-verify.service"))
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
	n.file(rke2+"server/tls/client-ca.crt", 0o644, certificate("cluster"))
	n.file(rke2+"server/cred/encryption-config.json", 0o600, `{"resources":[{"resources":["secrets"],"providers":[{"aescbc":{"keys":[{"name":"k","secret":"Planted0Secret"}]}},{"identity":{}}]}]}`)
	n.file(rke2+"server/tls/server-ca.key", 0o600, "")
	n.file(rke2+"server/tls/etcd/server-ca.crt", 0o644, certificate("etcd"))
	n.file(rke2+"server/tls/etcd/client.key", 0o600, "")
	n.file(rke2+"server/token", 0o600, "Planted0Secret")
	n.dir(rke2+"server/manifests", 0o750)
	n.dir(rke2+"server/logs", 0o750)
	n.file(rke2+"agent/pod-manifests/etcd.yaml", 0o600, "spec: {containers: [{args: [\"--config-file=/x\"], env: [{name: NO_PROXY, value: x}, {name: TOKEN_FILE, value: /x}]}]}\n")
	const tls = "--tls-min-version=VersionTLS12, \"--tls-cipher-suites=TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256\""
	n.file(rke2+"agent/pod-manifests/kube-apiserver.yaml", 0o600, "# --audit-log-mode=blocking-strict\nspec:\n  containers:\n  - command: [kube-apiserver]\n    args: ["+tls+", --audit-log-maxage=30, --audit-log-mode=blocking-strict,\n"+
		"      --audit-policy-file=/x, --etcd-certfile=/x, --etcd-keyfile=/x, --etcd-cafile=/x, --anonymous-auth=false, \"--authorization-mode=Node,RBAC\", --admission-control-config-file=/x,\n"+
		"      --client-ca-file="+rke2+"server/tls/client-ca.crt, --encryption-provider-config="+rke2+"server/cred/encryption-config.json]\n")
	n.file(rke2+"agent/pod-manifests/kube-controller-manager.yaml", 0o600, "spec: {containers: [{args: [--bind-address=127.0.0.1, --use-service-account-credentials=true, "+tls+"]}]}\n")
	n.file(rke2+"agent/pod-manifests/kube-scheduler.yaml", 0o600, "spec: {containers: [{args: ["+tls+"]}]}\n")
	n.file("/proc/77/cmdline", 0o444, "/var/lib/rancher/rke2/bin/kubelet\x00--anonymous-auth=false\x00--read-only-port=0\x00--config-dir="+rke2+"agent/etc/kubelet.conf.d\x00")
	n.file(rke2+"agent/etc/kubelet.conf.d/00.conf", 0o600, "authentication: {anonymous: {enabled: true}}\nauthorization: {mode: Webhook}\nstreamingConnectionIdleTimeout: 4h\n")
	n.file(rke2+"agent/etc/kubelet.conf.d/10.conf", 0o600, "streamingConnectionIdleTimeout: 5m0s\nprotectKernelDefaults: true\n")
	n.file(rke2+"agent/kubelet.kubeconfig", 0o640, "")
	n.file(rke2+"bin/kubelet", 0o750, "")
	for _, d := range []string{"agent/etc", "agent/pod-manifests"} {
		n.dir(rke2+d, 0o700)
	}
	n.dir(rke2+"data", 0o750)
	return n, &config.Config{
		StateDir: "/var/lib/drd", RuntimeDir: "/run/drd", Metrics: config.Metrics{Listen: "127.0.0.1:9877"},
		Etcd: config.Etcd{Endpoints: []string{"https://127.0.0.1:2379"}}, Seal: config.Seal{RecipientsFile: "/etc/drd/recipient.txt"},
		Signing: config.Signing{KeyFile: "/etc/drd/signing.key"},
		Targets: []config.Target{{Name: "primary", S3: &config.S3{CredentialsFile: "/etc/drd/s3-credentials"}}, {Name: "nas", Dir: "/mnt/nas"}},
	}
}

// certificate looks like one in its file.
func certificate(content string) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte(content)}))
}

// etcdOwner is the one thing that one user cannot make: files of another one.
var etcdOwner = []string{
	"CIS-1.1.12 /var/lib/rancher/rke2/server/db/etcd: root:root", "CIS-1.1.12 /var/lib/rancher/rke2/server/db/etcd/config: root:root",
	"CIS-1.1.12 /var/lib/rancher/rke2/server/db/etcd/**: 1 of 1 are not so",
}

func TestHardened(t *testing.T) {
	n, cfg := hardened(t)
	findings := n.check(cfg)
	if diff := cmp.Diff(etcdOwner, failed(findings), sorted); diff != "" || Open(findings) != len(etcdOwner) {
		t.Errorf("open findings (-want +got):\n%s", diff)
	}
	passed := make(map[string]int)
	for _, f := range findings {
		if f.Result == Pass {
			passed[f.ID]++
		}
	}
	for _, id := range []string{
		"DRD-FILES", "DRD-UNIT", "DRD-SECRETS", "DRD-PORTS", "DRD-TRANSPORT",
		stigTLS, stigAccounts, stigAudit, stigController, stigKubeletAnon, stigKubeletPort, stigKubeletAuth, stigAnonymous, stigAuditAge, stigFiles, stigPorts, stigSecrets,
		stigIdle, stigKernel, stigPodSecurity, stigAuthorization,
		"CIS-1.1.7", "CIS-1.1.8", "CIS-1.1.11", "CIS-1.1.12", "CIS-1.1.19", "CIS-1.1.20", "CIS-1.1.21", "CIS-1.2.23", "CIS-1.2.26", "CIS-1.2.27", "CIS-1.2.28",
		"CIS-2.1", "CIS-2.2", "CIS-2.3", "CIS-2.4", "CIS-2.5", "CIS-2.6", "CIS-2.7",
	} {
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
	for _, f := range append(n.check(cfg), node{t: t, root: t.TempDir()}.check(cfg)...) {
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
		"DRD-FILES /etc/drd/signing.key: 0640, root:root":                                                           chmod("/etc/drd/signing.key", 0o640),
		"DRD-FILES /etc/drd/config.yaml: 0664, root:root":                                                           chmod("/etc/drd/config.yaml", 0o664),
		"DRD-FILES /etc/drd: 0755, root:root":                                                                       chmod("/etc/drd", 0o755),
		"DRD-FILES /usr/bin/drd: 4755, root:root":                                                                   chmod("/usr/bin/drd", 0o755|fs.ModeSetuid),
		"DRD-FILES /var/lib/drd/spool/object: 0604, root:root\nDRD-FILES /var/lib/drd/**: 1 of 2 are not so":        chmod("/var/lib/drd/spool/object", 0o604),
		"DRD-FILES /var/lib/drd/spool: 0750, root:root\nDRD-FILES /var/lib/drd/**: 1 of 2 are not so":               chmod("/var/lib/drd/spool", 0o750),
		"DRD-UNIT drd.service LimitCORE: infinity":                                                                  edit("/etc/systemd/system/drd.service.d/own.conf", "[Service]", "[Service]\nLimitCORE=infinity"),
		"DRD-UNIT drd.service ProtectSystem: not set":                                                               edit(unitFile, "ProtectSystem=strict\n", ""),
		"DRD-SECRETS drd.service Environment: AWS_SECRET_ACCESS_KEY":                                                edit("/etc/systemd/system/drd.service.d/own.conf", "AWS_PROFILE=x", "AWS_SECRET_ACCESS_KEY=Planted0Secret"),
		"DRD-PORTS metrics.listen: 0.0.0.0:9877":                                                                    func(_ node, cfg *config.Config) { cfg.Metrics.Listen = "0.0.0.0:9877" },
		"DRD-TRANSPORT etcd.endpoints[0]: http":                                                                     func(_ node, cfg *config.Config) { cfg.Etcd.Endpoints = []string{"http://127.0.0.1:2379"} },
		"DRD-TRANSPORT target primary: http":                                                                        func(_ node, cfg *config.Config) { cfg.Targets[0].S3.Endpoint = "http://minio:9000" },
		"DRD-CRYPTO envelope age-v1: X25519 and ChaCha20-Poly1305, which are not approved; module in FIPS mode: no": func(n node, _ *config.Config) { n.file("/proc/sys/crypto/fips_enabled", 0o444, "1\n") },
		stigFiles + " /etc/rancher/rke2/config.yaml: 0640, root:root":                                               chmod("/etc/rancher/rke2/config.yaml", 0o640),
		stigFiles + " " + server + "/cred: 0711, root:root":                                                         chmod(server+"/cred", 0o711),
		stigFiles + " " + server + "/token: 0640, root:root":                                                        chmod(server+"/token", 0o640),
		stigFiles + " " + server + "/db/snapshots/etcd-snapshot-1: 0644, root:root\n" + stigFiles + " " + server + "/db/snapshots/**: 1 of 1 are not so": chmod(server+"/db/snapshots/etcd-snapshot-1", 0o644),
		stigAudit + " /etc/rancher/rke2/config.yaml profile: etcd":                                                                                       edit("/etc/rancher/rke2/config.yaml", "profile: cis\n", "profile: etcd\n"),
		stigAudit + " " + pods + "/kube-apiserver.yaml --audit-log-mode: blocking":                                                                       edit(pods+"/kube-apiserver.yaml", "30, --audit-log-mode=blocking-strict", "30, --audit-log-mode=blocking"),
		stigAuditAge + " " + pods + "/kube-apiserver.yaml --audit-log-maxage: 7":                                                                         edit(pods+"/kube-apiserver.yaml", "maxage=30", "maxage=7"),
		stigTLS + " " + pods + "/kube-apiserver.yaml --tls-min-version: VersionTLS10":                                                                    edit(pods+"/kube-apiserver.yaml", "VersionTLS12", "VersionTLS10"),
		stigPorts + " " + server + "/db/etcd/config listen-metrics-urls: http://127.0.0.1:2381,http://10.0.0.1:2381":                                     edit(server+"/db/etcd/config", "http://127.0.0.1:2381", "http://127.0.0.1:2381,http://10.0.0.1:2381"),
		stigSecrets + " " + pods + "/etcd.yaml env: DB_PASSWORD":                                                                                         edit(pods+"/etcd.yaml", "NO_PROXY", "DB_PASSWORD"),
		"CIS-1.1.7 " + pods + "/etcd.yaml: 0644":                                                                                                         chmod(pods+"/etcd.yaml", 0o644),
		"CIS-1.1.11 " + server + "/db/etcd: 0755":                                                                                                        chmod(server+"/db/etcd", 0o755),
		"CIS-1.1.20 " + server + "/tls/server-ca.crt: 0664\nCIS-1.1.20 " + server + "/tls/**.crt: 1 of 3 are not so":                                     chmod(server+"/tls/server-ca.crt", 0o664),
		"CIS-1.1.21 " + server + "/tls/etcd/client.key: 0644\nCIS-1.1.21 " + server + "/tls/**.key: 1 of 2 are not so":                                   chmod(server+"/tls/etcd/client.key", 0o644),
		"CIS-1.2.27 " + pods + "/kube-apiserver.yaml --encryption-provider-config: not set\nCIS-1.2.28 " + pods + "/kube-apiserver.yaml provider of secrets: not set": func(n node, _ *config.Config) {
			edit(pods+"/kube-apiserver.yaml", "--encryption-provider-config=", "--none=")(n, nil)
		},
		"CIS-2.2 etcd client-cert-auth: false": edit(server+"/db/etcd/config", "client-cert-auth: true", "client-cert-auth: false"),
		"CIS-2.3 etcd auto-tls: true":          edit(server+"/db/etcd/config", "listen-client-urls", "auto-tls: true\nlisten-client-urls"),
		"CIS-2.4 etcd peer-cert-file: not set": edit(server+"/db/etcd/config", "peer-transport-security: {cert-file: a,", "peer-transport-security: {"),
		"DRD-SECRETS drd.service EnvironmentFile: MINIO_ROOT_PASSWORD": func(n node, _ *config.Config) {
			edit("/etc/systemd/system/drd.service.d/own.conf", "[Service]", "[Service]\nEnvironmentFile=-/etc/default/%N*")(n, nil)
			n.file("/etc/default/drd.env", 0o600, "MINIO_ROOT_PASSWORD=Planted0Secret\n")
		},
		"DRD-SECRETS drd.service SetCredential: signing.key":                                           edit("/etc/systemd/system/drd.service.d/own.conf", "[Service]", "[Service]\nSetCredential=signing.key:Planted0Secret"),
		"DRD-SECRETS drd.service PassEnvironment: API_TOKEN":                                           edit("/etc/systemd/system/drd.service.d/own.conf", "[Service]", "[Service]\nPassEnvironment=HOME API_TOKEN"),
		"DRD-UNIT drd.service CapabilityBoundingSet: CAP_DAC_READ_SEARCH CAP_SYS_ADMIN":                edit("/etc/systemd/system/drd.service.d/own.conf", "[Service]", "[Service]\nCapabilityBoundingSet=CAP_DAC_READ_SEARCH CAP_SYS_ADMIN"),
		"DRD-UNIT drd.service CapabilityBoundingSet: not set":                                          edit(unitFile, "CapabilityBoundingSet=\n", ""),
		"DRD-UNIT drd.service SystemCallFilter: @system-service ~@privileged @keyring @memlock @mount": edit("/etc/systemd/system/drd.service.d/own.conf", "[Service]", "[Service]\nSystemCallFilter=@mount"),
		"DRD-UNIT drd.service RestrictAddressFamilies: none":                                           edit("/etc/systemd/system/drd.service.d/own.conf", "[Service]", "[Service]\nRestrictAddressFamilies="),
		"DRD-UNIT drd.service ProtectHome: no": func(n node, _ *config.Config) {
			n.file("/run/systemd/system/service.d/x.conf", 0o644, "[Service]\nProtectHome=no\n")
			n.file("/etc/systemd/system/drd-verify.service.d/y.conf", 0o644, "[Service]\nProtectHome=yes\n")
		},
		"DRD-UNIT drd-verify.service RestrictNamespaces: user net mnt":  edit("/usr/lib/systemd/system/drd-verify.service", "RestrictNamespaces=user net", "RestrictNamespaces=user net mnt"),
		stigFiles + " /etc/rancher/rke2: 0777, root:root":               chmod("/etc/rancher/rke2", 0o777),
		stigFiles + " /etc/rancher/rke2/config.yaml.d: 0777, root:root": func(n node, _ *config.Config) { n.dir("/etc/rancher/rke2/config.yaml.d", 0o777) },
		stigFiles + " /etc/rancher/rke2/config.yaml.d/10.yaml: 0644, root:root\n" + stigFiles + " /etc/rancher/rke2/config.yaml.d/**: 1 of 1 are not so": func(n node, _ *config.Config) {
			n.file("/etc/rancher/rke2/config.yaml.d/10.yaml", 0o644, "")
			n.dir("/etc/rancher/rke2/config.yaml.d", 0o700)
		},
		stigFiles + " /var/lib/rancher/rke2/agent/pod-manifests: 0755, root:root":                                                                     chmod(pods, 0o755),
		stigFiles + " /var/lib/rancher/rke2/bin/kubelet: 0755, root:root":                                                                             chmod("/var/lib/rancher/rke2/bin/kubelet", 0o755),
		stigFiles + " /var/lib/rancher/rke2/data: 0755, root:root":                                                                                    chmod("/var/lib/rancher/rke2/data", 0o755),
		stigAudit + " " + pods + "/kube-apiserver.yaml --audit-log-mode: not set":                                                                     edit(pods+"/kube-apiserver.yaml", "30, --audit-log-mode=blocking-strict", "30"), // it stands in a comment still
		stigTLS + " " + pods + "/kube-apiserver.yaml --tls-cipher-suites: TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA,TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": edit(pods+"/kube-apiserver.yaml", "AES_256_GCM_SHA384", "AES_128_CBC_SHA"),
		stigTLS + " " + pods + "/kube-scheduler.yaml --tls-min-version: not set":                                                                      edit(pods+"/kube-scheduler.yaml", "--tls-min-version=VersionTLS12, ", ""),
		stigAccounts + " " + pods + "/kube-controller-manager.yaml --use-service-account-credentials: false":                                          edit(pods+"/kube-controller-manager.yaml", "credentials=true", "credentials=false"),
		stigController + " " + pods + "/kube-controller-manager.yaml --bind-address: 0.0.0.0":                                                         edit(pods+"/kube-controller-manager.yaml", "127.0.0.1", "0.0.0.0"),
		stigAnonymous + " " + pods + "/kube-apiserver.yaml --anonymous-auth: true":                                                                    edit(pods+"/kube-apiserver.yaml", "anonymous-auth=false", "anonymous-auth=true"),
		stigPodSecurity + " " + pods + "/kube-apiserver.yaml --admission-control-config-file: not set":                                                edit(pods+"/kube-apiserver.yaml", ", --admission-control-config-file=/x", ""),
		stigAuthorization + " " + pods + "/kube-apiserver.yaml --authorization-mode: AlwaysAllow":                                                     edit(pods+"/kube-apiserver.yaml", "Node,RBAC", "AlwaysAllow"),
		stigKubeletAnon + " kubelet --anonymous-auth: true":                                                                                           edit("/proc/77/cmdline", "--anonymous-auth=false\x00", ""),
		stigKubeletPort + " kubelet --read-only-port: 10255":                                                                                          edit("/proc/77/cmdline", "port=0", "port=10255"),
		stigKubeletAuth + " kubelet --authorization-mode: AlwaysAllow":                                                                                edit("/proc/77/cmdline", "--read", "--authorization-mode=AlwaysAllow\x00--read"),
		stigIdle + " kubelet --streaming-connection-idle-timeout: 0s":                                                                                 edit("/var/lib/rancher/rke2/agent/etc/kubelet.conf.d/10.conf", "5m0s", "0s"),
		stigKernel + " kubelet --protect-kernel-defaults: not set":                                                                                    edit("/var/lib/rancher/rke2/agent/etc/kubelet.conf.d/10.conf", "protectKernelDefaults: true", ""),
		stigPorts + " " + server + "/db/etcd/config listen-metrics-urls: http://127.0.0.1:2381,http://10.0.0.2:2381":                                  edit(server+"/db/etcd/config", "listen-metrics-urls: http://127.0.0.1:2381", "listen-metrics-urls: \"http://127.0.0.1:2381,http://10.0.0.2:2381\""),
		"CIS-1.1.12 /etc/passwd etcd: not there":                                                                                                      func(n node, _ *config.Config) { n.file("/etc/passwd", 0o644, "etcd2:x:1:1::/:\n") },
		"CIS-1.1.21 " + server + "/tls/sub/x.key: 0666\nCIS-1.1.21 " + server + "/tls/**.key: 1 of 3 are not so":                                      func(n node, _ *config.Config) { n.file(server+"/tls/sub/x.key", 0o666, "") },
		"CIS-1.2.28 " + pods + "/kube-apiserver.yaml provider of secrets: identity":                                                                   edit(server+"/cred/encryption-config.json", `"providers":[`, `"providers":[{"identity":{}},`),
		"CIS-2.7 etcd trusted-ca-file: the same": func(n node, _ *config.Config) {
			n.file(server+"/tls/client-ca.crt", 0o644, certificate("other")+certificate("etcd"))
		},
	} {
		t.Run(want, func(t *testing.T) {
			n, cfg := hardened(t)
			n.t = t
			change(n, cfg)
			findings := n.check(cfg)
			if diff := cmp.Diff(append(strings.Split(want, "\n"), etcdOwner...), failed(findings), sorted); diff != "" {
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
	if got := failed(n.check(cfg)); len(got) != 1+len(etcdOwner) {
		t.Errorf("passwords in the clear: %q", got)
	}
	n.file("/etc/drd/web.yaml", 0o600, "tls_server_config: {cert_file: x, key_file: y}\n")
	if got := failed(n.check(cfg)); len(got) != len(etcdOwner) {
		t.Errorf("with TLS: %q", got)
	}
}

// TestElsewhere: without RKE2 its rules do not apply; those about etcd do on kubeadm.
func TestElsewhere(t *testing.T) {
	n := node{t: t, root: t.TempDir()}
	cfg := &config.Config{Metrics: config.Metrics{Listen: "localhost:9877"}, StateDir: "/var/lib/drd", RuntimeDir: "/run/drd"}
	findings := n.check(cfg)
	if open := failed(findings); len(open) != 0 {
		t.Errorf("nothing is there, and open are %q", open)
	}
	n.file("/etc/kubernetes/manifests/etcd.yaml", 0o644, "spec: {containers: [{command: [etcd, \"--data-dir=/var/lib/etcd\", \"--client-cert-auth=true\", \"--peer-client-cert-auth=true\", \"--cert-file=a\", \"--key-file=b\", \"--peer-cert-file=a\", \"--peer-key-file=b\"]}]}\n")
	n.dir("/var/lib/etcd", 0o700)
	want := []string{"CIS-1.1.7 /etc/kubernetes/manifests/etcd.yaml: 0644", "CIS-1.1.12 /var/lib/etcd: root:root"}
	const notThere = ": not known: the manifest is not there"
	for _, f := range []string{"CIS-1.2.23 --etcd-certfile", "CIS-1.2.23 --etcd-keyfile", "CIS-1.2.26 --etcd-cafile", "CIS-1.2.27 --encryption-provider-config", "CIS-1.2.28 provider of secrets"} {
		id, name, _ := strings.Cut(f, " ")
		want = append(want, id+" /etc/kubernetes/manifests/kube-apiserver.yaml "+name+notThere)
	}
	want = append(want, "CIS-2.7 etcd trusted-ca-file: not known: one of the files cannot be read")
	if diff := cmp.Diff(want, failed(n.check(cfg)), sorted); diff != "" {
		t.Errorf("kubeadm: open findings (-want +got):\n%s", diff)
	}
}

// TestNotKnown: settings that cannot be read pass no rule, those neither that only ask for something not to be set.
func TestNotKnown(t *testing.T) {
	n, cfg := hardened(t)
	n.file("/var/lib/rancher/rke2/server/db/etcd/config", 0o600, "not a mapping")
	n.file("/var/lib/rancher/rke2/agent/pod-manifests/kube-apiserver.yaml", 0o600, "spec: {containers: [{name: a}, {name: b}]}")
	if err := os.RemoveAll(filepath.Join(n.root, "proc")); err != nil {
		t.Fatal(err)
	}
	n.file("/var/lib/rancher/rke2/agent/etc/kubelet.conf.d/10.conf", 0o600, "")
	open := make(map[string]int)
	for _, f := range n.check(cfg) {
		if f.Result == Fail {
			open[f.ID]++
		}
	}
	for _, id := range []string{
		stigPorts, stigAudit, stigAuditAge, stigTLS, stigAnonymous, stigAuthorization, stigPodSecurity, stigKubeletAnon, stigIdle, stigKernel,
		"CIS-1.2.23", "CIS-1.2.26", "CIS-1.2.27", "CIS-1.2.28", "CIS-2.1", "CIS-2.2", "CIS-2.3", "CIS-2.4", "CIS-2.5", "CIS-2.6", "CIS-2.7",
	} {
		if open[id] == 0 {
			t.Errorf("%s is not open", id)
		}
	}
}

// TestStranger: what somebody else owns among the certificates is found, but for etcd's own.
func TestStranger(t *testing.T) {
	n, _ := hardened(t)
	n.file("/etc/passwd", 0o644, fmt.Sprintf("etcd:x:%d:%d::/:\n", os.Getuid(), os.Getgid()))
	n.file("/etc/group", 0o644, fmt.Sprintf("etcd:x:%d:\n", os.Getgid()))
	const dir = "/var/lib/rancher/rke2/server/tls"
	in := inspector{root: n.root, uid: uint32(os.Getuid()), gid: uint32(os.Getgid())}
	want := []string{"CIS-1.1.19 " + dir + ": etcd:etcd"}
	for _, name := range []string{"client-ca.crt", "etcd", "server-ca.crt", "server-ca.key"} {
		want = append(want, "CIS-1.1.19 "+dir+"/"+name+": etcd:etcd")
	}
	want = append(want, "CIS-1.1.19 "+dir+"/**: 4 of 6 are not so")
	if diff := cmp.Diff(want, failed(in.pki(dir))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestOtherServers: a server of RKE2 that runs only etcd has no API server to look at.
func TestOtherServers(t *testing.T) {
	n, cfg := hardened(t)
	n.file("/etc/rancher/rke2/config.yaml", 0o600, "profile: cis\ndisable-apiserver: true\ndisable-controller-manager: true\ndisable-scheduler: true\n")
	for _, name := range []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler"} {
		if err := os.Remove(filepath.Join(n.root, "/var/lib/rancher/rke2/agent/pod-manifests/"+name+".yaml")); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(etcdOwner, failed(n.check(cfg)), sorted); diff != "" {
		t.Errorf("open findings (-want +got):\n%s", diff)
	}
}

var sorted = cmp.Transformer("sorted", func(in []string) map[string]bool {
	set := make(map[string]bool)
	for _, s := range in {
		set[s] = true
	}
	return set
})
