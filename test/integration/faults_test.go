package integration

import (
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/drd-project/drd/test/faults"
	"github.com/drd-project/drd/test/program"
	"github.com/drd-project/drd/test/servers"
)

// sick is a target with a fault in front of it, and what must be true of it meanwhile.
type sick struct {
	fault string
	step  faults.Step
	says  string // in the daemon's line about this target; "": it has said nothing yet, because a stall takes a minute to be one

	has     string // state in which the target lists the snapshot that the fault is about; "": not at all
	blind   bool   // the target cannot be listed
	proved  bool   // it gets a proved copy all the same, and nothing waits for it
	refused bool   // the daemon would try again after a quarter of an hour, as a person has to do something first

	target string
	bucket *bucket
	server *faults.Server
}

// sickTargets are all the faults that a store or the network before it is known for. Each spoils every such request until it is
// taken away, but for the bursts at the end, which pass.
func sickTargets() []*sick {
	const always, mib = faults.Always, 1 << 20
	downloads := func(fault faults.Fault) faults.Step {
		return faults.Step{On: payloads(faults.Get), Times: always, Do: fault}
	}
	return []*sick{
		{fault: "500", step: faults.Step{On: faults.Part, Times: always, Do: faults.Error(500, "InternalError")}, says: "500 InternalError"},
		{fault: "503 at the start", step: faults.Step{On: faults.Start, Times: always, Do: faults.Error(503, "SlowDown")}, says: "asks for less traffic"},
		{fault: "429 at the end", step: faults.Step{On: faults.Complete, Times: always, Do: faults.Error(429, "TooManyRequests")}, says: "asks for less traffic"},
		{fault: "reset before the body", step: faults.Step{On: faults.Put, Times: always, Do: faults.Reset(0)}, says: "commit to", has: "incomplete"},
		{fault: "reset in the body", step: faults.Step{On: faults.Part, Times: always, Do: faults.Reset(mib)}, says: "upload to"},
		{fault: "stall before the body", step: faults.Step{On: faults.Put, Times: always, Do: faults.Stall(0)}, has: "incomplete"},
		{fault: "stall in the body", step: faults.Step{On: faults.Part, Times: always, Do: faults.Stall(mib)}},
		// A minute later drd finds that the payload is complete, and goes on with the signature.
		{fault: "stall after the body", step: faults.Step{On: closing, Times: always, Do: stallClosing}, has: "incomplete"},
		{fault: "200 with an error", step: faults.Step{On: faults.Complete, Times: always, Do: faults.Error(200, "InternalError")}, says: "InternalError"},
		{fault: "200 with an error, and done", step: faults.Step{On: faults.Complete, Times: always, Do: faults.ErrorAfter(200, "InternalError")}, says: "InternalError", has: "ok", proved: true},
		{fault: "answers to the manifest lost", step: faults.Step{On: manifests(faults.Put), Times: always, Do: faults.LoseAnswer()}, says: "commit to", has: "ok"},
		{fault: "403 on the way", step: faults.Step{On: faults.Part, Skip: 1, Times: always, Do: faults.Error(403, "AccessDenied")}, says: "s3:PutObject", refused: true},
		{fault: "token expired", step: faults.Step{On: writes, Times: always, Do: faults.Error(400, "ExpiredToken")}, says: "does not accept these credentials", refused: true},
		{fault: "downloads refused", step: downloads(faults.Error(403, "AccessDenied")), says: "s3:GetObject", has: "ok", refused: true},
		{fault: "downloads cut", step: downloads(faults.CutAnswer(1000)), says: "read back from", has: "ok"},
		{fault: "downloads short", step: downloads(faults.ShortAnswer(1000)), says: "read back from", has: "ok"},
		{fault: "downloads stall", step: downloads(faults.StallAnswer(1000)), has: "ok"},
		{fault: "garbage for a listing", step: faults.Step{On: faults.List, Times: always, Do: faults.Say("<html>welcome</html>")}, says: "metrics cannot be refreshed", blind: true, proved: true},
		{fault: "clock", step: faults.Step{On: faults.Put, Times: always, Do: faults.Skewed(time.Hour)}, says: "clock differs", has: "incomplete"},
		// At least the five tries of one request, so that the attempt fails and the next one has to mend it.
		{fault: "burst of 503", step: faults.Step{On: faults.Start, Times: 7, Do: faults.Error(503, "SlowDown")}, says: "asks for less traffic", has: "ok", proved: true},
		{fault: "burst of lost answers", step: faults.Step{On: faults.Complete, Times: 5, Do: faults.LoseAnswer()}, says: "upload to", has: "ok", proved: true},
		{fault: "burst of cut downloads", step: faults.Step{On: payloads(faults.Get), Times: 4, Do: faults.CutAnswer(1000)}, has: "ok", proved: true},
	}
}

