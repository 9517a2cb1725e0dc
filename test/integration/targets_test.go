package integration

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/drd-project/drd/test/faults"
	"github.com/drd-project/drd/test/program"
	"github.com/drd-project/drd/test/servers"
)

// deadBucket is a target at which nobody listens.
type deadBucket struct {
	directory // empty: what the rest of the test sees of it
	section_  string
}

func (d deadBucket) section() string { return d.section_ }

func newDeadBucket(t *testing.T) store {
	t.Helper()
	credentials := filepath.Join(t.TempDir(), "credentials")
	writeFile(t, credentials, "[default]\naws_access_key_id = nobody\naws_secret_access_key = nothing\n")
	return deadBucket{
		directory{t.TempDir()},
		fmt.Sprintf("s3: {bucket: dead, endpoint: \"https://127.0.0.1:%d\", credentials_file: %q, path_style: true}", servers.FreePort(t), credentials),
	}
}

// TestOneTargetDead: the other target gets its copy, the error and the exit code say what is missing, and the copy restores.
func TestOneTargetDead(t *testing.T) {
	t.Parallel()
	e := servers.StartEtcd(t, servers.EtcdConfig{})
	s := newSite(t, ofEtcd(e), newDeadBucket(t), inDirectory(t))
	load(t, e, "app/", s.value)
	lost := contentOf(t, e)

	r := s.fails(1, "snapshot", "--json")
	r.wants(t, "upload to t1: ", "connection refused")
	doc := decode[snapshotDocument](t, r)
	if dead, alive := doc.Targets[0], doc.Targets[1]; dead.Committed || dead.Error == "" || !alive.ReadBack || alive.Error != "" || doc.Spooled != "file://"+filepath.Join(s.state, "spool") {
		t.Errorf("outcomes: %v", r)
	}
	s.wantSpooled(1) // for the target that lacks it

	r = s.fails(1, "list", "--json")
	r.wants(t, "connection refused")
	if listed := decode[listDocument](t, r); len(listed.Targets) != 1 || listed.Targets[0].Target != "t2" || listed.Targets[0].Snapshots[0].State != "ok" {
		t.Errorf("list: %v", r)
	}
	s.fails(1, "check").shows(t, "failed   target t1 ", "ok       target t2 ")

	m := s.newMember("m")
	s.must(slices.Concat([]string{"restore", "--yes", "--identity", s.identity()}, m.flags())...).wants(t, "t1 could not be read")
	wantContent(t, m.start(t, e.Version()), lost)
}

// TestAllTargetsDead: the snapshot stays on the node, where it lists and restores like anywhere else.
func TestAllTargetsDead(t *testing.T) {
	t.Parallel()
	e := servers.StartEtcd(t, servers.EtcdConfig{})
	s := newSite(t, ofEtcd(e), newDeadBucket(t), newDeadBucket(t))
	load(t, e, "app/", s.value)
	lost := contentOf(t, e)

	r := s.fails(1, "snapshot", "--json")
	doc := decode[snapshotDocument](t, r)
	if doc.Targets[0].Committed || doc.Targets[1].Committed || doc.Spooled != "file://"+filepath.Join(s.state, "spool") {
		t.Fatalf("outcomes: %v", r)
	}
	r.wants(t, "hint: no target has this snapshot; it is kept on this host: drd list --repo "+doc.Spooled+" --cluster prod-east")
	s.wantSpooled(1)

	spool := directory{filepath.Join(s.state, "spool")}
	if listed := s.list(0, s.elsewhere(spool)...); len(listed) != 1 || listed[0].ID != doc.Snapshot.ID || listed[0].State != "ok" {
		t.Errorf("the spool lists %+v", listed)
	}
	m := s.newMember("m")
	s.must(slices.Concat([]string{"restore", "--yes", "--identity", s.identity()}, s.elsewhere(spool), m.flags())...)
	wantContent(t, m.start(t, e.Version()), lost)
}

// TestInterruptedUpload: SIGINT while a target takes the snapshot and has stopped answering. What is kept is whole, and said.
func TestInterruptedUpload(t *testing.T) {
	t.Parallel()
	e := servers.StartEtcd(t, servers.EtcdConfig{})
	minio := servers.StartMinIO(t).S3
	st, server := behind(t, minio, "drd-test")
	upload := payloads(writes)
	server.Script(faults.Step{On: upload, Times: faults.Always, Do: faults.Stall(1 << 20)}) // or it might be over before MinIO stops
	s := newSite(t, ofEtcd(e), st)
	fill(t, e.Client(t), s.value, 24)
	c := s.start("snapshot")
	program.Eventually(t, time.Minute, func() error {
		if len(server.Seen(upload)) == 0 {
			return errors.New("nothing is uploaded yet")
		}
		return nil
	})
	minio.Pause()
	began := time.Now()
	c.Signal(t, os.Interrupt)
	r := s.end(c)
	wantInterrupted(t, r)
	if took := time.Since(began); took > soon {
		t.Errorf("it took %v to end", took)
	}
	minio.Resume()
	server.Script()
	kept := strings.Count(r.stdout, "kept       on this host only (file://"+filepath.Join(s.state, "spool")+")")
	s.wantSpooled(kept)
	s.snapshot()
}

// wantSpooled counts the snapshots that wait on the node.
func (s *site) wantSpooled(want int) {
	s.t.Helper()
	var names []string
	for name := range filesBelow(s.t, filepath.Join(s.state, "spool")) {
		names = append(names, name)
	}
	manifests := slices.DeleteFunc(slices.Clone(names), func(n string) bool { return !strings.HasSuffix(n, "/manifest.json") })
	if len(manifests) != want || len(names) != 3*want {
		s.t.Errorf("the spool holds %q, want %d snapshots", names, want)
	}
}
