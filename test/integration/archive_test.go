package integration

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/drd-project/drd/test/program"
	"github.com/drd-project/drd/test/servers"
)

// archived is a node that archives every second, and its past.
type archived struct {
	*site
	e      *servers.Etcd
	client *clientv3.Client
	minio  *servers.MinIO
	daemon *command
	past   []moment
}

// moment is what the member said of itself, and an instant at which that was so.
type moment struct {
	content
	at time.Time
}

func newArchived(t *testing.T, version string) *archived {
	t.Helper()
	e, minio := servers.StartEtcd(t, servers.EtcdConfig{Version: version}), servers.StartMinIO(t)
	s := newSite(t, ofEtcd(e), newBucket(t, minio.S3, "drd-test"))
	s.more = "archive: {enabled: true, flush_interval: 1s}\n"
	s.write(ofEtcd(e))
	load(t, e, "app/", s.value)
	a := &archived{site: s, e: e, client: e.Client(t), minio: minio}
	a.daemon = s.start("daemon")
	// Only what is written when the first snapshot was taken comes into a segment.
	program.Eventually(t, 3*time.Minute, func() error {
		write(t, a.client, "tick/", s.value, 1)
		page, err := s.scrape()
		if err == nil && !strings.Contains(page, `drd_archive_revision{target="t1"}`) {
			err = fmt.Errorf("nothing is archived")
			time.Sleep(time.Second)
		}
		return err
	})
	// The archive asks for a snapshot that reaches beyond its beginning. What happens after that is in segments alone.
	s.metric(3*time.Minute, `drd_repo_objects{kind="snapshot",target="t1"}`, func(v float64) bool { return v >= 2 })
	return a
}

// remember notes what is there now. The daemon has seen it, and nothing else happens until that second is over, so that its end is an
// instant of this state.
func (a *archived) remember() {
	a.t.Helper()
	newest, err := a.client.Get(a.t.Context(), "none")
	if err != nil {
		a.t.Fatal(err)
	}
	program.Eventually(a.t, 3*time.Minute, func() error {
		if p := a.position(); p.Revision < newest.Header.Revision {
			return fmt.Errorf("the daemon has seen revision %d of %d", p.Revision, newest.Header.Revision)
		}
		return nil
	})
	at := time.Now().UTC().Truncate(time.Second).Add(time.Second)
	time.Sleep(time.Until(at) + 300*time.Millisecond) // the clocks of processes may differ by some milliseconds
	a.past = append(a.past, moment{contentOf(a.t, a.e), at})
}

// position is where the archive of the node has come, be it in the store or not: what the daemon remembers of it. It is zero where nothing is
// known.
func (a *archived) position() (p struct {
	Timeline string `json:"timeline"`
	Revision int64  `json:"revision"`
}) {
	var state struct{ Position *json.RawMessage }
	text, err := os.ReadFile(filepath.Join(a.state, "archive.json"))
	if err != nil || json.Unmarshal(text, &state) != nil || state.Position == nil {
		return p
	}
	if err := json.Unmarshal(*state.Position, &p); err != nil {
		a.t.Fatal(err)
	}
	return p
}

// confirmed waits until the target has everything up to the last moment, and the metrics say so.
func (a *archived) confirmed() {
	a.t.Helper()
	last := a.past[len(a.past)-1]
	a.metric(3*time.Minute, `drd_archive_revision{target="t1"}`, func(v float64) bool { return v >= float64(last.Revision) })
}

// archives writes so many keys, notes what is there then, and waits until the target has it.
func (a *archived) archives(under string, keys int) {
	a.t.Helper()
	write(a.t, a.client, under, a.value, keys)
	a.remember()
	a.confirmed()
}

// TestArchive: a cluster that is archived comes back at every revision that was ever noted, whatever happened to daemon and
// store meanwhile, and at the second before somebody's mistake.
func TestArchive(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"3.5", "3.6", "3.7"} {
		t.Run("etcd-"+version, func(t *testing.T) {
			t.Parallel()
			a := newArchived(t, version)
			a.killedDaemon()
			a.storeAway()
			mistake := a.mistake()
			a.ends()
			a.restoresAll()
			a.restoresBefore(mistake)
		})
	}
}

