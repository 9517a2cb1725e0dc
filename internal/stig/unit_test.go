package stig

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// answers are what systemd 252 says of drd.service and drd-verify.service as shipped, in the form of systemctl show.
var answers = map[string]string{
	"drd.service": `LoadState=loaded
NeedDaemonReload=no
FragmentPath=/usr/lib/systemd/system/drd.service
DropInPaths=/etc/systemd/system/drd.service.d/own.conf
Environment=AWS_PROFILE=x
EnvironmentFiles=/etc/default/drd (ignore_errors=yes)
EnvironmentFiles=/etc/default/drd.more (ignore_errors=no)
PassEnvironment=
CapabilityBoundingSet=
RestrictNamespaces=yes
` + sandbox,
	"drd-verify.service": `LoadState=loaded
NeedDaemonReload=no
FragmentPath=/usr/lib/systemd/system/drd-verify.service
DropInPaths=
Environment=
PassEnvironment=
CapabilityBoundingSet=cap_setfcap
RestrictNamespaces=net user
` + sandbox,
}

const sandbox = `UMask=0077
LimitCORE=0
MemorySwapMax=0
ProtectSystem=strict
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
SystemCallFilter=_llseek accept accept4 access alarm bind brk clone close connect epoll_wait execve futex mmap openat read write
NoNewPrivileges=yes
PrivateTmp=yes
PrivateDevices=yes
ProtectHome=yes
ProtectClock=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
`