// closing are the requests of a snapshot that follow the parts of its payload.
func closing(r *http.Request) bool { return faults.Complete(r) || faults.Put(r) }

// stallClosing has the parts joined and never answers, and takes nothing of what comes after that.
func stallClosing(x *faults.Exchange) {
	fault := faults.Stall(0)
	if faults.Complete(x.Request.Request) {
		fault = faults.StallAfter()
	}
	fault(x)
}

func writes(r *http.Request) bool { return faults.Put(r) || faults.Part(r) || faults.Start(r) }

// manifests and payloads narrow a match down to objects of that sort.
func manifests(m faults.Match) faults.Match { return named("/manifest.json", m) }
func payloads(m faults.Match) faults.Match  { return named("/snapshot.db.zst.age", m) }

func named(suffix string, m faults.Match) faults.Match {
	return func(r *http.Request) bool { return m(r) && strings.HasSuffix(r.URL.Path, suffix) }
}

func (f *sick) series(name string) string { return fmt.Sprintf("%s{target=%q}", name, f.target) }

// behind is a bucket of store that is reached through a server that misbehaves on demand.
func behind(t *testing.T, store *servers.S3, name string) (*bucket, *faults.Server) {
	t.Helper()
	server := faults.Before(t, store)
	b := newBucket(t, store, name)
	proxied := *store
	proxied.Endpoint, proxied.CAFile = server.Endpoint, server.CAFile
	b.server, b.options = &proxied, ", part_size: 5MiB"
	return b, server
}

// hospital is one node with a sick target for each fault, and a healthy one at the end.
type hospital struct {
	*site
	all     []*sick
	healthy string // name of the target
}

func newHospital(t *testing.T, e *servers.Etcd, all []*sick) *hospital {
	t.Helper()
	minio := servers.StartMinIO(t).S3
	var stores []store
	for i, f := range all {
		f.target = fmt.Sprintf("t%d", i+1)
		f.bucket, f.server = behind(t, minio, fmt.Sprintf("sick-%d", i+1))
		stores = append(stores, f.bucket)
	}
	h := &hospital{newSite(t, ofEtcd(e), append(stores, inDirectory(t))...), all, fmt.Sprintf("t%d", len(all)+1)}
	fill(t, e.Client(t), h.value, 6) // two parts
	return h
}

// TestDaemonUnderFaults: a daemon with a target for every fault and a healthy one. While the faults last, the healthy target has
// its copy, and metrics, list and status say of each of the others what it has and what it has not. When they have gone, all have
// the same, it restores, and nothing is left over.
func TestDaemonUnderFaults(t *testing.T) {
	t.Parallel()
	e := servers.StartEtcd(t, servers.EtcdConfig{})
	h := newHospital(t, e, sickTargets())
	first := h.snapshot()
	write(t, e.Client(t), "during/", h.value, 5)
	lost := contentOf(t, e)
	for _, f := range h.all {
		f.server.Forget() // the first snapshot
		f.server.Script(f.step)
	}

	c := h.freshDaemon()
	second := h.admitted(c, first.ID)
	h.wantTold(c)
	h.wantListed(first.ID, second)
	h.wantStatus()
	h.wantMetrics(first.ID, second)

	for _, f := range h.all {
		if left := f.server.Left(); left != 0 {
			t.Errorf("%s: %d requests were not spoiled", f.fault, left)
		}
		f.server.Script()
	}
	h.wantQueues(6*time.Minute, func(f *sick) bool { return !f.refused }) // after the longest wait between two attempts, at the latest
	h.terminate(c)
	c = h.start("daemon") // as somebody does who has given the permission back
	h.wantQueues(3*time.Minute, func(*sick) bool { return true })
	h.wantCured([]string{first.ID, second})
	h.terminate(c)

	m := h.newMember("m")
	h.must(slices.Concat([]string{"restore", "--yes", "--identity", h.identity()}, h.elsewhere(h.all[0].bucket), m.flags())...)
	wantContent(t, m.start(t, e.Version()), lost)
}

// admitted waits until the healthy target has the second snapshot and every fault had something to spoil, and returns its ID.
func (h *hospital) admitted(c *command, first string) string {
	h.t.Helper()
	h.metric(time.Minute, fmt.Sprintf(`drd_repo_objects{kind="snapshot",target=%q}`, h.healthy), is(2))
	listed := h.list(0, h.elsewhere(h.stores[len(h.all)])...)
	if len(listed) != 2 || listed[0].ID != first || listed[1].State != "ok" {
		h.t.Fatalf("the healthy target lists %+v\n%v", listed, c.Stderr.String())
	}
	for _, f := range h.all {
		program.Eventually(h.t, time.Minute, func() error {
			if len(f.server.Seen(f.step.On)) == 0 {
				return fmt.Errorf("%s: no such request", f.fault)
			}
			return nil
		})
	}
	return listed[1].ID
}

