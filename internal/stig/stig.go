// Package stig compares a node, path by path, with what hardening guides ask of it: the DISA STIG for RKE2 (CNTR-R2-…), the CIS
// Kubernetes Benchmark (CIS-…), and for drd's own files what follows from the same controls of NIST SP 800-53 (DRD-…).
//
// It reads the node's files, their modes, owners and, of configurations, their content, the arguments of processes, and asks systemd what it
// has made of drd's units. What takes a running API server to know is not looked at: docs/stig.md says which rules that leaves out.
package stig

import (
	"context"
	"errors"
	"os"

	"github.com/drd-project/drd/internal/config"
	"github.com/drd-project/drd/internal/distro"
)

// Result of one comparison.
type Result string

// A finding is open when it has failed.
const (
	Pass          Result = "pass"
	Fail          Result = "fail"
	NotApplicable Result = "not applicable"
)

// Finding is one thing that was compared. ID and Subject together are unique and stay the same.
type Finding struct {
	ID       string `json:"id"`      // "CNTR-R2-000520", "CIS-1.1.11", "DRD-FILES"
	Control  string `json:"control"` // of NIST SP 800-53 Rev. 5: "CM-5(6)"
	Subject  string `json:"subject"` // a path, or the name of a setting
	Expected string `json:"expected"`
	Found    string `json:"found"`
	Result   Result `json:"result"`
}

// Check compares the node that this process runs on. cfg is drd's configuration, read from file.
func Check(ctx context.Context, cfg *config.Config, file string) ([]Finding, error) {
	_, err := os.Stat("/run/systemd/system") // as sd_booted(3) does
	return inspector{root: "/", systemd: err == nil}.check(ctx, cfg, file)
}

// Open returns how many findings have failed.
func Open(findings []Finding) int {
	n := 0
	for _, f := range findings {
		if f.Result == Fail {
			n++
		}
	}
	return n
}

// check first looks at drd, then at the distribution.
func (in inspector) check(ctx context.Context, cfg *config.Config, file string) ([]Finding, error) {
	findings := in.drd(ctx, cfg, file)
	node, err := distro.Detect(in.root)
	if err != nil && !errors.Is(err, distro.ErrNoEtcd) {
		return nil, err
	}
	switch {
	case node != nil && node.Distro == "rke2":
		findings = append(findings, in.rke2(node)...)
	default:
		findings = append(findings, Finding{
			ID: "CNTR-R2", Control: "CM-6", Subject: "RKE2 STIG", Expected: "on server nodes of RKE2", Found: "this is none", Result: NotApplicable,
		})
	}
	if node != nil && node.Manifests != "" {
		findings = append(findings, in.cis(node)...)
	}
	return findings, nil
}
