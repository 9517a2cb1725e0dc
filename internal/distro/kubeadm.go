package distro

import (
	"path"
	"strings"

	"go.yaml.in/yaml/v4"
)

// kubeadm runs etcd as a static pod, whose manifest says everything. Clusters that were made by hand in the same way are
// found too.
type kubeadm struct{}

func (kubeadm) Name() string { return "kubeadm" }

func (kubeadm) find(h host) (*Node, error) {
	dir := staticPods(h)
	manifest := path.Join(dir, "etcd.yaml")
	text := h.read(manifest)
	if text == nil {
		return nil, external(h, path.Join(dir, "kube-apiserver.yaml"))
	}
	p := parsePod(text)
	c := p.container("etcd")
	if c == nil {
		return nil, without("mend the manifest", "%s is not the manifest of a pod with etcd", manifest)
	}
	s := c.settings()
	onHost := func(inside string) string { return p.onHost(c, inside) }
	n := &Node{
		Evidence: []string{manifest}, Endpoint: s.endpoint(), DataDir: onHost(s["data-dir"]), Manifests: dir,
		CAFile: h.first(onHost(s["trusted-ca-file"])), Unit: "kubelet.service",
	}
	if n.Endpoint == "" {
		n.Endpoint = "https://127.0.0.1:2379"
	}
	pki := path.Dir(onHost(s["trusted-ca-file"]))
	n.CertFile, n.KeyFile = h.pair(
		[2]string{path.Join(pki, "healthcheck-client.crt"), path.Join(pki, "healthcheck-client.key")},
		[2]string{path.Join(path.Dir(pki), "apiserver-etcd-client.crt"), path.Join(path.Dir(pki), "apiserver-etcd-client.key")},
		[2]string{onHost(s["cert-file"]), onHost(s["key-file"])}, // kubeadm makes it good for clients, too
	)
	return n, nil
}

// staticPods is the directory from which the kubelet takes them.
func staticPods(h host) string {
	var kubelet struct {
		Path string `yaml:"staticPodPath"`
	}
	if text := h.read("/var/lib/kubelet/config.yaml"); yaml.Unmarshal(text, &kubelet) == nil && path.IsAbs(kubelet.Path) {
		return kubelet.Path
	}
	return "/etc/kubernetes/manifests"
}

// external says so where the API server of this node has its etcd elsewhere.
func external(h host, manifest string) error {
	c := parsePod(h.read(manifest)).container("kube-apiserver")
	if c == nil {
		return nil
	}
	servers := c.settings()["etcd-servers"]
	if servers == "" || strings.Contains(servers, "127.0.0.1") || strings.Contains(servers, "localhost") {
		return nil // an etcd beside it, which is looked for next
	}
	return without("run this there", "the cluster's etcd is at %s", servers)
}
