package integration

import (
	"context"
	"encoding/json"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/drd-project/drd/internal/drill"
	"github.com/drd-project/drd/internal/etcd"
	"github.com/drd-project/drd/internal/members"
	"github.com/drd-project/drd/internal/proof"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/scratch"
	"github.com/drd-project/drd/internal/seal"
	"github.com/drd-project/drd/internal/snapshot"
	"github.com/drd-project/drd/internal/survey"
	"github.com/drd-project/drd/internal/verify"
	"github.com/drd-project/drd/test/servers"
)

// TestNoFalseAlarm drills snapshots of a cluster that is changed all the time. A drill that does not pass there would wake
// somebody for nothing.
func TestNoFalseAlarm(t *testing.T) {
	t.Parallel()
	drillUnderLoad(t, "3.6", 10, 4)
}

// drillUnderLoad takes a snapshot of each member in turn and drills it at once, as a node does with what it has uploaded: with
// the key that it kept, and against what the members say of their data.
//
// drd takes the snapshots, and its program is every child of the drills. The drills themselves are made by the packages and
// not by drd verify, because a daemon asks the members every two minutes, and this test cannot wait so long.
func drillUnderLoad(t *testing.T, version string, drills int, seed uint64) {
	nodes := servers.StartEtcdCluster(t, version, 3, func(c *servers.EtcdConfig) { c.Args = patient() })
	s := newSite(t, ofEtcd(nodes[0]), inDirectory(t))
	l, stop := startLoad(t, nodes, s.value, seed)
	f := newFalseAlarms(s, nodes[0])
	// On a busy machine a snapshot may be older than what the members have said since: there are more then, until half of what was asked for was
	// compared.
	for i := 0; i < drills || i < 3*drills && f.compared < drills/2; i++ {
		s.write(ofEtcd(nodes[i%len(nodes)]))
		before := l.total()
		f.drill(s.snapshot())
		if l.total() == before {
			t.Errorf("nothing was written while snapshot and drill %d were made: %v", i, l)
		}
		if t.Failed() {
			break
		}
	}
	stop()
	l.wantAll()
	t.Logf("etcd %s: %d drills, %d of them compared with members, which gave %d hashes; the load: %v", version, f.made, f.compared, f.given, l)
	if f.compared < drills/2 || f.given == 0 {
		t.Errorf("of %d drills %d were compared with members, which gave %d hashes", f.made, f.compared, f.given)
	}
}

// falseAlarms makes drills that must pass.
type falseAlarms struct {
	*site
	answers []*members.Log

	made, compared int // drills, and those of them that compared the snapshot with members
	given          int // hashes of members that drills had from the log
}

// newFalseAlarms begins to ask the members several times a second, as daemons would seldom: for the hashes of their
// compactions, as it is done with large databases, and by scans, as with small ones.
func newFalseAlarms(s *site, own *servers.Etcd) *falseAlarms {
	return &falseAlarms{site: s, answers: []*members.Log{watchMembers(s.t, own, 0), watchMembers(s.t, own, 1<<30)}}
}

// watchMembers asks them until the end of the test. That they differ is a false alarm, too.
func watchMembers(t *testing.T, own *servers.Etcd, scanBelow int64) *members.Log {
	t.Helper()
	answers, err := members.OpenLog(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	w, err := members.New(members.Config{
		Connect: func(ctx context.Context) (*etcd.Client, error) {
			return etcd.Connect(ctx, etcd.Config{Endpoints: []string{own.Endpoint()}})
		},
		Answers: answers, Interval: 300 * time.Millisecond, ScanBelow: scanBelow, Settle: 200 * time.Millisecond, Confirm: 500 * time.Millisecond,
		Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
		On: members.Events{Polled: func(r members.Report) {
			if len(r.Diverged) > 0 {
				t.Errorf("members are said to have diverged: %v", r.Diverged)
			}
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		w.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	return answers
}

// covering are the hashes that members gave and that a snapshot can be compared with.
func (f *falseAlarms) covering(revision, compact int64) []drill.Triple {
	var all []drill.Triple
	for _, l := range f.answers {
		for _, t := range l.Covering(revision, compact) {
			all = append(all, drill.Triple{
				Member: t.Member, Revision: t.Revision, CompactRevision: t.CompactRevision, Hash: t.Hash, Seen: t.Seen,
				EtcdClusterID: t.EtcdClusterID, Since: l.Since(),
			})
		}
	}
	return all
}

// drill drills one snapshot, and shows everything that is known of it when it does not pass.
func (f *falseAlarms) drill(m manifest) {
	f.t.Helper()
	id, err := repo.ParseID(m.ID)
	if err != nil {
		f.t.Fatal(err)
	}
	var given []drill.Triple
	d := f.driller(&given).Drill(f.t.Context(), drill.Target{Name: "t1", Repo: f.target()}, id, proof.LevelDrill, nil, nil)
	f.made++
	f.given += len(given)
	for _, c := range d.Checks {
		if c.Name == drill.CheckMembers && c.Outcome == proof.Passed {
			f.compared++
		}
	}
	if d.Outcome != proof.Passed || d.OpenedWith != verify.KindRetained {
		record, err := json.MarshalIndent(map[string]any{"drill": d, "manifest": m, "members": given}, "", "  ")
		if err != nil {
			f.t.Error(err)
		}
		f.t.Errorf("drill %d of a good snapshot, opened with %q: %s: %s\n%s", f.made, d.OpenedWith, d.Outcome, d.Cause, record)
	}
}

// driller is what drd verify makes on the node. given takes the hashes of members that it is given.
func (f *falseAlarms) driller(given *[]drill.Triple) *drill.Driller {
	f.t.Helper()
	trust, err := seal.LoadTrust(f.trust())
	if err != nil {
		f.t.Fatal(err)
	}
	ring, err := seal.OpenKeyRing(filepath.Join(f.dir, "run", "keys"))
	if err != nil {
		f.t.Fatal(err)
	}
	d, err := drill.New(drill.Config{
		Host: "node-1", Build: repo.Build{Version: "test"}, Trust: trust, ScratchDir: filepath.Join(f.state, "scratch"),
		Keys:      verify.Keys{Ring: ring}.Find,
		Inspector: snapshot.Inspector{Command: []string{drd, "inspect-file"}},
		Survey:    survey.Reader{Command: []string{drd, "survey-file"}},
		Etcd:      scratch.Launcher{Command: []string{drd, "scratch-etcd"}},
		Triples: func(revision, compact int64) []drill.Triple {
			*given = f.covering(revision, compact)
			return *given
		},
	})
	if err != nil {
		f.t.Fatal(err)
	}
	return d
}
