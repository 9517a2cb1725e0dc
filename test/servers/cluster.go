package servers

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// StartEtcdCluster starts n members of one version, named m0, m1, …, and waits until all of them are healthy. Each
// change is applied to the configuration of every member before it is made; ports, names, data directories and the
// initial cluster are set afterwards and cannot be changed.
func StartEtcdCluster(tb testing.TB, version string, n int, changes ...func(*EtcdConfig)) []*Etcd {
	tb.Helper()
	for try := 1; ; try++ {
		members := newCluster(tb, version, n, changes)
		failed, err := runAll(members)
		if err == nil {
			return members
		}
		for _, m := range members {
			m.Kill()
		}
		if try == startTries || !failed.portTaken() {
			tb.Fatalf("start %s of %d: %s: %v\n%s", failed.name, n, failed.Name(), err, failed.tail())
		}
	}
}

// newCluster gives every member its ports before any starts, as each has to know all.
func newCluster(tb testing.TB, version string, n int, changes []func(*EtcdConfig)) []*Etcd {
	tb.Helper()
	dir, ports := tb.TempDir(), freePorts(tb, 2*n)
	var peers []string
	for i := range n {
		peers = append(peers, fmt.Sprintf("m%d=http://%s", i, address(ports[2*i+1])))
	}
	members := make([]*Etcd, n)
	for i := range n {
		cfg := EtcdConfig{Version: version}
		for _, change := range changes {
			change(&cfg)
		}
		cfg.Name = fmt.Sprintf("m%d", i)
		cfg.DataDir = filepath.Join(dir, cfg.Name)
		cfg.InitialCluster = strings.Join(peers, ",")
		members[i] = newEtcd(tb, cfg)
		members[i].setArgs(ports[2*i], ports[2*i+1])
	}
	return members
}

// runAll starts all members before it waits for the first: alone, none has a leader.
func runAll(members []*Etcd) (failed *Etcd, err error) {
	for _, m := range members {
		if err := m.run(); err != nil {
			return m, err
		}
	}
	for _, m := range members {
		if err := m.waitReady(); err != nil {
			return m, err
		}
	}
	return nil, nil
}