// wantTold waits for a line about each target. A burst has to be over, too.
func (h *hospital) wantTold(c *command) {
	h.t.Helper()
	for _, f := range h.all {
		program.Eventually(h.t, time.Minute, func() error {
			if f.says != "" && !f.told(c.Stderr.String()) {
				return fmt.Errorf("%s: the daemon does not say %q of %s\n%s", f.fault, f.says, f.target, c.Stderr.String())
			}
			return nil
		})
		if f.proved {
			h.metric(time.Minute, f.series("drd_replication_queue_objects"), is(0))
		}
	}
}

// told looks for the daemon's line about a failure of this target.
func (f *sick) told(log string) bool {
	for line := range strings.Lines(log) {
		about := strings.Contains(line, "target="+f.target+" ") || strings.Contains(line, fmt.Sprintf("from=%q", "target "+f.target))
		if about && strings.Contains(line, "level=ERROR") && strings.Contains(line, f.says) {
			return true
		}
	}
	return false
}

// wantListed compares drd list with what each target really has.
func (h *hospital) wantListed(first, second string) {
	h.t.Helper()
	r := h.fails(1, "list", "--json") // because of the one that cannot be listed
	states := map[string]map[string]string{}
	for _, target := range decode[listDocument](h.t, r).Targets {
		states[target.Target] = map[string]string{}
		for _, item := range target.Snapshots {
			states[target.Target][item.ID] = item.State
		}
	}
	for _, f := range h.all {
		got, listed := states[f.target]
		if listed == f.blind || listed && (got[first] != "ok" || got[second] != f.has) {
			h.t.Errorf("%s: the target lists %v, want the second %q", f.fault, got, f.has)
		}
	}
	if got := states[h.healthy]; got[first] != "ok" || got[second] != "ok" {
		h.t.Errorf("the healthy target lists %v", got)
	}
}

// wantStatus wants drd status to know what waits, and what can be restored from where.
func (h *hospital) wantStatus() {
	h.t.Helper()
	doc := h.status()
	for i, f := range h.all {
		got := doc.Targets[i]
		waiting, restorable := 1, 1
		if f.proved {
			waiting = 0
		}
		if f.has == "ok" {
			restorable = 2
		}
		if f.blind {
			restorable = 0
		}
		if got.Readable == f.blind || got.Waiting != waiting || got.Restorable != restorable || got.Lost != 0 {
			h.t.Errorf("%s: status says %+v", f.fault, got)
		}
	}
	healthy := doc.Targets[len(h.all)]
	if doc.Healthy || healthy.Restorable != 2 || healthy.Waiting != 0 || doc.RecoveryPoint == nil || !doc.RecoveryPoint.Equal(*healthy.RecoveryPoint) {
		h.t.Errorf("status: %+v", doc)
	}
}

// wantMetrics wants the daemon's metrics to say the same.
func (h *hospital) wantMetrics(first, second string) {
	h.t.Helper()
	failing := 0
	for _, f := range h.all {
		waiting := 1.0
		if f.proved {
			waiting = 0
		}
		h.metric(time.Minute, f.series("drd_replication_queue_objects"), is(waiting))
		h.metric(time.Minute, f.series("drd_replication_lost_total"), is(0))
		if f.has != "ok" && !f.blind {
			h.metric(time.Minute, f.series("drd_recovery_point_timestamp_seconds"), from(h.t, first))
		}
		if f.says != "" && !f.blind {
			failing++
		}
	}
	h.metric(time.Minute, fmt.Sprintf("drd_recovery_point_timestamp_seconds{target=%q}", h.healthy), from(h.t, second))
	h.metric(time.Minute, `drd_errors_total{stage="replication"}`, func(v float64) bool { return v >= float64(failing) })
	h.metric(time.Minute, `drd_errors_total{stage="catalogue"}`, func(v float64) bool { return v >= 1 })
}

// from tells whether a time is in the second in which the capture of a snapshot began.
func from(t *testing.T, id string) func(float64) bool {
	t.Helper()
	stamp, _, _ := strings.Cut(id, "-")
	at, err := time.Parse("20060102T150405Z", stamp)
	if err != nil {
		t.Fatal(err)
	}
	return func(v float64) bool { return int64(v) == at.Unix() }
}

// wantQueues waits until nothing is left to do for these targets.
func (h *hospital) wantQueues(limit time.Duration, of func(*sick) bool) {
	h.t.Helper()
	end := time.Now().Add(limit)
	for _, f := range h.all {
		if of(f) {
			h.metric(time.Until(end), f.series("drd_replication_queue_objects"), is(0))
		}
	}
}

