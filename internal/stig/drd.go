package stig

import (
	"context"
	"crypto/fips140"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"path"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/drd-project/drd/internal/config"
)

// drd compares what drd has put on the node.
func (in inspector) drd(ctx context.Context, cfg *config.Config, file string) []Finding {
	var findings []Finding
	var files []string
	for _, unit := range []string{"drd.service", "drd-verify.service"} {
		u := in.unit(ctx, unit)
		findings, files = append(findings, u.compare()...), append(files, u.files...)
		findings = append(findings, in.unitSecrets(u)...)
	}
	findings = append(in.drdFiles(cfg, file, files), findings...)
	findings = append(findings, in.ports(cfg), in.crypto())
	return append(findings, transport(cfg)...)
}

// drdFiles: what holds a secret is for root only, and nothing of drd can be changed by anybody else.
func (in inspector) drdFiles(cfg *config.Config, configFile string, unitFiles []string) []Finding {
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
	add(0o600, cfg.Signing.KeyFile, cfg.Etcd.PasswordFile, cfg.Verify.IdentityFile, cfg.Metrics.WebConfigFile, cfg.Metrics.HeartbeatURLFile)
	for _, t := range cfg.Targets {
		if t.S3 != nil {
			add(0o600, t.S3.CredentialsFile)
			add(0o644, t.S3.CAFile)
		}
	}
	add(0o644, unitFiles...)
	for _, dir := range []string{cfg.StateDir, cfg.RuntimeDir} {
		add(0o700, dir)
		for _, f := range in.tree(file{id, control, dir, 0o600, root}, 0o700) {
			if !seen[f.Subject] { // a key may be there too
				findings = append(findings, f)
			}
		}
	}
	return findings
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
