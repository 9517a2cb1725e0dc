package preflight

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/drd-project/drd/internal/hint"
)

// unitTimeout bounds one question of systemd.
const unitTimeout = 10 * time.Second

// checkUnit asks systemd whether the service runs, begins at a boot, and is what this drd ships.
func checkUnit(ctx context.Context, unit, shipped string) []Check {
	properties, err := showUnit(ctx, unit)
	if errors.Is(err, exec.ErrNotFound) {
		return []Check{warn("service", errors.New("there is no systemctl on this host: see to it that drd daemon runs"))}
	}
	if err != nil || properties["LoadState"] == "not-found" || properties["ActiveState"] == "" {
		return []Check{warn("service", hint.New(fmt.Errorf("%s is not known to systemd: no scheduled snapshots are taken", unit), "install the package, or systemd/drd.service, then: systemctl enable --now %s", unit))}
	}
	checks := []Check{checkRuns(unit, properties)}
	return append(checks, checkDrift(unit, properties, shipped)...)
}

// showUnit returns the properties of a unit that tell whether it runs, and as what.
func showUnit(ctx context.Context, unit string) (map[string]string, error) {
	ctx, cancel := context.WithTimeout(ctx, unitTimeout)
	defer cancel()
	out, err := exec.CommandContext(ctx, "systemctl", "show", unit,
		"--property=LoadState,ActiveState,UnitFileState,FragmentPath,DropInPaths,NeedDaemonReload").Output()
	if err != nil {
		return nil, fmt.Errorf("ask systemd for %s: %w", unit, err)
	}
	properties := make(map[string]string)
	for line := range strings.Lines(string(out)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		properties[key] = value
	}
	return properties, nil
}

func checkRuns(unit string, properties map[string]string) Check {
	const name = "service"
	switch state := properties["ActiveState"]; {
	case state != "active":
		return warn(name, hint.New(fmt.Errorf("%s is %s: no scheduled snapshots are taken", unit, state), "systemctl enable --now %s; journalctl -u %s says what happened", unit, unit))
	case properties["UnitFileState"] == "disabled":
		return warn(name, hint.New(fmt.Errorf("%s is active, and will not be after the next boot", unit), "systemctl enable %s", unit))
	}
	return ok(name, "%s is active", unit)
}

// checkDrift compares the unit that systemd has with the one that belongs to this program. Drop-ins are how it is meant to be
// adapted, so they are named and no problem.
func checkDrift(unit string, properties map[string]string, shipped string) []Check {
	const name = "unit"
	path := properties["FragmentPath"]
	var checks []Check
	if properties["NeedDaemonReload"] == "yes" {
		checks = append(checks, warn(name, hint.New(fmt.Errorf("%s was changed on the disk, and systemd still goes by what was there before", unit), "systemctl daemon-reload; systemctl restart %s", unit)))
	}
	if shipped != "" {
		text, err := os.ReadFile(path)
		switch {
		case err != nil:
			checks = append(checks, warn(name, fmt.Errorf("compare the unit: %w", err)))
		case string(text) != shipped:
			checks = append(checks, warn(name, hint.New(fmt.Errorf("%s is not the unit of this drd: its sandbox and limits may be others", path), "%s", driftHint(path))))
		}
	}
	if checks != nil {
		return checks
	}
	if dropIns := properties["DropInPaths"]; dropIns != "" {
		return []Check{ok(name, "%s, adapted by %s", path, dropIns)}
	}
	return []Check{ok(name, "%s", path)}
}

func driftHint(path string) string {
	if strings.HasPrefix(path, "/etc/") {
		return "remove " + path + " and put what is yours into a drop-in: systemctl edit drd"
	}
	return "install the package of this version again; put what is yours into a drop-in: systemctl edit drd"
}