// killedDaemon ends the daemon in the middle of writes, as a power cut would, and lets time go by without one.
func (a *archived) killedDaemon() {
	a.t.Helper()
	a.archives("first/", 40)
	write(a.t, a.client, "second/", a.value, 40)
	a.daemon.Signal(a.t, syscall.SIGKILL)
	a.end(a.daemon)
	write(a.t, a.client, "third/", a.value, 40)
	a.past = append(a.past, moment{content: contentOf(a.t, a.e)}) // nobody sees when that was
	a.daemon = a.start("daemon")
	a.confirmed()
	a.archives("fourth/", 40)
	a.metric(time.Minute, "drd_archive_gaps_total", is(0))
}

// storeAway takes the store away for some seconds. What is archived meanwhile waits on the node.
func (a *archived) storeAway() {
	a.t.Helper()
	a.minio.Stop()
	for i := range 2 {
		write(a.t, a.client, fmt.Sprintf("away-%d/", i), a.value, 20)
		a.remember()
	}
	a.metric(time.Minute, `drd_archive_lag_seconds{target="t1"}`, func(v float64) bool { return v > 3 })
	a.metric(time.Minute, `drd_archive_revision{target="t1"}`, func(v float64) bool { return v < float64(a.past[len(a.past)-1].Revision) })
	a.minio.Start()
	a.confirmed()
	a.metric(time.Minute, "drd_archive_gaps_total", is(0))
}

// mistake deletes a namespace, and returns the moment before.
func (a *archived) mistake() moment {
	a.t.Helper()
	write(a.t, a.client, "namespaces/shop/", a.value, 50)
	a.remember()
	before := a.past[len(a.past)-1]
	if _, err := a.client.Delete(a.t.Context(), "namespaces/shop/", clientv3.WithPrefix()); err != nil {
		a.t.Fatal(err)
	}
	a.archives("after/", 5)
	a.metric(time.Minute, `drd_recovery_point_timestamp_seconds{target="t1"}`, func(v float64) bool { return v >= float64(before.at.Unix()) })
	a.metric(time.Minute, `drd_archive_lag_seconds{target="t1"}`, func(v float64) bool { return v < 80 }) // a silence, at the latest
	return before
}

// ends stops the daemon right after a change, which must be in the store then.
func (a *archived) ends() {
	a.t.Helper()
	write(a.t, a.client, "tail/", a.value, 5)
	a.past = append(a.past, moment{content: contentOf(a.t, a.e)})
	a.terminate(a.daemon)
}

// restoresAll restores every moment by its revision, the first and the last but two by their time, too, and the newest.
func (a *archived) restoresAll() {
	a.t.Helper()
	for i, m := range a.past {
		a.restores(m, fmt.Sprintf("revision-%d", i), "--revision", fmt.Sprint(m.Revision))
	}
	for _, i := range []int{0, len(a.past) - 3} {
		a.restores(a.past[i], fmt.Sprintf("time-%d", i), "--at", a.past[i].at.Format(time.RFC3339))
	}
	a.restores(a.past[len(a.past)-1], "latest", "--latest")
	a.fails(4, "restore", "--yes", "--identity", a.identity(), "--output", a.path("never"), "--revision", "1000000").wants(a.t, "nothing holds revision 1000000", "hint: ")
	wantNothing(a.t, a.path("never"))
}

func (a *archived) restores(m moment, name string, point ...string) {
	a.t.Helper()
	done := decode[restoreDocument](a.t, a.must(slices.Concat(
		[]string{"restore", "--json", "--yes", "--identity", a.identity(), "--output", a.path(name)}, point)...))
	if done.Facts.Revision != m.Revision || done.Facts.HashKV != m.Hash || done.Facts.Keys != m.Keys || done.Bumped != 0 {
		a.t.Errorf("restore %s gives %+v, want revision %d with %d keys and HashKV %d", strings.Join(point, " "), done, m.Revision, m.Keys, m.Hash)
	}
}

// restoresBefore starts an etcd on what was there before the mistake, restored by somebody who has the store and the keys alone.
func (a *archived) restoresBefore(m moment) {
	a.t.Helper()
	to := a.newMember("m")
	r := start(a.t, a.dir, slices.Concat([]string{"restore", "--yes", "--at", m.at.Format(time.RFC3339), "--identity", a.identity()},
		a.elsewhere(a.stores[0]), to.flags())...).wait()
	a.secrets.check(a.t, "the output of restore", []byte(r.stdout+r.stderr))
	if r.code != 0 {
		a.t.Fatal(r)
	}
	restored := to.start(a.t, a.e.Version())
	wantContent(a.t, restored, m.content)
	found, err := restored.Client(a.t).Get(a.t.Context(), "namespaces/shop/", clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil || found.Count != 50 {
		a.t.Errorf("the namespace has %v keys, %v", found, err)
	}
}
