package preflight

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/drd-project/drd/internal/config"
	"github.com/drd-project/drd/internal/disk"
	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/snapshot"
)

// checkMachine looks for room: for a snapshot, for what may wait, and for a drill. dbSize in bytes, 0 when it is not known.
func checkMachine(cfg Config, dbSize int64) []Check {
	checks := []Check{checkDisk(cfg.StateDir, dbSize)}
	s := cfg.Settings
	if s.SpoolMaxBytes > 0 && !s.Verifier() {
		checks = append(checks, checkSpool(cfg.StateDir, s.SpoolMaxBytes))
	}
	if s.Verify != (config.Verify{}) {
		checks = append(checks, checkScratch(s.Scratch(), dbSize), checkMemory("/proc/meminfo", s.Verify.MemoryLimit, dbSize))
	}
	return checks
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

// checkSpool: what waits while a target is away must not fill a disk that etcd may share.
func checkSpool(dir string, bound int64) Check {
	const name = "disk spool"
	free, err := disk.Free(dir)
	if err != nil {
		return warn(name, err)
	}
	if free < bound {
		return warn(name, hint.New(fmt.Errorf("up to %s may wait for targets, and %s are free in %s", disk.Size(bound), disk.Size(free), dir),
			"lower spool_max_bytes, or give state_dir a disk of its own"))
	}
	return ok(name, "%s free for the %s that may wait for targets", disk.Size(free), disk.Size(bound))
}

// drillFiles in bytes is what a drill writes beside the database.
const drillFiles = 160 << 20

func checkScratch(dir string, dbSize int64) Check {
	const name = "disk scratch"
	there := dir
	for _, err := os.Stat(there); os.IsNotExist(err) && there != "/"; _, err = os.Stat(there) { // a drill makes it
		there = filepath.Dir(there)
	}
	free, err := disk.Free(there)
	if err != nil {
		return warn(name, err)
	}
	if need := dbSize + drillFiles + snapshot.Room(dbSize); free < need {
		return warn(name, hint.New(fmt.Errorf("%s free in %s, a drill needs %s with what it leaves to the next snapshot: drills will be inconclusive", disk.Size(free), dir, disk.Size(need)),
			"set verify.scratch_dir to a directory with more room"))
	}
	return ok(name, "%s free in %s for drills", disk.Size(free), dir)
}

// leastMemory in bytes is what an etcd on an empty database wants, with some air.
const leastMemory = 256 << 20

// checkMemory compares what a drill gets with what it needs to read the database once. limit is verify.memory_limit; 0 is half
// of what the machine has available.
func checkMemory(meminfo string, limit, dbSize int64) Check {
	const name = "memory"
	available, err := availableMemory(meminfo)
	if err != nil {
		return warn(name, err)
	}
	gets, need := available/2, leastMemory+dbSize
	if limit > 0 {
		gets = min(limit, available)
	}
	if gets < need {
		return warn(name, hint.New(fmt.Errorf("%s available: a drill gets %s, and with a database of %s it should have %s", disk.Size(available), disk.Size(gets), disk.Size(dbSize), disk.Size(need)),
			"make the drills on a verifier host (docs/configuration.md), or set verify.memory_limit"))
	}
	return ok(name, "%s available, a drill gets %s at most", disk.Size(available), disk.Size(gets))
}

func availableMemory(meminfo string) (int64, error) {
	text, err := os.ReadFile(meminfo)
	if err != nil {
		return 0, fmt.Errorf("read the free memory: %w", err)
	}
	for line := range bytes.Lines(text) {
		if value, found := bytes.CutPrefix(line, []byte("MemAvailable:")); found {
			kb, err := strconv.ParseInt(string(bytes.TrimSuffix(bytes.TrimSpace(value), []byte(" kB"))), 10, 64)
			if err == nil {
				return kb << 10, nil
			}
		}
	}
	return 0, fmt.Errorf("%s does not tell the free memory", meminfo)
}
