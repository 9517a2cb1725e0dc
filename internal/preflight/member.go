package preflight

import (
	"errors"
	"fmt"
	"strings"

	"github.com/drd-project/drd/internal/advisory"
	"github.com/drd-project/drd/internal/etcd"
	"github.com/drd-project/drd/internal/hint"
)

// checkVersion warns of bugs that a patch release would remove. One that only another minor version is without is
// said and no warning: nobody can act on it today.
func checkVersion(version string) []Check {
	const name = "etcd version"
	if !advisory.Covers(version) {
		return []Check{warn(name, hint.New(fmt.Errorf("drd was not made for etcd %s", orNone(version)), "drd works with etcd 3.4 to 3.7: see docs/etcd-versions.md"))}
	}
	var checks []Check
	var unfixed []string
	for _, i := range advisory.Known(version) {
		if i.Patch {
			checks = append(checks, warn(name, hint.New(fmt.Errorf("etcd %s has a bug that touches data: %s (%s)", version, i.Summary, i.ID), "install etcd %s or later", i.Fixed)))
		} else {
			unfixed = append(unfixed, i.ID+" ("+i.Fixed+")")
		}
	}
	switch {
	case len(checks) > 0:
		return checks
	case len(unfixed) > 0:
		return []Check{ok(name, "etcd %s has bugs that touch data which only a later minor version is without: %s", version, strings.Join(unfixed, ", "))}
	}
	return []Check{ok(name, "no bug of etcd %s that touches data is known to this drd", version)}
}

func orNone(version string) string {
	if version == "" {
		return "of an unknown version"
	}
	return version
}

// checkAlarms: data that etcd itself holds for corrupt is not worth backing up; without space a backup is as good as ever.
func checkAlarms(status etcd.Status) []Check {
	const name = "etcd alarm"
	var checks []Check
	for _, a := range status.Alarms() {
		member := "the cluster"
		if a.Member != 0 {
			member = "member " + etcd.FormatID(a.Member)
		}
		switch a.Type {
		case etcd.AlarmCorrupt:
			checks = append(checks, fail(name, hint.New(fmt.Errorf("CORRUPT on %s: etcd found that its members do not hold the same data, and a backup may hold either's", member),
				"find the member that is right with etcdctl endpoint hashkv --cluster before anything else; keep the backups from before the alarm")))
		case etcd.AlarmNoSpace:
			checks = append(checks, warn(name, hint.New(fmt.Errorf("NOSPACE on %s: its database has reached the quota, and etcd takes no writes; backups go on", member),
				"compact, then etcdctl defrag and etcdctl alarm disarm; or raise --quota-backend-bytes")))
		default:
			checks = append(checks, warn(name, fmt.Errorf("%s on %s", a.Type, member)))
		}
	}
	if checks == nil {
		return []Check{ok(name, "none is raised")}
	}
	return checks
}

// checkState looks at the place of the member in its cluster, and at what it complains of beside alarms.
func checkState(status etcd.Status) []Check {
	var checks []Check
	if status.IsLearner {
		checks = append(checks, warn("etcd", hint.New(errors.New("the member is a learner: its data may lag behind"), "take snapshots from a voting member")))
	}
	if status.Leader == 0 {
		checks = append(checks, warn("etcd", errors.New("the member knows no leader; a snapshot works, and may be old")))
	}
	for _, e := range status.Errors {
		if isAlarm := len(etcd.Status{Errors: []string{e}}.Alarms()) > 0; !isAlarm && !strings.HasSuffix(e, "no leader") {
			checks = append(checks, warn("etcd", fmt.Errorf("the member reports: %s", e)))
		}
	}
	return checks
}
