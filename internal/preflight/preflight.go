// Package preflight finds out, before it matters, whether a backup would work from this node: the member, the keys, the
// disk, the clock, the service and every target. It does what a backup does, as far as that leaves no trace.
package preflight

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/drd-project/drd/internal/disk"
	"github.com/drd-project/drd/internal/etcd"
	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/replicate"
	"github.com/drd-project/drd/internal/seal"
	"github.com/drd-project/drd/internal/snapshot"
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

// Config names what to look at.
type Config struct {
	Connect    func(ctx context.Context) (*etcd.Client, error)
	Recipients *seal.Recipients
	Signer     *seal.Signer
	Trust      *seal.Trust // whose snapshots this node believes
	Keys       *seal.KeyRing
	StateDir   string
	Targets    []replicate.Target
	// Unit is the systemd unit that should be active, "" not to ask.
	Unit string
}

// targetTimeout bounds how long one target may take; etcd has its own dial timeout.
const targetTimeout = 30 * time.Second

// Run makes all checks, one after the other, and never stops at the first failure.
func Run(ctx context.Context, cfg Config) []Check {
	size, checks := checkEtcd(ctx, cfg.Connect)
	checks = append(checks, checkKeys(cfg)...)
	checks = append(checks, checkDisk(cfg.StateDir, size), checkClock())
	if cfg.Unit != "" {
		checks = append(checks, checkUnit(ctx, cfg.Unit))
	}
	for _, t := range cfg.Targets {
		checks = append(checks, checkTarget(ctx, t, size)...)
	}
	return checks
}

// Failed says whether any check failed.
func Failed(checks []Check) bool {
	for _, c := range checks {
		if c.Status == Fail {
			return true
		}
	}
	return false
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

// checkEtcd returns the size of the database too, 0 when it is not known.
func checkEtcd(ctx context.Context, connect func(context.Context) (*etcd.Client, error)) (int64, []Check) {
	client, err := connect(ctx)
	if err != nil {
		return 0, []Check{fail("etcd", err)}
	}
	defer client.Close()
	status, err := client.Status(ctx)
	if err != nil {
		return 0, []Check{fail("etcd", err)}
	}
	checks := []Check{ok("etcd", "member %s of cluster %s at %s, etcd %s, database %s",
		etcd.FormatID(status.MemberID), etcd.FormatID(status.ClusterID), client.Endpoint(), status.Version, disk.Size(status.DBSize))}
	checks = append(checks, checkState(status)...)
	checks = append(checks, checkVersion(status.Version)...)
	checks = append(checks, checkAlarms(status)...)
	return status.DBSize, append(checks, checkPermission(ctx, client))
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

func checkKeys(cfg Config) []Check {
	checks := []Check{
		ok("recipients", "sealed for %s", strings.Join(cfg.Recipients.Fingerprints(), ", ")),
		checkSigner(cfg),
	}
	if !cfg.Keys.OnTmpfs() {
		checks = append(checks, warn("runtime directory", hint.New(errors.New("the keys of fresh objects are kept on a disk, where they outlive a reboot"),
			"set runtime_dir to a directory below /run")))
	}
	return checks
}

// checkSigner sees to it that what this node signs, this node believes: else its snapshots count nowhere.
func checkSigner(cfg Config) Check {
	const name = "signing key"
	message := []byte("drd check")
	signature, err := cfg.Signer.Sign(message)
	if err == nil {
		_, err = cfg.Trust.Verify(message, signature, time.Now())
	}
	if err != nil {
		return fail(name, hint.New(fmt.Errorf("%s does not count here: %w", cfg.Signer.Fingerprint(), err),
			"add this node's public key to the allowed signers (trust.file), on every node"))
	}
	return ok(name, "%s", cfg.Signer.Fingerprint())
}

func checkDisk(dir string, dbSize int64) Check {
	free, err := disk.Free(dir)
	if err != nil {
		return fail("disk", err)
	}
	if dbSize == 0 {
		return ok("disk", "%s free in %s", disk.Size(free), dir)
	}
	need := snapshot.Room(dbSize)
	if err := disk.Require(dir, need, "a snapshot of "+disk.Size(dbSize)); err != nil {
		return fail("disk", err)
	}
	return ok("disk", "%s free in %s, a snapshot needs up to %s", disk.Size(free), dir, disk.Size(need))
}

// checkClock asks the kernel whether something keeps its clock right. Snapshots are named by time, and S3 refuses requests that
// are 15 minutes off.
func checkClock() Check {
	var tx unix.Timex
	state, err := unix.Adjtimex(&tx)
	if err != nil {
		return warn("clock", fmt.Errorf("ask the kernel: %w", err))
	}
	if state == unix.TIME_ERROR || tx.Status&unix.STA_UNSYNC != 0 {
		return warn("clock", hint.New(fmt.Errorf("it is %s, and nothing keeps the clock synchronized", time.Now().UTC().Format(time.RFC3339)), "run chronyd or systemd-timesyncd"))
	}
	return ok("clock", "synchronized, %s", time.Now().UTC().Format(time.RFC3339))
}

func checkUnit(ctx context.Context, unit string) Check {
	out, err := exec.CommandContext(ctx, "systemctl", "is-active", unit).Output()
	if errors.Is(err, exec.ErrNotFound) {
		return warn("service", errors.New("there is no systemctl on this host: see to it that drd daemon runs"))
	}
	if state := strings.TrimSpace(string(out)); state != "active" {
		return warn("service", hint.New(fmt.Errorf("%s is %s: no scheduled snapshots are taken", unit, orUnknown(state)), "install systemd/drd.service, then: systemctl enable --now %s", unit))
	}
	return ok("service", "%s is active", unit)
}

func orUnknown(s string) string {
	if s == "" {
		return "not known to systemd"
	}
	return s
}
