package stig

import (
	"crypto/fips140"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/drd-project/drd/internal/config"
)

// drd compares what drd has put on the node.
func (in inspector) drd(cfg *config.Config, file string) []Finding {
	findings := in.drdFiles(cfg, file)
	findings = append(findings, in.unit()...)
	findings = append(findings, in.ports(cfg), in.crypto())
	return append(findings, transport(cfg)...)
}

// drdFiles: what holds a secret is for root only, and nothing of drd can be changed by anybody else.
func (in inspector) drdFiles(cfg *config.Config, configFile string) []Finding {
	const id, control, root = "DRD-FILES", "CM-5(6)", "root:root"
	var findings []Finding
	seen := make(map[string]bool)
	add := func(mode fs.FileMode, paths ...string) {
		for _, p := range paths {
			if p != "" && !seen[p] {
				seen[p] = true
				findings = append(findings, in.file(file{id, control, p, mode, root}))
			}
		}
	}
	add(0o755, "/usr/bin/drd")
	add(0o700, path.Dir(configFile))
	add(0o644, configFile, cfg.Seal.RecipientsFile, cfg.Trust.File)
	add(0o600, cfg.Signing.KeyFile, cfg.Etcd.PasswordFile, cfg.Verify.IdentityFile, cfg.Metrics.WebConfigFile)
	for _, t := range cfg.Targets {
		if t.S3 != nil {
			add(0o600, t.S3.CredentialsFile)
			add(0o644, t.S3.CAFile)
		}
	}
	add(0o644, unitFile)
	add(0o644, in.dropIns()...)
	for _, dir := range []string{cfg.StateDir, cfg.RuntimeDir} {
		add(0o700, dir)
		findings = append(findings, in.tree(file{id, control, dir, 0o600, root}, 0o700))
	}
	return findings
}

const unitFile = "/usr/lib/systemd/system/drd.service"

// dropIns of the service, in the order in which systemd reads them.
func (in inspector) dropIns() []string {
	var paths []string
	for _, dir := range []string{"/usr/lib/systemd/system/drd.service.d", "/etc/systemd/system/drd.service.d"} {
		for _, name := range in.list(dir) {
			if strings.HasSuffix(name, ".conf") {
				paths = append(paths, path.Join(dir, name))
			}
		}
	}
	return paths
}

// unit compares the settings of the service that keep secrets off the disk and others out, as its files come to.
func (in inspector) unit() []Finding {
	paths := []string{unitFile}
	if in.read("/etc/systemd/system/drd.service") != nil {
		paths[0] = "/etc/systemd/system/drd.service" // it goes before the package's
	}
	paths = append(paths, in.dropIns()...)
	settings, secrets := make(map[string]string), []string(nil)
	for _, p := range paths {
		for line := range strings.Lines(string(in.read(p))) {
			key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
			settings[key] = value
			if key == "Environment" {
				secrets = append(secrets, secretNames(value)...)
			}
		}
	}
	if len(settings) == 0 {
		return []Finding{{ID: "DRD-UNIT", Control: "AC-6", Subject: unitFile, Expected: "the sandbox that drd ships", Found: "not there", Result: NotApplicable}}
	}
	var findings []Finding
	for _, want := range []struct{ control, key, value string }{
		{"CM-5(6)", "UMask", "0077"}, {"SC-28", "LimitCORE", "0"}, {"SC-28", "MemorySwapMax", "0"}, {"AC-6", "NoNewPrivileges", "yes"},
		{"AC-6", "ProtectSystem", "strict"}, {"AC-6", "PrivateTmp", "yes"}, {"AC-6", "MemoryDenyWriteExecute", "yes"},
	} {
		findings = append(findings, compare(Finding{ID: "DRD-UNIT", Control: want.control, Subject: "drd.service " + want.key, Expected: want.value, Found: settings[want.key]}))
	}
	found := "none"
	if len(secrets) > 0 {
		found = strings.Join(secrets, ", ") // the names and not the values
	}
	return append(findings, compare(Finding{ID: "DRD-SECRETS", Control: "IA-5", Subject: "drd.service Environment", Expected: "none", Found: found}))
}

// compare passes what is as expected.
func compare(f Finding) Finding {
	f.Result = Fail
	if f.Found == f.Expected {
		f.Result = Pass
	}
	if f.Found == "" {
		f.Found = "not set"
	}
	return f
}

// secretNames returns the names of the variables in Environment= that seem to hold a secret. A path of a file is none.
func secretNames(value string) []string {
	var names []string
	for word := range strings.FieldsSeq(strings.NewReplacer(`"`, " ", `'`, " ").Replace(value)) {
		name, content, found := strings.Cut(word, "=")
		if found && looksSecret(name) && !strings.HasPrefix(content, "/") && content != "" {
			names = append(names, name)
		}
	}
	return names
}

func looksSecret(name string) bool {
	name = strings.ToUpper(name)
	return slices.ContainsFunc([]string{"SECRET", "PASSWORD", "PASSWD", "TOKEN", "PRIVATE_KEY", "ACCESS_KEY", "CREDENTIAL"}, func(word string) bool {
		return strings.Contains(name, word)
	})
}

// ports: drd listens on this machine only, or with TLS.
func (in inspector) ports(cfg *config.Config) Finding {
	f := Finding{ID: "DRD-PORTS", Control: "CM-7", Subject: "metrics.listen", Expected: "loopback, or TLS", Found: cfg.Metrics.Listen, Result: Fail}
	host, _, _ := net.SplitHostPort(cfg.Metrics.Listen)
	if ip := net.ParseIP(host); host == "localhost" || ip != nil && ip.IsLoopback() {
		f.Result = Pass
		return f
	}
	var web struct {
		TLS map[string]any `yaml:"tls_server_config"`
	}
	if text := in.read(cfg.Metrics.WebConfigFile); cfg.Metrics.WebConfigFile != "" && yaml.Unmarshal(text, &web) == nil && len(web.TLS) > 0 {
		f.Found, f.Result = f.Found+" with TLS", Pass
	}
	return f
}

// transport: nothing of drd's goes over a network in the clear.
func transport(cfg *config.Config) []Finding {
	var findings []Finding
	add := func(subject, address string) {
		f := Finding{ID: "DRD-TRANSPORT", Control: "SC-8", Subject: subject, Expected: "https", Found: "https", Result: Pass}
		if u, err := url.Parse(address); err != nil || u.Scheme != "https" {
			f.Found, f.Result = "http", Fail
		}
		findings = append(findings, f)
	}
	for i, e := range cfg.Etcd.Endpoints {
		add(fmt.Sprintf("etcd.endpoints[%d]", i), e)
	}
	for _, t := range cfg.Targets {
		if t.S3 != nil {
			endpoint := t.S3.Endpoint
			if endpoint == "" {
				endpoint = "https://" // Amazon's own
			}
			add("target "+t.Name, endpoint)
		}
	}
	return findings
}

// crypto: a kernel in FIPS mode says that this node must use validated cryptography only. drd's envelope, age, is not made of
// approved algorithms, whatever module computes them.
func (in inspector) crypto() Finding {
	f := Finding{ID: "DRD-CRYPTO", Control: "SC-13", Subject: "envelope age-v1", Expected: "approved algorithms on a node in FIPS mode", Result: NotApplicable, Found: "the node is not in FIPS mode"}
	if strings.TrimSpace(string(in.read("/proc/sys/crypto/fips_enabled"))) == "1" {
		f.Found, f.Result = "X25519 and ChaCha20-Poly1305, which are not approved; module in FIPS mode: "+yesNo(fips140.Enabled()), Fail
	}
	return f
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
