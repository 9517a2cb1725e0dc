package distro

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestUnitFiles: drop-ins come in the order of their names over all directories; of one name counts the unit's own, and then the
// directory that systemd looks into first.
func TestUnitFiles(t *testing.T) {
	root := lay(t, map[string]string{
		"/usr/lib/systemd/system/drd-verify.service":               "[Service]\nUMask=0077\nEnvironment=A=1\n",
		"/usr/lib/systemd/system/drd-verify.service.d/zz.conf":     "[Service]\nLimitCORE=infinity\n",
		"/etc/systemd/system/drd-verify.service.d/aa.conf":         "[Service]\nLimitCORE=0\n# UMask=0000\n[Unit]\nUMask=1\n",
		"/etc/systemd/system/drd-.service.d/bb.conf":               "[Service]\nEnvironment=\nEnvironment=B=%N \\\n; C=1\n  D=2\n",
		"/run/systemd/system/service.d/cc.conf":                    "[Service]\nProtectSystem=no\n",
		"/usr/lib/systemd/system/service.d/aa.conf":                "[Service]\nLimitCORE=1\n",
		"/usr/lib/systemd/system/drd-verify.service.d/bb.txt":      "",
		"/etc/systemd/system.control/drd-verify.service.d/50.conf": "[Service]\nMemorySwapMax=infinity\n",
	})
	files := UnitFiles(root, "drd-verify.service")
	want := []string{
		"/usr/lib/systemd/system/drd-verify.service", "/etc/systemd/system.control/drd-verify.service.d/50.conf",
		"/etc/systemd/system/drd-verify.service.d/aa.conf", "/etc/systemd/system/drd-.service.d/bb.conf",
		"/run/systemd/system/service.d/cc.conf", "/usr/lib/systemd/system/drd-verify.service.d/zz.conf",
	}
	if diff := cmp.Diff(want, files); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	settings := map[string][]string{
		"UMask": {"0077"}, "Environment": {"B=drd-verify  D=2"}, "LimitCORE": {"0", "infinity"}, "ProtectSystem": {"no"}, "MemorySwapMax": {"infinity"},
	}
	if diff := cmp.Diff(settings, ServiceSettings(root, "drd-verify.service", files)); diff != "" {
		t.Errorf("settings (-want +got):\n%s", diff)
	}
	if got := UnitFiles(root, "drd.service"); got != nil {
		t.Errorf("a unit that is not there: %q", got)
	}
}