// wantCured wants all targets to hold the same snapshots and nothing else, and everything to restore from each of them.
func (h *hospital) wantCured(ids []string) {
	h.t.Helper()
	doc := h.status()
	if !doc.Healthy {
		h.t.Errorf("status: %+v", doc)
	}
	for i, f := range h.all {
		h.metric(time.Minute, fmt.Sprintf(`drd_repo_objects{kind="snapshot",target=%q}`, f.target), is(float64(len(ids))))
		if got := doc.Targets[i]; got.Restorable != len(ids) || got.Waiting != 0 {
			h.t.Errorf("%s: status says %+v", f.fault, got)
		}
		f.bucket.wantOnly(h.t, ids)
		for _, id := range ids {
			h.wantRestorable(f.bucket, id)
		}
	}
	h.wantSpooled(0)
}

// wantRestorable restores a snapshot from one target to a file, whose HashKV must be the one that was recorded.
func (s *site) wantRestorable(st store, id string, flags ...string) restoreDocument {
	s.t.Helper()
	out := s.path(id + ".db")
	r := s.must(slices.Concat([]string{"restore", "--yes", "--json", "--id", id, "--identity", s.identity(), "--output", out}, s.elsewhere(st), flags)...)
	doc := decode[restoreDocument](s.t, r)
	if doc.ID != id || doc.Facts.HashKV == 0 {
		s.t.Errorf("restored is %v", r)
	}
	if err := os.Remove(out); err != nil {
		s.t.Error(err)
	}
	return doc
}

// wantOnly wants three objects for each snapshot, nothing else, and no unfinished upload.
func (b *bucket) wantOnly(t *testing.T, ids []string) {
	t.Helper()
	var want []string
	for _, id := range ids {
		for _, name := range []string{"manifest.json", "manifest.json.sig", "snapshot.db.zst.age"} {
			want = append(want, objectOf(id, name))
		}
		if n := b.unfinished(t, objectOf(id, "snapshot.db.zst.age")); n != 0 {
			t.Errorf("%s has %d unfinished uploads of %s", b.name, n, id)
		}
	}
	var got []string
	for key := range b.objects(t) {
		got = append(got, key)
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("%s holds %q, want %q", b.name, got, want)
	}
}

// unfinished counts the uploads of one key: MinIO lists no others.
func (b *bucket) unfinished(t *testing.T, key string) int {
	t.Helper()
	ctx, cancel := requestContext()
	defer cancel()
	page, err := b.client.ListMultipartUploads(ctx, &s3.ListMultipartUploadsInput{Bucket: aws.String(b.name), Prefix: aws.String(prefix + "/" + key)})
	if err != nil {
		t.Fatalf("list the uploads of %s: %v", key, err)
	}
	return len(page.Uploads)
}

// TestCopyLooksDamaged: every download of a target is corrupted, so its copy cannot be proved. It is told as lost, the spool keeps
// it, a fresh snapshot is taken soon, and only one; the next one that can be proved releases both.
func TestCopyLooksDamaged(t *testing.T) {
	t.Parallel()
	e := servers.StartEtcd(t, servers.EtcdConfig{})
	f := &sick{fault: "corrupt downloads", step: faults.Step{On: payloads(faults.Get), Times: faults.Always, Do: faults.Corrupt(1000)}, says: "content differs from what was recorded"}
	h := newHospital(t, e, []*sick{f})
	f.server.Script(f.step)

	c := h.freshDaemon()
	h.metric(3*time.Minute, f.series("drd_replication_lost_total"), is(2)) // the first, and the one that was to replace it
	h.wantTold(c)
	h.metric(time.Minute, f.series("drd_replication_queue_objects"), is(2))
	h.metric(time.Minute, fmt.Sprintf(`drd_repo_objects{kind="snapshot",target=%q}`, h.healthy), is(2))
	h.metric(time.Minute, `drd_errors_total{stage="replication"}`, is(2))
	st := h.status()
	if got := st.Targets[0]; got.Waiting != 2 || got.Lost != 2 || st.Targets[1].Restorable != 2 {
		t.Errorf("status: %+v", st)
	}
	h.terminate(c).wants(t, "a target will never have a snapshot", "reason=damaged")
	h.wantSpooled(2)

	f.server.Script()
	c = h.start("daemon")
	h.metric(time.Minute, f.series("drd_replication_queue_objects"), is(2)) // no attempt can mend them
	write(t, e.Client(t), "after/", h.value, 1)
	h.snapshot()
	h.metric(time.Minute, f.series("drd_replication_queue_objects"), is(0))
	h.metric(time.Minute, f.series("drd_replication_lost_total"), is(2))
	var ids []string
	for _, item := range h.list(0) {
		ids = append(ids, item.ID)
	}
	if len(ids) != 3 {
		t.Errorf("listed are %v", ids)
	}
	h.terminate(c)
	c = h.start("daemon") // which looks at its targets first
	h.wantCured(ids)
	h.terminate(c)
}
