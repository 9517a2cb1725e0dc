package stig

import (
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/drd-project/drd/internal/distro"
)

// cis compares the rules of the benchmark about etcd and the keys, on RKE2 and kubeadm.
func (in inspector) cis(n *distro.Node) []Finding {
	const control = "CM-6"
	manifest := path.Join(n.Manifests, "etcd.yaml")
	pki := path.Dir(path.Dir(n.CAFile)) // of all, beside etcd's own
	if n.CAFile == "" {
		pki = "/etc/kubernetes/pki"
	}
	findings := []Finding{
		in.file(file{"CIS-1.1.7", control, manifest, 0o600, ""}),
		in.file(file{"CIS-1.1.8", control, manifest, anyMode, "root:root"}),
		in.file(file{"CIS-1.1.11", control, n.DataDir, 0o700, ""}),
		in.file(file{"CIS-1.1.12", control, n.DataDir, anyMode, "etcd:etcd"}),
		in.file(file{"CIS-1.1.19", control, pki, anyMode, "root:root"}),
		in.keys("CIS-1.1.20", pki, ".crt", 0o644),
		in.keys("CIS-1.1.21", pki, ".key", 0o600),
	}
	flags := in.flags(path.Join(n.Manifests, "kube-apiserver.yaml"))
	for id, flag := range map[string]string{"CIS-1.2.23": "etcd-certfile", "CIS-1.2.26": "etcd-cafile", "CIS-1.2.27": "encryption-provider-config"} {
		findings = append(findings, setting(id, "SC-28", path.Join(n.Manifests, "kube-apiserver.yaml")+" --"+flag, "a file", flags[flag], func(v string) bool { return v != "" }))
	}
	s := in.etcdSettings(n)
	isTrue, isNot := func(v string) bool { return v == "true" }, func(v string) bool { return v != "true" }
	findings = append(findings,
		setting("CIS-2.1", "SC-8", "etcd cert-file and key-file", "set", s["cert-file"]+s["key-file"], func(string) bool { return s["cert-file"] != "" && s["key-file"] != "" }),
		setting("CIS-2.2", "IA-3", "etcd client-cert-auth", "true", s["client-cert-auth"], isTrue),
		setting("CIS-2.3", "IA-3", "etcd auto-tls", "not true", s["auto-tls"], isNot),
		setting("CIS-2.4", "SC-8", "etcd peer-cert-file and peer-key-file", "set", s["peer-cert-file"]+s["peer-key-file"], func(string) bool { return s["peer-cert-file"] != "" && s["peer-key-file"] != "" }),
		setting("CIS-2.5", "IA-3", "etcd peer-client-cert-auth", "true", s["peer-client-cert-auth"], isTrue),
		setting("CIS-2.6", "IA-3", "etcd peer-auto-tls", "not true", s["peer-auto-tls"], isNot),
	)
	slices.SortStableFunc(findings, func(a, b Finding) int { return strings.Compare(order(a.ID), order(b.ID)) })
	return findings
}

var number = regexp.MustCompile(`\d+`)

// order makes 1.1.7 come before 1.1.11.
func order(id string) string {
	return number.ReplaceAllStringFunc(id, func(n string) string { return fmt.Sprintf("%04s", n) })
}

// keys compares the files with an ending below the directory of the keys. Their owner may be etcd's, for etcd's own.
func (in inspector) keys(id, dir, ending string, mode fs.FileMode) Finding {
	f := Finding{ID: id, Control: "CM-6", Subject: dir + "/**" + ending, Expected: fmt.Sprintf("%04o or stricter", mode)}
	var bad []string
	seen := 0
	for _, sub := range []string{"", "etcd", "kube-controller-manager", "kube-scheduler"} {
		for _, name := range in.list(path.Join(dir, sub)) {
			if !strings.HasSuffix(name, ending) {
				continue
			}
			seen++
			if got := in.file(file{path: path.Join(dir, sub, name), mode: mode}); got.Result == Fail {
				bad = append(bad, got.Subject+" is "+got.Found)
			}
		}
	}
	switch {
	case seen == 0:
		f.Found, f.Result = "nothing there", NotApplicable
	case len(bad) > 0:
		f.Found, f.Result = fmt.Sprintf("%d of %d are not so; %s", len(bad), seen, bad[0]), Fail
	default:
		f.Found, f.Result = fmt.Sprintf("all %d", seen), Pass
	}
	return f
}

// etcdSettings are etcd's: of its manifest, and of its own file where it has one. Those for peers are named as the flags are.
func (in inspector) etcdSettings(n *distro.Node) map[string]string {
	settings := in.flags(path.Join(n.Manifests, "etcd.yaml"))
	var document map[string]any
	if yaml.Unmarshal(in.read(path.Join(n.DataDir, "config")), &document) != nil {
		return settings
	}
	for key, value := range document {
		switch section, nested := value.(map[string]any); {
		case !nested:
			settings[key] = text(value)
		case key == "client-transport-security" || key == "peer-transport-security":
			prefix := strings.TrimPrefix(strings.TrimSuffix(key, "transport-security"), "client-")
			for name, v := range section {
				settings[prefix+name] = text(v)
			}
		}
	}
	return settings
}
