package distro

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/test/servers"
)

// lay puts files below a new root: path to content. A path that ends with a slash is a directory.
func lay(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for path, content := range files {
		full := filepath.Join(root, path)
		if strings.HasSuffix(path, "/") {
			if err := os.MkdirAll(full, 0o700); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// etcdYAML is the manifest as kubeadm 1.35 writes it, shortened where nothing is read.
const etcdYAML = `apiVersion: v1
kind: Pod
metadata:
  name: etcd
  namespace: kube-system
spec:
  containers:
  - command:
    - etcd
    - --advertise-client-urls=https://10.0.0.11:2379
    - --cert-file=/etc/kubernetes/pki/etcd/server.crt
    - --client-cert-auth=true
    - --data-dir=/var/lib/etcd
    - --key-file=/etc/kubernetes/pki/etcd/server.key
    - --listen-client-urls=https://127.0.0.1:2379,https://10.0.0.11:2379
    - --listen-metrics-urls=http://127.0.0.1:2381
    - --trusted-ca-file=/etc/kubernetes/pki/etcd/ca.crt
    image: registry.k8s.io/etcd:3.6.6-0
    name: etcd
    volumeMounts:
    - mountPath: /var/lib/etcd
      name: etcd-data
    - mountPath: /etc/kubernetes/pki/etcd
      name: etcd-certs
  hostNetwork: true
  volumes:
  - hostPath:
      path: /etc/kubernetes/pki/etcd
      type: DirectoryOrCreate
    name: etcd-certs
  - hostPath:
      path: /var/lib/etcd
      type: DirectoryOrCreate
    name: etcd-data
`

// rancherConfig is etcd's own file as RKE2 and k3s write it.
const rancherConfig = `advertise-client-urls: https://10.0.0.11:2379
client-transport-security:
  cert-file: /var/lib/rancher/rke2/server/tls/etcd/server-client.crt
  client-cert-auth: true
  key-file: /var/lib/rancher/rke2/server/tls/etcd/server-client.key
  trusted-ca-file: /var/lib/rancher/rke2/server/tls/etcd/server-ca.crt
data-dir: /var/lib/rancher/rke2/server/db/etcd
initial-cluster: cp-1=https://10.0.0.11:2380
listen-client-urls: https://10.0.0.11:2379,https://127.0.0.1:2379
name: cp-1
peer-transport-security:
  cert-file: /var/lib/rancher/rke2/server/tls/etcd/peer-server-client.crt
`

func TestDetect(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		want  Node
	}{
		"rke2": {map[string]string{
			"/etc/rancher/rke2/config.yaml":                         "profile: cis\ntoken: Planted0Secret\n",
			"/var/lib/rancher/rke2/server/db/etcd/config":           rancherConfig,
			"/var/lib/rancher/rke2/server/tls/etcd/server-ca.crt":   "x",
			"/var/lib/rancher/rke2/server/tls/etcd/client.crt":      "x",
			"/var/lib/rancher/rke2/server/tls/etcd/client.key":      "x",
			"/var/lib/rancher/rke2/agent/pod-manifests/etcd.yaml":   etcdYAML,
			"/var/lib/rancher/rke2/agent/pod-manifests/kube-a.yaml": "x",
		}, Node{
			Distro: "rke2", Endpoint: "https://127.0.0.1:2379", DataDir: "/var/lib/rancher/rke2/server/db/etcd",
			CAFile:   "/var/lib/rancher/rke2/server/tls/etcd/server-ca.crt",
			CertFile: "/var/lib/rancher/rke2/server/tls/etcd/client.crt", KeyFile: "/var/lib/rancher/rke2/server/tls/etcd/client.key",
			Manifests: "/var/lib/rancher/rke2/agent/pod-manifests", Unit: "rke2-server.service", ServerDir: "/var/lib/rancher/rke2/server",
			Evidence: []string{"/etc/rancher/rke2/config.yaml", "/var/lib/rancher/rke2/server/db/etcd", "/var/lib/rancher/rke2/server/db/etcd/config"},
			Config:   map[string]any{"profile": "cis", "token": "Planted0Secret"},
		}},
		"k3s elsewhere": {map[string]string{
			"/etc/rancher/k3s/config.yaml":            "etcd-arg: [a=1]\n",
			"/etc/rancher/k3s/config.yaml.d/10.yaml":  "data-dir: /srv/k3s\netcd-arg+: [b=2]\n",
			"/etc/rancher/k3s/config.yaml.d/notes":    "data-dir: /nowhere\n",
			"/srv/k3s/server/db/etcd/member/snap/db":  "x",
			"/srv/k3s/server/tls/etcd/server-ca.crt":  "x",
			"/srv/k3s/server/tls/etcd/client.crt":     "x",
			"/srv/k3s/server/tls/etcd/client.key":     "x",
			"/srv/k3s/agent/":                         "",
			"/etc/kubernetes/manifests/etcd.yaml.bak": "x",
		}, Node{
			Distro: "k3s", Endpoint: "https://127.0.0.1:2379", DataDir: "/srv/k3s/server/db/etcd",
			CAFile:   "/srv/k3s/server/tls/etcd/server-ca.crt",
			CertFile: "/srv/k3s/server/tls/etcd/client.crt", KeyFile: "/srv/k3s/server/tls/etcd/client.key",
			Unit: "k3s.service", ServerDir: "/srv/k3s/server",
			Evidence: []string{"/etc/rancher/k3s/config.yaml", "/etc/rancher/k3s/config.yaml.d/10.yaml", "/srv/k3s/server/db/etcd"},
			Config:   map[string]any{"data-dir": "/srv/k3s", "etcd-arg": []any{"a=1", "b=2"}},
		}},
		"k3s with its directory among the arguments": {map[string]string{
			"/etc/systemd/system/k3s.service": "[Service]\nExecStart=/usr/local/bin/k3s \\\n    server \\\n    # by hand\n    '--data-dir' \\\n    '/srv/k3s'\n",
			"/etc/rancher/k3s/config.yaml":    "data-dir: /elsewhere\n",
			"/srv/k3s/server/db/etcd/":        "",
		}, Node{
			Distro: "k3s", Endpoint: "https://127.0.0.1:2379", DataDir: "/srv/k3s/server/db/etcd", Unit: "k3s.service", ServerDir: "/srv/k3s/server",
			Evidence: []string{"/etc/rancher/k3s/config.yaml", "/etc/systemd/system/k3s.service", "/srv/k3s/server/db/etcd"},
			Config:   map[string]any{"data-dir": "/elsewhere"},
		}},
		"rke2 with its directory in a variable": {map[string]string{
			"/usr/local/lib/systemd/system/rke2-server.service": "[Service]\nEnvironment=RKE2_DATA_DIR=/overridden\nEnvironmentFile=-/etc/default/%N\nExecStart=/usr/local/bin/rke2 server\n",
			"/etc/default/rke2-server":                          "RKE2_DATA_DIR=/srv/rke2\nRKE2_CONFIG_FILE=/srv/rke2.yaml\n",
			"/srv/rke2.yaml":                                    "profile: cis\n",
			"/srv/rke2/server/db/etcd/":                         "",
		}, Node{
			Distro: "rke2", Endpoint: "https://127.0.0.1:2379", DataDir: "/srv/rke2/server/db/etcd", Unit: "rke2-server.service", ServerDir: "/srv/rke2/server",
			Manifests: "/srv/rke2/agent/pod-manifests",
			Evidence:  []string{"/srv/rke2.yaml", "/usr/local/lib/systemd/system/rke2-server.service", "/etc/default/rke2-server", "/srv/rke2/server/db/etcd"},
			Config:    map[string]any{"profile": "cis"},
		}},
		"kubeadm with a helper before etcd": {map[string]string{
			"/etc/kubernetes/manifests/etcd.yaml": strings.Replace(etcdYAML, "  containers:\n", "  containers:\n  - name: logs\n    command: [tail, --data-dir=/wrong, \"--listen-client-urls=http://127.0.0.1:1\"]\n", 1),
			"/etc/kubernetes/pki/etcd/ca.crt":     "x",
		}, Node{
			Distro: "kubeadm", Endpoint: "https://127.0.0.1:2379", DataDir: "/var/lib/etcd", CAFile: "/etc/kubernetes/pki/etcd/ca.crt",
			Manifests: "/etc/kubernetes/manifests", Unit: "kubelet.service", Evidence: []string{"/etc/kubernetes/manifests/etcd.yaml"},
		}},
		"kubeadm": {map[string]string{
			"/etc/kubernetes/manifests/etcd.yaml":             etcdYAML,
			"/etc/kubernetes/pki/etcd/ca.crt":                 "x",
			"/etc/kubernetes/pki/etcd/healthcheck-client.crt": "x",
			"/etc/kubernetes/pki/etcd/healthcheck-client.key": "x",
			"/etc/kubernetes/pki/apiserver-etcd-client.crt":   "x",
			"/etc/kubernetes/pki/apiserver-etcd-client.key":   "x",
		}, Node{
			Distro: "kubeadm", Endpoint: "https://127.0.0.1:2379", DataDir: "/var/lib/etcd", CAFile: "/etc/kubernetes/pki/etcd/ca.crt",
			CertFile: "/etc/kubernetes/pki/etcd/healthcheck-client.crt", KeyFile: "/etc/kubernetes/pki/etcd/healthcheck-client.key",
			Manifests: "/etc/kubernetes/manifests", Unit: "kubelet.service", Evidence: []string{"/etc/kubernetes/manifests/etcd.yaml"},
		}},
		"kubeadm with other directories": {map[string]string{
			"/var/lib/kubelet/config.yaml": "staticPodPath: /opt/pods\n",
			"/opt/pods/etcd.yaml": strings.NewReplacer("path: /var/lib/etcd", "path: /data/etcd", "path: /etc/kubernetes/pki/etcd", "path: /opt/pki/etcd",
				"https://127.0.0.1:2379,", "").Replace(etcdYAML),
			"/opt/pki/etcd/ca.crt":               "x",
			"/opt/pki/apiserver-etcd-client.crt": "x",
			"/opt/pki/apiserver-etcd-client.key": "x",
		}, Node{
			Distro: "kubeadm", Endpoint: "https://10.0.0.11:2379", DataDir: "/data/etcd", CAFile: "/opt/pki/etcd/ca.crt",
			CertFile: "/opt/pki/apiserver-etcd-client.crt", KeyFile: "/opt/pki/apiserver-etcd-client.key",
			Manifests: "/opt/pods", Unit: "kubelet.service", Evidence: []string{"/opt/pods/etcd.yaml"},
		}},
		"a process": {map[string]string{
			"/proc/1/cmdline":   "/sbin/init\x00",
			"/proc/812/cmdline": "/usr/local/bin/etcd\x00--listen-client-urls=http://0.0.0.0:12379\x00--data-dir\x00/srv/etcd\x00",
			"/proc/812/environ": "ETCD_DATA_DIR=/wrong\x00HOME=/\x00",
			"/etc/default/etcd": "ETCD_DATA_DIR=/wrong-too\n",
		}, Node{Distro: "plain etcd", Endpoint: "http://127.0.0.1:12379", DataDir: "/srv/etcd", Unit: "etcd.service", Evidence: []string{"process 812"}}},
		"a process with a file": {map[string]string{
			"/proc/7/cmdline": "etcd\x00--config-file\x00/etc/etcd/etcd.conf.yml\x00",
			"/etc/etcd/etcd.conf.yml": "data-dir: /var/lib/etcd/default\nlisten-client-urls: https://[::]:2379\n" +
				"client-transport-security: {cert-file: /etc/etcd/server.crt, trusted-ca-file: /etc/etcd/ca.crt}\n",
			"/etc/etcd/ca.crt":     "x",
			"/etc/etcd/client.crt": "x",
			"/etc/etcd/client.key": "x",
		}, Node{
			Distro: "plain etcd", Endpoint: "https://[::1]:2379", DataDir: "/var/lib/etcd/default", Unit: "etcd.service",
			CAFile: "/etc/etcd/ca.crt", CertFile: "/etc/etcd/client.crt", KeyFile: "/etc/etcd/client.key",
			Evidence: []string{"process 7", "/etc/etcd/etcd.conf.yml"},
		}},
		"a service that is down": {map[string]string{
			"/etc/systemd/system/etcd.service": "[Service]\nEnvironment=\"ETCD_DATA_DIR=/data\" ETCD_NAME=n1\nEnvironmentFile=-/etc/etcd/env\n" +
				"ExecStart=/usr/bin/etcd \\\n  --listen-client-urls=https://10.0.0.4:2379\n",
			"/etc/etcd/env":        "# comment\nexport ETCD_TRUSTED_CA_FILE=\"/pki/ca.pem\"\n",
			"/pki/ca.pem":          "x",
			"/pki/etcdctl.pem":     "x",
			"/pki/etcdctl-key.pem": "x",
		}, Node{
			Distro: "plain etcd", Endpoint: "https://10.0.0.4:2379", DataDir: "/data", Unit: "etcd.service",
			CAFile: "/pki/ca.pem", CertFile: "/pki/etcdctl.pem", KeyFile: "/pki/etcdctl-key.pem",
			Evidence: []string{"/etc/systemd/system/etcd.service", "/etc/etcd/env"},
		}},
		"Debian's defaults, with etcdctl's": {map[string]string{
			"/etc/default/etcd":    "ETCD_LISTEN_CLIENT_URLS=\"https://localhost:2379\"\nETCD_DATA_DIR=/var/lib/etcd/default\n",
			"/etc/default/etcdctl": "ETCDCTL_CERT=/c.crt\nETCDCTL_KEY=/c.key\nETCDCTL_CACERT=/ca.crt\n",
			"/c.crt":               "x", "/c.key": "x", "/ca.crt": "x",
		}, Node{
			Distro: "plain etcd", Endpoint: "https://localhost:2379", DataDir: "/var/lib/etcd/default", Unit: "etcd.service",
			CAFile: "/ca.crt", CertFile: "/c.crt", KeyFile: "/c.key", Evidence: []string{"/etc/default/etcd", "/etc/default/etcdctl"},
		}},
		"no certificate for clients": {map[string]string{
			"/etc/default/etcd": "ETCD_LISTEN_CLIENT_URLS=https://127.0.0.1:2379\nETCD_CERT_FILE=/s.crt\nETCD_KEY_FILE=/s.key\n", "/s.crt": "x", "/s.key": "x",
		}, Node{Distro: "plain etcd", Endpoint: "https://127.0.0.1:2379", Unit: "etcd.service", Evidence: []string{"/etc/default/etcd"}}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Detect(lay(t, c.files))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(&c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestNoEtcd: a node without an etcd is told apart, with what to do, and is never taken for one with.
func TestNoEtcd(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		want  string
	}{
		"empty":         {nil, "neither RKE2, k3s nor kubeadm"},
		"agent":         {map[string]string{"/var/lib/rancher/rke2/agent/": ""}, "it is an agent"},
		"sqlite":        {map[string]string{"/var/lib/rancher/k3s/server/db/state.db": "x"}, "SQLite"},
		"external kine": {map[string]string{"/var/lib/rancher/k3s/server/": "", "/etc/rancher/k3s/config.yaml": "datastore-endpoint: mysql://user:Planted0Secret@h\n"}, "external database"},
		"external by argument": {map[string]string{
			"/var/lib/rancher/k3s/server/":    "",
			"/etc/systemd/system/k3s.service": "[Service]\nExecStart=/usr/local/bin/k3s server --datastore-endpoint=mysql://user:Planted0Secret@h\n",
		}, "external database"},
		"no etcd role":    {map[string]string{"/var/lib/rancher/rke2/server/tls/": ""}, "no directory /var/lib/rancher/rke2/server/db/etcd"},
		"microk8s":        {map[string]string{"/var/snap/microk8s/current/var/kubernetes/backend/": ""}, "dqlite"},
		"external etcd":   {map[string]string{"/etc/kubernetes/manifests/kube-apiserver.yaml": "spec: {containers: [{command: [kube-apiserver, \"--etcd-servers=https://10.1.1.1:2379\"]}]}\n"}, "https://10.1.1.1:2379"},
		"broken manifest": {map[string]string{"/etc/kubernetes/manifests/etcd.yaml": "nothing\n"}, "not the manifest of a pod"},
	} {
		got, err := Detect(lay(t, c.files))
		if !errors.Is(err, ErrNoEtcd) || !strings.Contains(err.Error(), c.want) || len(hint.Of(err)) == 0 || got != nil {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
		if err != nil && strings.Contains(err.Error(), "Planted0Secret") {
			t.Errorf("%s: a secret is repeated: %v", name, err)
		}
	}
}

// TestOwnCertificate: etcd's own lets a client in where it says so.
func TestOwnCertificate(t *testing.T) {
	cert, key := servers.NewCA(t).Issue(t, "server")
	root := lay(t, nil)
	for path, from := range map[string]string{"s.crt": cert, "s.key": key} {
		text, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, path), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(root, "etc/default"), 0o755); err != nil {
		t.Fatal(err)
	}
	text := "ETCD_LISTEN_CLIENT_URLS=https://127.0.0.1:2379\nETCD_CERT_FILE=/s.crt\nETCD_KEY_FILE=/s.key\n"
	if err := os.WriteFile(filepath.Join(root, "etc/default/etcd"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	n, err := Detect(root)
	if err != nil || n.CertFile != "/s.crt" || n.KeyFile != "/s.key" {
		t.Errorf("%+v, %v", n, err)
	}
}
