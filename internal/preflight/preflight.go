// Package preflight finds out, before it matters, whether a backup would work from this node: the member, the keys, the
// disk, the clock, the service and every target. It does what a backup does, as far as that leaves no trace.
package preflight

import (
	"context"
	"crypto/x509"
	"fmt"
	"time"

	"github.com/drd-project/drd/internal/config"
	"github.com/drd-project/drd/internal/disk"
	"github.com/drd-project/drd/internal/etcd"
	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/replicate"
	"github.com/drd-project/drd/internal/seal"
)

// Status of a check.
type Status string

// A warning does not keep a backup from working; a failure does.
const (
	OK   Status = "ok"
	Warn Status = "warning"
	Fail Status = "failed"
)

// Check is one thing that was looked at.
type Check struct {
	Name   string   `json:"name"` // "etcd", "target primary", …
	Status Status   `json:"status"`
	Detail string   `json:"detail"` // what was found
	Hints  []string `json:"hints,omitempty"`
}

// Config names what to look at. Of a verifier host Connect, Recipients and Keys are nil, and Signer may be.
type Config struct {
	// Settings is the configuration that the rest was made of: what it asks for is compared with what there is.
	Settings *config.Config
	// ConfigFile is where Settings came from; "" is not looked at.
	ConfigFile string

	Connect    func(ctx context.Context) (*etcd.Client, error)
	Recipients *seal.Recipients
	Signer     *seal.Signer
	Trust      *seal.Trust // whose snapshots this node believes
	Keys       *seal.KeyRing
	StateDir   string
	Targets    []replicate.Target
	// ReadOnly is for a host that writes nothing into the targets: a verifier without a signing key.
	ReadOnly bool
	// Unit is the systemd unit that should be active, "" not to ask.
	Unit string
	// UnitFile is the text of that unit as this drd ships it; "" is not compared.
	UnitFile string
	Outputs  Outputs
	// AuditFile is the newest file of this host's audit log, which may not be there yet; "" is not looked at.
	AuditFile string
}

// targetTimeout bounds how long one target may take; etcd has its own dial timeout.
const targetTimeout = 30 * time.Second

// heldTimeout is when a check is given up that has not ended with targetTimeout: a dead network mount holds it in the kernel.
const heldTimeout = targetTimeout + 5*time.Second

// cluster is what the first checks find out of the cluster, for those after them.
type cluster struct {
	dbSize  int64  // bytes; 0: not known
	self    string // ID of the member, in hex; "": not known
	members []etcd.Member
}

// Run makes all checks, one after the other, and never stops at the first failure.
func Run(ctx context.Context, cfg Config) []Check {
	if cfg.Settings == nil {
		cfg.Settings = &config.Config{}
	}
	var found cluster
	var shown [][]*x509.Certificate // by etcd's members
	var checks []Check
	if cfg.Connect != nil {
		found, checks = checkEtcd(ctx, cfg.Connect)
		var of []Check
		shown, of = checkEtcdServers(ctx, cfg.Settings.Etcd, found.members)
		checks = append(checks, of...)
	}
	checks = append(checks, checkCertificateFiles(cfg.Settings, shown)...)
	checks = append(checks, checkKeys(ctx, cfg, found)...)
	checks = append(checks, within(heldTimeout, "files", func() []Check { return checkFiles(cfg) })...)
	checks = append(checks, checkMachine(cfg, found.dbSize)...)
	checks = append(checks, checkClock())
	running := false
	if cfg.Unit != "" {
		var of []Check
		running, of = checkUnit(ctx, cfg)
		checks = append(checks, of...)
	}
	checks = append(checks, checkOutputs(ctx, cfg.Outputs, cfg.Settings.Metrics, running)...)
	if cfg.AuditFile != "" {
		checks = append(checks, checkAudit(ctx, cfg, found.self))
		if err := checkAppend(cfg.AuditFile); err != nil {
			checks = append(checks, fail("audit log", err))
		}
	}
	for _, t := range cfg.Targets {
		checks = append(checks, within(heldTimeout, "target "+t.Name, func() []Check { return checkTarget(ctx, cfg, t, found.dbSize) })...)
	}
	return checks
}

// within returns what look finds, or that it did not come back. Nobody waits longer for its goroutine.
func within(limit time.Duration, name string, look func() []Check) []Check {
	done := make(chan []Check, 1)
	go func() { done <- look() }()
	select {
	case found := <-done:
		return found
	case <-time.After(limit):
		return []Check{fail(name, hint.New(fmt.Errorf("no answer within %v", limit), "is a network file system dead that a directory lies on?"))}
	}
}

// Failed says whether any check failed.
func Failed(checks []Check) bool { return Failures(checks) > 0 }

// Failures is how many checks failed.
func Failures(checks []Check) int {
	n := 0
	for _, c := range checks {
		if c.Status == Fail {
			n++
		}
	}
	return n
}

func ok(name, format string, args ...any) Check {
	return Check{Name: name, Status: OK, Detail: fmt.Sprintf(format, args...)}
}

func warn(name string, err error) Check {
	return Check{Name: name, Status: Warn, Detail: err.Error(), Hints: hint.Of(err)}
}

func fail(name string, err error) Check {
	return Check{Name: name, Status: Fail, Detail: err.Error(), Hints: hint.Of(err)}
}

// checkEtcd returns what it found out of the cluster, too.
func checkEtcd(ctx context.Context, connect func(context.Context) (*etcd.Client, error)) (cluster, []Check) {
	client, err := connect(ctx)
	if err != nil {
		return cluster{}, []Check{fail("etcd", err)}
	}
	defer client.Close()
	status, err := client.Status(ctx)
	if err != nil {
		return cluster{}, []Check{fail("etcd", err)}
	}
	found := cluster{dbSize: status.DBSize, self: etcd.FormatID(status.MemberID)}
	checks := []Check{ok("etcd", "member %s of cluster %s at %s, etcd %s, database %s",
		etcd.FormatID(status.MemberID), etcd.FormatID(status.ClusterID), client.Endpoint(), status.Version, disk.Size(status.DBSize))}
	checks = append(checks, checkState(status)...)
	if found.members, err = client.Members(ctx); err != nil && !status.IsLearner { // a learner does not list them
		checks = append(checks, warn("etcd", err))
	}
	checks = append(checks, checkVersion(status.Version)...)
	checks = append(checks, checkAlarms(status)...)
	return found, append(checks, checkPermission(ctx, client))
}

// checkPermission begins a snapshot and gives it up after the first message: nothing else shows that it is allowed.
func checkPermission(ctx context.Context, client *etcd.Client) Check {
	ctx, cancel := context.WithTimeout(ctx, targetTimeout)
	defer cancel()
	stream, err := client.SnapshotStream(ctx)
	if err == nil {
		_, err = stream.Recv()
	}
	if err != nil {
		return fail("etcd snapshot", err)
	}
	return ok("etcd snapshot", "the member serves snapshots to this client")
}
