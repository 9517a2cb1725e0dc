package stig

import (
	"encoding/pem"
	"fmt"
	"io/fs"
	"maps"
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
	api, etcd := in.component(n, "kube-apiserver"), in.etcd(n)
	findings := []Finding{
		in.file(file{"CIS-1.1.7", control, manifest, 0o600, ""}),
		in.file(file{"CIS-1.1.8", control, manifest, anyMode, "root:root"}),
		in.file(file{"CIS-1.1.11", control, n.DataDir, 0o700, ""}),
		in.file(file{"CIS-1.1.12", control, n.DataDir, anyMode, "etcd:etcd"}),
	}
	findings = append(findings, in.pki(pkiOf(n, api))...)
	for _, f := range []struct{ id, flag string }{
		{"CIS-1.2.23", "etcd-certfile"}, {"CIS-1.2.23", "etcd-keyfile"}, {"CIS-1.2.26", "etcd-cafile"}, {"CIS-1.2.27", "encryption-provider-config"},
	} {
		findings = append(findings, api.flag(f.id, "SC-28", f.flag, "a file", anything))
	}
	findings = append(findings, in.encryption(api))
	for _, e := range []struct {
		id, control, name, expected string
		good                        func(string) bool
	}{
		{"CIS-2.1", "SC-8", "cert-file", "a file", anything},
		{"CIS-2.1", "SC-8", "key-file", "a file", anything},
		{"CIS-2.2", "IA-3", "client-cert-auth", "true", is("true")},
		{"CIS-2.3", "IA-3", "auto-tls", "not true", isNot("true")},
		{"CIS-2.4", "SC-8", "peer-cert-file", "a file", anything},
		{"CIS-2.4", "SC-8", "peer-key-file", "a file", anything},
		{"CIS-2.5", "IA-3", "peer-client-cert-auth", "true", is("true")},
		{"CIS-2.6", "IA-3", "peer-auto-tls", "not true", isNot("true")},
	} {
		findings = append(findings, etcd.compare(e.id, e.control, "etcd "+e.name, e.expected, e.name, e.good))
	}
	findings = append(findings, in.ownCA(n, api))
	slices.SortStableFunc(findings, func(a, b Finding) int { return strings.Compare(order(a.ID), order(b.ID)) })
	return findings
}

func isNot(value string) func(string) bool { return func(v string) bool { return v != value } }

// pkiOf is the directory of the cluster's certificates.
func pkiOf(n *distro.Node, api component) string {
	switch ca := api.settings["client-ca-file"]; {
	case n.ServerDir != "":
		return path.Join(n.ServerDir, "tls")
	case ca != "":
		return path.Dir(ca)
	}
	return "/etc/kubernetes/pki"
}

// pki compares the owners of everything among the certificates, and the modes of certificates and keys. What is etcd's own may be
// etcd's: RKE2 with a profile makes it so.
func (in inspector) pki(dir string) []Finding {
	const control, root = "CM-6", "root:root"
	owned := file{"CIS-1.1.19", control, dir, anyMode, root}
	whole := Finding{ID: owned.id, Control: control, Subject: dir + "/**", Expected: root + ", files in etcd/ etcd:etcd too"}
	findings := append([]Finding{in.file(owned)}, in.below(owned, whole, func(one *file, isDir bool) bool {
		if !isDir && path.Dir(one.path) == path.Join(dir, "etcd") {
			one.owner = root + " or etcd:etcd"
		}
		return true
	})...)
	for _, k := range []struct {
		id, ending string
		mode       fs.FileMode
	}{{"CIS-1.1.20", ".crt", 0o644}, {"CIS-1.1.21", ".key", 0o600}} {
		whole := Finding{ID: k.id, Control: control, Subject: dir + "/**" + k.ending, Expected: fmt.Sprintf("%04o or stricter", k.mode)}
		findings = append(findings, in.below(file{k.id, control, dir, k.mode, ""}, whole, func(one *file, isDir bool) bool {
			return !isDir && strings.HasSuffix(one.path, k.ending)
		})...)
	}
	return findings
}

// encryption compares with what the API server writes secrets: the first provider of the first entry that names them.
func (in inspector) encryption(api component) Finding {
	const id, control, expected = "CIS-1.2.28", "SC-28", "aescbc, kms or secretbox first"
	source := api.settings["encryption-provider-config"]
	subject := api.source + " provider of secrets"
	var document struct {
		Resources []struct {
			Resources []string         `yaml:"resources"`
			Providers []map[string]any `yaml:"providers"`
		} `yaml:"resources"`
	}
	if api.settings != nil && yaml.Unmarshal(in.read(source), &document) != nil {
		api.settings, api.why = nil, "not known: "+source+" cannot be read"
	}
	first := ""
	for _, r := range document.Resources {
		covers := slices.ContainsFunc(r.Resources, func(name string) bool { return slices.Contains([]string{"secrets", "*.", "*.*"}, name) })
		if covers && len(r.Providers) > 0 {
			first = strings.Join(slices.Sorted(maps.Keys(r.Providers[0])), ", ")
			break
		}
	}
	found := component{source: api.source, settings: map[string]string{"provider": first}}
	if api.settings == nil {
		found = api
	}
	return found.compare(id, control, subject, expected, "provider", func(v string) bool { return slices.Contains([]string{"aescbc", "kms", "secretbox"}, v) })
}

// ownCA: what the cluster's CA signs does not open etcd.
func (in inspector) ownCA(n *distro.Node, api component) Finding {
	f := Finding{ID: "CIS-2.7", Control: "IA-5(2)", Subject: "etcd trusted-ca-file", Expected: "another CA than --client-ca-file of the API server", Result: Fail}
	etcd, cluster := in.certificates(n.CAFile), in.certificates(api.settings["client-ca-file"])
	shared := slices.ContainsFunc(etcd, func(c string) bool { return slices.Contains(cluster, c) })
	switch {
	case api.absent:
		f.Found, f.Result = api.why, NotApplicable
	case len(etcd) == 0 || len(cluster) == 0:
		f.Found = "not known: one of the files cannot be read"
	case shared:
		f.Found = "the same"
	default:
		f.Found, f.Result = n.CAFile, Pass
	}
	return f
}

// certificates in a file, as they are encoded.
func (in inspector) certificates(file string) []string {
	if file == "" {
		return nil
	}
	var all []string
	for block, rest := pem.Decode(in.read(file)); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "CERTIFICATE" {
			all = append(all, string(block.Bytes))
		}
	}
	return all
}

var number = regexp.MustCompile(`\d+`)

// order makes 1.1.7 come before 1.1.11.
func order(id string) string {
	return number.ReplaceAllStringFunc(id, func(n string) string { return fmt.Sprintf("%04s", n) })
}