// fake puts a systemctl into PATH that gives the answers, changed for one unit. It stands for answers of a systemd that cannot be brought
// about here; test/systemd asks a real one.
func fake(t *testing.T, unit, old, text string) {
	t.Helper()
	dir := t.TempDir()
	for name, answer := range answers {
		if name == unit {
			if !strings.Contains(answer, old) {
				t.Fatalf("the answer has no %q", old)
			}
			answer = strings.Replace(answer, old, text, 1)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(answer), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	script := fmt.Sprintf("#!/bin/sh\n[ \"$1\" = show ] && exec cat '%s/'\"$2\"\n", dir)
	if err := os.WriteFile(filepath.Join(dir, "systemctl"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

// TestSystemd: what systemd has loaded counts, whatever the files say.
func TestSystemd(t *testing.T) {
	for want, c := range map[string]struct{ unit, old, text string }{
		"":                                 {"drd.service", "UMask", "UMask"},
		"DRD-UNIT drd.service UMask: 0000": {"drd.service", "UMask=0077", "UMask=0000"},
		"DRD-UNIT drd.service LimitCORE: infinity":                                                            {"drd.service", "LimitCORE=0", "LimitCORE=infinity"},
		"DRD-UNIT drd.service ProtectSystem: no":                                                              {"drd.service", "ProtectSystem=strict", "ProtectSystem=no"},
		"DRD-UNIT drd.service NoNewPrivileges: no":                                                            {"drd.service", "NoNewPrivileges=yes", "NoNewPrivileges=no"},
		"DRD-UNIT drd.service NeedDaemonReload: yes":                                                          {"drd.service", "NeedDaemonReload=no", "NeedDaemonReload=yes"},
		"DRD-UNIT drd.service LoadState: masked":                                                              {"drd.service", "LoadState=loaded", "LoadState=masked"},
		"DRD-UNIT drd.service CapabilityBoundingSet: cap_chown cap_sys_admin":                                 {"drd.service", "CapabilityBoundingSet=", "CapabilityBoundingSet=cap_chown cap_sys_admin"},
		"DRD-UNIT drd.service CapabilityBoundingSet: not set":                                                 {"drd.service", "CapabilityBoundingSet=\n", ""},
		"DRD-UNIT drd.service RestrictAddressFamilies: ~":                                                     {"drd.service", "AF_UNIX AF_INET AF_INET6", "~"},
		"DRD-UNIT drd.service SystemCallFilter: ~":                                                            {"drd.service", answerLine("SystemCallFilter"), "SystemCallFilter=~"},
		"DRD-UNIT drd.service SystemCallFilter: with mount":                                                   {"drd.service", "mmap", "mmap mount:EPERM"},
		"DRD-UNIT drd-verify.service SystemCallFilter: everything but some":                                   {"drd-verify.service", "=_llseek", "=~_llseek"},
		"DRD-UNIT drd-verify.service RestrictNamespaces: no":                                                  {"drd-verify.service", "RestrictNamespaces=net user", "RestrictNamespaces=no"},
		"DRD-UNIT drd.service RestrictNamespaces: user":                                                       {"drd.service", "RestrictNamespaces=yes", "RestrictNamespaces=user"},
		"DRD-SECRETS drd.service Environment: AWS_SECRET_ACCESS_KEY":                                          {"drd.service", "AWS_PROFILE=x", `AWS_PROFILE=x "AWS_SECRET_ACCESS_KEY=Planted0Secret x"`},
		"DRD-SECRETS drd.service EnvironmentFile: DB_PASSWORD":                                                {"drd.service", "/etc/default/drd.more", "/etc/default/secrets"},
		"DRD-UNIT drd.service: ask systemd for drd.service: the answer has no LoadState: by the unit's files": {"drd.service", answers["drd.service"], ""},
		"DRD-FILES /run/systemd/transient/x.conf: 0666, root:root":                                            {"drd.service", "own.conf", "own.conf /run/systemd/transient/x.conf"},
	} {
		t.Run(want, func(t *testing.T) {
			n, cfg := hardened(t)
			n.t, n.systemd = t, true
			n.file("/etc/default/secrets", 0o600, "DB_PASSWORD=Planted0Secret\n")
			n.file("/run/systemd/transient/x.conf", 0o666, "[Service]\n")
			fake(t, c.unit, c.old, c.text)
			wanted := etcdOwner
			if want != "" {
				wanted = append([]string{want}, etcdOwner...)
			}
			findings := n.check(cfg)
			if diff := cmp.Diff(wanted, failed(findings), sorted); diff != "" {
				t.Errorf("open findings (-want +got):\n%s", diff)
			}
			if text := fmt.Sprintf("%+v", findings); strings.Contains(text, "Planted0Secret") {
				t.Error("a secret is repeated")
			}
		})
	}
}

func answerLine(key string) string {
	_, rest, _ := strings.Cut(sandbox, key)
	value, _, _ := strings.Cut(rest, "\n")
	return key + value
}

// TestOrder: by files, drop-ins count in the order of their names over all directories, and those that were made at run time too.
func TestOrder(t *testing.T) {
	n, cfg := hardened(t)
	n.file("/usr/lib/systemd/system/drd.service.d/zz.conf", 0o644, "[Service]\nLimitCORE=infinity\n")
	n.file("/etc/systemd/system/drd.service.d/aa.conf", 0o644, "[Service]\nLimitCORE=0\n")
	n.file("/run/systemd/system/drd.service.d/x.conf", 0o644, "[Service]\nNoNewPrivileges=no\nUMask=0000\n")
	n.file("/etc/systemd/system.control/drd.service.d/50-MemorySwapMax.conf", 0o666, "[Service]\nMemorySwapMax=infinity\n")
	want := append([]string{
		"DRD-FILES /etc/systemd/system.control/drd.service.d/50-MemorySwapMax.conf: 0666, root:root", "DRD-UNIT drd.service LimitCORE: infinity",
		"DRD-UNIT drd.service NoNewPrivileges: no", "DRD-UNIT drd.service UMask: 0000", "DRD-UNIT drd.service MemorySwapMax: infinity",
	}, etcdOwner...)
	findings := n.check(cfg)
	if diff := cmp.Diff(want, failed(findings), sorted); diff != "" {
		t.Errorf("open findings (-want +got):\n%s", diff)
	}
	said := false
	for _, f := range findings {
		said = said || f.Subject == "drd.service" && f.Result == NotApplicable && f.Found == "no systemd runs here: by the unit's files"
	}
	if !said {
		t.Error("nothing says that this is by files")
	}
}
