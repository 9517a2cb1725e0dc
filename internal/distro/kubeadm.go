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

// pod is what is needed of a static pod's manifest.
type pod struct {
	Spec struct {
		Containers []struct {
			Name         string   `yaml:"name"`
			Command      []string `yaml:"command"`
			Args         []string `yaml:"args"`
			VolumeMounts []struct {
				Name      string `yaml:"name"`
				MountPath string `yaml:"mountPath"`
			} `yaml:"volumeMounts"`
		} `yaml:"containers"`
		Volumes []struct {
			Name     string `yaml:"name"`
			HostPath struct {
				Path string `yaml:"path"`
			} `yaml:"hostPath"`
		} `yaml:"volumes"`
	} `yaml:"spec"`
}

func (kubeadm) find(h host) (*Node, error) {
	dir := staticPods(h)
	manifest := path.Join(dir, "etcd.yaml")
	text := h.read(manifest)
	if text == nil {
		return nil, external(h, path.Join(dir, "kube-apiserver.yaml"))
	}
	var p pod
	if yaml.Unmarshal(text, &p) != nil || len(p.Spec.Containers) == 0 {
		return nil, without("mend the manifest", "%s is not the manifest of a pod", manifest)
	}
	s := p.settings()
	n := &Node{
		Evidence: []string{manifest}, Endpoint: s.endpoint(), DataDir: p.onHost(s["data-dir"]), Manifests: dir,
		CAFile: h.first(p.onHost(s["trusted-ca-file"])), Unit: "kubelet.service",
	}
	if n.Endpoint == "" {
		n.Endpoint = "https://127.0.0.1:2379"
	}
	pki := path.Dir(p.onHost(s["trusted-ca-file"]))
	n.CertFile, n.KeyFile = h.pair(
		[2]string{path.Join(pki, "healthcheck-client.crt"), path.Join(pki, "healthcheck-client.key")},
		[2]string{path.Join(path.Dir(pki), "apiserver-etcd-client.crt"), path.Join(path.Dir(pki), "apiserver-etcd-client.key")},
		[2]string{p.onHost(s["cert-file"]), p.onHost(s["key-file"])}, // kubeadm makes it good for clients, too
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
	var p pod
	if text := h.read(manifest); text == nil || yaml.Unmarshal(text, &p) != nil {
		return nil
	}
	servers := p.settings()["etcd-servers"]
	if servers == "" || strings.Contains(servers, "127.0.0.1") || strings.Contains(servers, "localhost") {
		return nil // an etcd beside it, which is looked for next
	}
	return without("run this there", "the cluster's etcd is at %s", servers)
}

// settings are those of the first container.
func (p pod) settings() settings {
	if len(p.Spec.Containers) == 0 {
		return nil
	}
	c := p.Spec.Containers[0]
	return fromFlags(append(append([]string(nil), c.Command...), c.Args...))
}

// onHost is a path of the first container as the host has it.
func (p pod) onHost(inside string) string {
	if inside == "" || len(p.Spec.Containers) == 0 {
		return ""
	}
	for _, m := range p.Spec.Containers[0].VolumeMounts {
		if rest, below := strings.CutPrefix(inside, m.MountPath); below && (rest == "" || rest[0] == '/') {
			for _, v := range p.Spec.Volumes {
				if v.Name == m.Name && v.HostPath.Path != "" {
					return path.Join(v.HostPath.Path, rest)
				}
			}
		}
	}
	return inside
}
