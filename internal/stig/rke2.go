package stig

import (
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/drd-project/drd/internal/distro"
)

const (
	stigFiles    = "CNTR-R2-000520"
	stigPorts    = "CNTR-R2-000580"
	stigSecrets  = "CNTR-R2-000800"
	stigAudit    = "CNTR-R2-000060"
	stigAuditAge = "CNTR-R2-000320"
	stigTLS      = "CNTR-R2-000010"
)

// rke2 compares what the STIG asks of a server's files and settings.
func (in inspector) rke2(n *distro.Node) []Finding {
	findings := in.rke2Files(n)
	pods := path.Join(n.Manifests, "kube-apiserver.yaml")
	flags := in.flags(pods)
	findings = append(findings,
		setting(stigAudit, "CM-6", "/etc/rancher/rke2/config.yaml profile", "cis", text(n.Config["profile"]), func(v string) bool { return v == "cis" || strings.HasPrefix(v, "cis-") }),
		setting(stigAudit, "AU-12", pods+" --audit-log-mode", "blocking-strict", flags["audit-log-mode"], func(v string) bool { return v == "blocking-strict" }),
		setting(stigAudit, "AU-12", pods+" --audit-policy-file", "a file", flags["audit-policy-file"], func(v string) bool { return v != "" }),
		setting(stigAuditAge, "AU-4", pods+" --audit-log-maxage", "30 days or more", flags["audit-log-maxage"], func(v string) bool { days, err := strconv.Atoi(v); return err == nil && days >= 30 }),
		setting(stigTLS, "SC-13", pods+" --tls-min-version", "VersionTLS12 or VersionTLS13", flags["tls-min-version"], func(v string) bool { return v == "VersionTLS12" || v == "VersionTLS13" }),
		setting(stigPorts, "CM-7", path.Join(n.DataDir, "config")+" listen-metrics-urls", "loopback", in.etcdSettings(n)["listen-metrics-urls"], onLoopback),
	)
	for _, name := range in.list(n.Manifests) {
		if strings.HasSuffix(name, ".yaml") {
			findings = append(findings, in.podSecrets(path.Join(n.Manifests, name)))
		}
	}
	return findings
}

// rke2Files are those of rule 000520. Entries of the configuration's directory have the stricter mode of newer texts of the rule.
func (in inspector) rke2Files(n *distro.Node) []Finding {
	const control, root = "CM-5(6)", "root:root"
	server := n.ServerDir
	var findings []Finding
	for _, name := range in.list("/etc/rancher/rke2") {
		p := path.Join("/etc/rancher/rke2", name)
		if info, err := os.Stat(in.at(p)); err == nil && info.IsDir() {
			findings = append(findings, in.tree(file{stigFiles, control, p, 0o600, root}, 0o700))
			continue
		}
		findings = append(findings, in.file(file{stigFiles, control, p, 0o600, root}))
	}
	modes := map[string]fs.FileMode{"cred": 0o700, "db": 0o700, "tls": 0o700, "manifests": 0o750, "logs": 0o750, "token": 0o600, "agent-token": 0o600, "node-token": 0o600}
	for _, name := range in.list(server) {
		mode, known := modes[name]
		if !known {
			mode = anyMode // the rule asks for the owner only
		}
		findings = append(findings, in.file(file{stigFiles, control, path.Join(server, name), mode, root}))
	}
	return append(findings,
		in.file(file{stigFiles, control, path.Join(server, "db/snapshots"), 0o700, root}),
		in.tree(file{stigFiles, control, path.Join(server, "db/snapshots"), 0o600, root}, 0o700))
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
		if err != nil || !slices.Contains([]string{"127.0.0.1", "::1", "localhost"}, u.Hostname()) {
			return false
		}
	}
	return true
}

var flag = regexp.MustCompile(`--([a-z0-9-]+)=([^\s"',]+)`)

// flags are those of the programs in a static pod's manifest, as the kubelet runs them.
func (in inspector) flags(manifest string) map[string]string {
	found := make(map[string]string)
	for _, m := range flag.FindAllStringSubmatch(string(in.read(manifest)), -1) {
		found[m[1]] = m[2]
	}
	return found
}

// podSecrets looks for secrets that stand in a static pod's manifest as values of variables.
func (in inspector) podSecrets(manifest string) Finding {
	var pod struct {
		Spec struct {
			Containers []struct {
				Env []struct{ Name, Value string } `yaml:"env"`
			} `yaml:"containers"`
		} `yaml:"spec"`
	}
	f := Finding{ID: stigSecrets, Control: "IA-5", Subject: manifest + " env", Expected: "no secrets", Found: "none", Result: Pass}
	if err := yaml.Unmarshal(in.read(manifest), &pod); err != nil {
		f.Found, f.Result = "the manifest cannot be read", Fail
		return f
	}
	var names []string
	for _, c := range pod.Spec.Containers {
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
