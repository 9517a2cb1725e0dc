package preflight

import (
	"strings"
	"testing"

	"github.com/drd-project/drd/internal/etcd"
)

func TestCheckVersion(t *testing.T) {
	for version, want := range map[string]struct {
		status Status
		checks int
		detail string
		hint   string
	}{
		"3.5.2":  {Warn, 8, "etcd 3.5.2 has a bug that touches data: a member that crashes under load", "install etcd 3.5.3 or later"},
		"3.6.4":  {Warn, 1, "(etcd-io/etcd#20271)", "install etcd 3.6.5 or later"},
		"3.6.16": {OK, 1, "only a later minor version is without: etcd-io/etcd#18667 (3.7.0)", ""},
		"3.7.3":  {OK, 1, "no bug of etcd 3.7.3 that touches data is known", ""},
		"3.9.0":  {Warn, 1, "drd was not made for etcd 3.9.0", "drd works with etcd 3.4 to 3.7"},
		"":       {Warn, 1, "drd was not made for etcd of an unknown version", "drd works with"},
	} {
		checks := checkVersion(version)
		if len(checks) != want.checks {
			t.Errorf("%s: %d checks: %+v", version, len(checks), checks)
			continue
		}
		first := checks[0]
		if first.Name != "etcd version" || first.Status != want.status || !strings.Contains(first.Detail, want.detail) || !strings.HasPrefix(strings.Join(first.Hints, ""), want.hint) {
			t.Errorf("%s: %+v", version, first)
		}
		if (want.hint == "") != (len(first.Hints) == 0) {
			t.Errorf("%s: hints %q", version, first.Hints)
		}
	}
}

func TestCheckState(t *testing.T) {
	healthy := etcd.Status{Leader: 1}
	if checks := checkState(healthy); len(checks) != 0 {
		t.Errorf("%+v", checks)
	}
	sick := etcd.Status{IsLearner: true, Errors: []string{"etcdserver: no leader", "memberID:1 alarm:NOSPACE ", "something new"}}
	var said []string
	for _, c := range checkState(sick) {
		if c.Status != Warn || c.Name != "etcd" {
			t.Errorf("%+v", c)
		}
		said = append(said, c.Detail)
	}
	all := strings.Join(said, "\n")
	if len(said) != 3 || !strings.Contains(all, "learner") || !strings.Contains(all, "knows no leader") || !strings.Contains(all, "reports: something new") {
		t.Errorf("%q", said)
	}
}

func TestUnknownAlarm(t *testing.T) {
	checks := checkAlarms(etcd.Status{Errors: []string{"alarm:FLOOD"}})
	if len(checks) != 1 || checks[0].Status != Warn || checks[0].Detail != "FLOOD on the cluster" {
		t.Errorf("%+v", checks)
	}
}
