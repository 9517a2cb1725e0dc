package stig

import (
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/drd-project/drd/internal/distro"
)

const (
	stigTLS           = "CNTR-R2-000010"
	stigAccounts      = "CNTR-R2-000030"
	stigAudit         = "CNTR-R2-000060"
	stigController    = "CNTR-R2-000100"
	stigKubeletAnon   = "CNTR-R2-000110"
	stigKubeletPort   = "CNTR-R2-000130"
	stigKubeletAuth   = "CNTR-R2-000150"
	stigAnonymous     = "CNTR-R2-000160"
	stigAuditAge      = "CNTR-R2-000320"
	stigFiles         = "CNTR-R2-000520"
	stigPorts         = "CNTR-R2-000580"
	stigSecrets       = "CNTR-R2-000800"
	stigIdle          = "CNTR-R2-000890"
	stigKernel        = "CNTR-R2-000940"
	stigPodSecurity   = "CNTR-R2-001130"
	stigAuthorization = "CNTR-R2-001270"
)

// rke2 compares what the STIG asks of a server's files and settings.
func (in inspector) rke2(n *distro.Node) []Finding {
	profile := text(n.Config["profile"])
	isCIS := func(v string) bool { return v == "cis" || strings.HasPrefix(v, "cis-") }
	findings := append(in.rke2Files(n), setting(stigAudit, "CM-6", "/etc/rancher/rke2/config.yaml profile", "cis", profile, isCIS))
	findings = append(findings, in.rke2Pods(n)...)
	findings = append(findings, in.kubelet(n)...)
	if profile != "" { // then etcd runs as a user that RKE2 looks up in these files, and in no directory of a network
		for _, table := range []string{"/etc/passwd", "/etc/group"} {
			findings = append(findings, setting("CIS-1.1.12", "CM-6", table+" etcd", "there", in.named(table, "etcd"), is("there")))
		}
		findings = append(findings, in.etcdOwns(n.DataDir)...)
	}
	for _, name := range in.list(n.Manifests) {
		if !strings.HasPrefix(name, ".") { // the kubelet takes all others
			findings = append(findings, in.podSecrets(path.Join(n.Manifests, name)))
		}
	}
	return findings
}

// rke2Pods compares how the control plane was started.
func (in inspector) rke2Pods(n *distro.Node) []Finding {
	api, controller, scheduler := in.component(n, "kube-apiserver"), in.component(n, "kube-controller-manager"), in.component(n, "kube-scheduler")
	findings := []Finding{
		controller.flag(stigAccounts, "AC-2(1)", "use-service-account-credentials", "true", is("true")),
		controller.flag(stigController, "AC-3", "bind-address", "loopback", loopback),
		api.flag(stigAudit, "AU-12", "audit-log-mode", "blocking-strict", is("blocking-strict")),
		api.flag(stigAudit, "AU-12", "audit-policy-file", "a file", anything),
		api.flag(stigAnonymous, "AC-3", "anonymous-auth", "false", is("false")),
		api.flag(stigAuditAge, "AU-4", "audit-log-maxage", "30 days or more", func(v string) bool { days, err := strconv.Atoi(v); return err == nil && days >= 30 }),
		api.flag(stigPodSecurity, "AC-6(10)", "admission-control-config-file", "a file", anything),
		api.flag(stigAuthorization, "CM-11(2)", "authorization-mode", "Node and RBAC only", func(v string) bool { return v == "Node,RBAC" || v == "RBAC,Node" }),
	}
	for _, c := range []component{api, controller, scheduler} {
		findings = append(findings,
			c.flag(stigTLS, "SC-13", "tls-min-version", "VersionTLS12 or VersionTLS13", func(v string) bool { return v == "VersionTLS12" || v == "VersionTLS13" }),
			c.flag(stigTLS, "SC-13", "tls-cipher-suites", "ECDHE with AES and GCM only", approved))
	}
	return append(findings, in.etcd(n).compare(stigPorts, "CM-7", path.Join(n.DataDir, "config")+" listen-metrics-urls", "loopback", "listen-metrics-urls", onLoopback))
}

// approved are the suites of TLS 1.2 that the rule lists; those of TLS 1.3 cannot be set.
func approved(suites string) bool {
	return suites != "" && !slices.ContainsFunc(strings.Split(suites, ","), func(s string) bool {
		return !strings.HasPrefix(s, "TLS_ECDHE_") || !strings.Contains(s, "_WITH_AES_") || !strings.Contains(s, "_GCM_")
	})
}

