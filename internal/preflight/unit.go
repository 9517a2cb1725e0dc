package preflight

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/drd-project/drd/internal/hint"
)

// unitTimeout bounds one question of systemd.
const unitTimeout = 10 * time.Second

// checkUnit asks systemd whether the service runs, begins at a boot, is what this drd ships, and can reach what it needs.
func checkUnit(ctx context.Context, cfg Config) (running bool, checks []Check) {
	unit := cfg.Unit
	properties, err := showUnit(ctx, unit)
	if errors.Is(err, exec.ErrNotFound) {
		return false, []Check{warn("service", errors.New("there is no systemctl on this host: see to it that drd daemon runs"))}
	}
	if err != nil || properties["LoadState"] == "not-found" || properties["ActiveState"] == "" {
		return false, []Check{warn("service", hint.New(fmt.Errorf("%s is not known to systemd: no scheduled snapshots are taken", unit), "install the package, or systemd/drd.service, then: systemctl enable --now %s", unit))}
	}
	checks = append(checkRuns(unit, properties), checkDrift(unit, properties, cfg.UnitFile)...)
	if pid, err := strconv.Atoi(properties["MainPID"]); err == nil && pid > 0 {
		checks = append(checks, checkReach(ctx, cfg, pid)...)
	}
	return properties["ActiveState"] == "active", checks
}

// showUnit returns the properties of a unit that tell whether it runs, and as what.
func showUnit(ctx context.Context, unit string) (map[string]string, error) {
	ctx, cancel := context.WithTimeout(ctx, unitTimeout)
	defer cancel()
	out, err := exec.CommandContext(ctx, "systemctl", "show", unit,
		"--property=LoadState,ActiveState,UnitFileState,FragmentPath,DropInPaths,NeedDaemonReload,MainPID,StatusText").Output()
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

// atBoot are the states of a unit file with which something starts the unit at a boot: what is enabled for this boot only, or masked,
// is not started at the next.
var atBoot = []string{"enabled", "static", "alias", "indirect", "generated"}

func checkRuns(unit string, properties map[string]string) []Check {
	const name = "service"
	active, file := properties["ActiveState"], properties["UnitFileState"]
	var checks []Check
	if active != "active" {
		checks = append(checks, warn(name, hint.New(fmt.Errorf("%s is %s: no scheduled snapshots are taken", unit, active),
			"systemctl enable --now %s; journalctl -u %s says what happened; run drd check again when it runs, for what its sandbox lets it reach", unit, unit)))
	}
	if file != "" && !slices.Contains(atBoot, file) {
		enable := "systemctl enable " + unit
		if strings.HasPrefix(file, "masked") {
			enable = "systemctl unmask " + unit + "; " + enable
		}
		checks = append(checks, warn(name, hint.New(fmt.Errorf("%s will not run after the next boot: its unit file is %s", unit, file), "%s", enable)))
	}
	status := properties["StatusText"]
	if Troubled(status) {
		checks = append(checks, warn(name, hint.New(fmt.Errorf("%s says: %s", unit, status), "journalctl -u %s has more of it", unit)))
	}
	switch {
	case checks != nil:
		return checks
	case status == "":
		return []Check{ok(name, "%s is active", unit)}
	}
	return []Check{ok(name, "%s is active, and says: %s", unit, status)}
}

// Troubled says that the daemon's line of status tells of something that it cannot do: it sees what this command, outside of its
// sandbox, does not.
func Troubled(status string) bool {
	return slices.ContainsFunc([]string{"NOT RELOADED", " failed (attempt ", " has not been written since ", " waiting for ", " cannot be stored "}, func(words string) bool {
		return strings.Contains(status, words)
	})
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