// etcdOwns compares who owns what is in etcd's directory. A file that a restore has left to root stops etcd.
func (in inspector) etcdOwns(dir string) []Finding {
	f := file{"CIS-1.1.12", "CM-6", dir, anyMode, "etcd:etcd"}
	return in.below(f, Finding{ID: f.id, Control: f.control, Subject: dir + "/**", Expected: f.owner}, func(*file, bool) bool { return true })
}

// rke2Files are those of rule 000520. Entries of the configuration's directory have the stricter mode of newer texts of the rule.
func (in inspector) rke2Files(n *distro.Node) []Finding {
	const control, root, etc = "CM-5(6)", "root:root", "/etc/rancher/rke2"
	var findings []Finding
	one := func(p string, mode fs.FileMode) {
		findings = append(findings, in.file(file{stigFiles, control, p, mode, root}))
	}
	one(path.Dir(etc), 0o755) // who can write there can put another configuration in place of this
	one(etc, 0o755)
	for _, name := range in.list(etc) {
		p := path.Join(etc, name)
		if info, err := os.Stat(in.at(p)); err != nil || !info.IsDir() {
			one(p, 0o600)
			continue
		}
		one(p, 0o700)
		findings = append(findings, in.tree(file{stigFiles, control, p, 0o600, root}, 0o700)...)
	}
	data := path.Dir(n.ServerDir)
	for _, d := range []struct {
		dir   string
		modes map[string]fs.FileMode // of others the rule asks for the owner only; "*" are all
	}{
		{n.ServerDir, map[string]fs.FileMode{"cred": 0o700, "db": 0o700, "tls": 0o700, "manifests": 0o750, "logs": 0o750, "token": 0o600, "agent-token": 0o600, "node-token": 0o600}},
		{path.Join(data, "agent"), map[string]fs.FileMode{"pod-manifests": 0o700, "etc": 0o700, "*.kubeconfig": 0o640, "*.key": 0o600}},
		{path.Join(data, "bin"), map[string]fs.FileMode{"*": 0o750}},
	} {
		for _, name := range in.list(d.dir) {
			mode := anyMode
			for pattern, wanted := range d.modes {
				if matched, err := path.Match(pattern, name); err == nil && matched {
					mode = wanted
				}
			}
			one(path.Join(d.dir, name), mode)
		}
	}
	one(path.Join(data, "data"), 0o750)
	snapshots := path.Join(n.ServerDir, "db/snapshots")
	one(snapshots, 0o700)
	return append(findings, in.tree(file{stigFiles, control, snapshots, 0o600, root}, 0o700)...)
}

// setting compares one value; "" is not set.
func setting(id, control, subject, expected, found string, good func(string) bool) Finding {
	f := Finding{ID: id, Control: control, Subject: subject, Expected: expected, Found: found, Result: Fail}
	if good(found) {
		f.Result = Pass
	}
	if found == "" {
		f.Found = "not set"
	}
	return f
}

func text(v any) string {
	if v == nil {
		return ""
	}
	return fmt.Sprint(v)
}

func onLoopback(urls string) bool {
	for one := range strings.SplitSeq(urls, ",") {
		u, err := url.Parse(strings.TrimSpace(one))
		if err != nil || !loopback(u.Hostname()) {
			return false
		}
	}
	return true
}

func loopback(host string) bool {
	return slices.Contains([]string{"127.0.0.1", "::1", "localhost"}, host)
}

func is(expected string) func(string) bool { return func(v string) bool { return v == expected } }

func anything(v string) bool { return v != "" }

// podSecrets looks for secrets that stand in a static pod's manifest as values of variables.
func (in inspector) podSecrets(manifest string) Finding {
	type container struct {
		Env []struct{ Name, Value string } `yaml:"env"`
	}
	var pod struct {
		Spec struct {
			Containers     []container `yaml:"containers"`
			InitContainers []container `yaml:"initContainers"`
		} `yaml:"spec"`
	}
	f := Finding{ID: stigSecrets, Control: "IA-5", Subject: manifest + " env", Expected: "no secrets", Found: "none", Result: Pass}
	if err := yaml.Unmarshal(in.read(manifest), &pod); err != nil {
		f.Found, f.Result = "the manifest cannot be read", Fail
		return f
	}
	var names []string
	for _, c := range append(pod.Spec.Containers, pod.Spec.InitContainers...) {
		for _, e := range c.Env {
			if looksSecret(e.Name) && e.Value != "" && !strings.HasPrefix(e.Value, "/") {
				names = append(names, e.Name)
			}
		}
	}
	if len(names) > 0 {
		f.Found, f.Result = strings.Join(names, ", "), Fail
	}
	return f
}
