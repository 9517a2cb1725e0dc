package integration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"

	"github.com/drd-project/drd/test/program"
	"github.com/drd-project/drd/test/servers"
)

// under keeps a client writing until the returned function is called.
func under(t *testing.T, e *servers.Etcd, value string) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	client, ended := e.Client(t), make(chan error, 1)
	go func() {
		for i := 0; ctx.Err() == nil; i++ {
			if _, err := client.Put(ctx, fmt.Sprintf("load/%03d", i%500), value); err != nil && ctx.Err() == nil {
				ended <- err
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
		ended <- nil
	}()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the load: %v", err)
		}
	}
	t.Cleanup(stop)
	return stop
}

// TestStoreFull: somebody else's data fills the store while snapshots are taken. It is said that it is full, what it has stays
// good, the other target goes on, and when there is room again it gets what it missed.
func TestStoreFull(t *testing.T) {
	t.Parallel()
	e := servers.StartEtcd(t, servers.EtcdConfig{})
	minio := servers.StartMinIO(t, servers.WithDrive(96<<20))
	full := newBucket(t, minio.S3, "drd-test")
	full.options = ", part_size: 5MiB"
	s := newSite(t, ofEtcd(e), full, inDirectory(t))
	fill(t, e.Client(t), s.value, 6)
	defer under(t, e, s.value)()
	first := s.snapshot()

	minio.CreateBucket(t, "somebody", false)
	films := fillUp(t, full.client)
	c := s.start("daemon")
	queue := `drd_replication_queue_objects{target="t1"}`
	s.metric(time.Minute, queue, is(1))
	program.Eventually(t, time.Minute, func() error {
		if !strings.Contains(c.Stderr.String(), "the store is full") {
			return fmt.Errorf("nothing says that the store is full\n%v", c.Stderr.String())
		}
		return nil
	})
	s.metric(time.Minute, `drd_repo_objects{kind="snapshot",target="t2"}`, is(2))
	s.metric(time.Minute, `drd_replication_queue_objects{target="t2"}`, is(0))
	s.metric(time.Minute, `drd_recovery_point_timestamp_seconds{target="t1"}`, from(t, first.ID))
	s.metric(time.Minute, `drd_errors_total{stage="replication"}`, func(v float64) bool { return v >= 1 })
	if st := s.status(); st.Targets[0].Waiting != 1 || st.Targets[0].Restorable != 1 || st.Targets[0].Lost != 0 || st.Targets[1].Restorable != 2 {
		t.Errorf("full: %+v", st)
	}
	s.wantRestorable(full, first.ID)

	deleteAll(t, full.client, films)
	s.metric(6*time.Minute, queue, is(0)) // after the longest wait between two attempts, at the latest
	s.terminate(c).wants(t, "a target takes snapshots again")
	if st := s.status(); !st.Healthy || st.Targets[0].Restorable != st.Targets[1].Restorable || st.Targets[0].Restorable < 2 {
		t.Errorf("with room again: %+v", st)
	}
	var ids []string
	for _, item := range s.list(0) {
		ids = append(ids, item.ID)
		s.wantRestorable(full, item.ID)
	}
	full.wantOnly(t, ids)
	s.wantSpooled(0)
}

// fillUp stores objects in another bucket until the store refuses the smallest, and returns their number.
func fillUp(t *testing.T, client *s3.Client) int {
	t.Helper()
	n, odd := 0, 0
	for size := 16 << 20; size >= 16<<10; {
		_, err := client.PutObject(t.Context(), &s3.PutObjectInput{
			Bucket: aws.String("somebody"), Key: aws.String(fmt.Sprintf("film-%d", n)), Body: bytes.NewReader(make([]byte, size)),
		}, once)
		switch {
		case err == nil:
			n++
		case isFull(err):
			size /= 4
		default: // it also says that the body was cut
			odd++
		}
		if n > 1000 || odd > 10 {
			t.Fatalf("fill the store: %d objects, %v", n, err)
		}
	}
	return n
}

func once(o *s3.Options) { o.Retryer = aws.NopRetryer{} }

// isFull knows MinIO's word for being full, and what it says when that happens in the middle of a write.
func isFull(err error) bool {
	api, ok := errors.AsType[smithy.APIError](err)
	return ok && (api.ErrorCode() == "XMinioStorageFull" || strings.Contains(api.ErrorMessage(), "no space left on device"))
}

func deleteAll(t *testing.T, client *s3.Client, n int) {
	t.Helper()
	for i := range n {
		if _, err := client.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: aws.String("somebody"), Key: aws.String(fmt.Sprintf("film-%d", i))}); err != nil {
			t.Fatalf("free the store: %v", err)
		}
	}
}

// TestRevoked: the keys of one target are revoked under load, and given again in the same file later. The daemon says so, goes on
// with the other target, and takes up the new ones without a restart.
func TestRevoked(t *testing.T) {
	t.Parallel()
	e := servers.StartEtcd(t, servers.EtcdConfig{})
	minio := servers.StartMinIO(t)
	st := newBucket(t, minio.S3, "drd-test")
	s := newSite(t, ofEtcd(e), st, inDirectory(t))
	s.more = "snapshot: {schedule: \"@every 1m\"}\n" // the shortest there is
	s.write(ofEtcd(e))
	defer under(t, e, s.value)()
	awayFromTick()
	c := s.start("daemon")
	s.metric(time.Minute, `drd_repo_objects{kind="snapshot",target="t1"}`, is(1))
	first := s.list(0)[0].ID

	minio.Rekey()
	st.client = minio.Client(t)
	s.metric(90*time.Second, `drd_replication_queue_objects{target="t1"}`, is(1)) // with the next tick
	program.Eventually(t, time.Minute, func() error {
		if !strings.Contains(c.Stderr.String(), "the store does not accept these credentials") {
			return fmt.Errorf("nothing says that the keys are revoked\n%v", c.Stderr.String())
		}
		return nil
	})
	s.metric(time.Minute, `drd_repo_objects{kind="snapshot",target="t2"}`, is(2))
	s.metric(time.Minute, `drd_recovery_point_timestamp_seconds{target="t1"}`, from(t, first))
	s.metric(time.Minute, `drd_errors_total{stage="replication"}`, func(v float64) bool { return v >= 1 })
	doc := s.status()
	if one, two := doc.Targets[0], doc.Targets[1]; doc.Healthy || one.Readable || one.Waiting != 1 || two.Restorable != 2 {
		t.Errorf("revoked: %+v", doc)
	}

	minio.WriteCredentials(t)
	s.metric(90*time.Second, `drd_replication_queue_objects{target="t1"}`, is(0)) // with the tick after that
	s.metric(time.Minute, `drd_repo_objects{kind="snapshot",target="t1"}`, is(3))
	s.terminate(c).wants(t, "a target takes snapshots again")
	if doc := s.status(); !doc.Healthy || doc.Targets[0].Restorable != doc.Targets[1].Restorable {
		t.Errorf("with new keys: %+v", doc)
	}
	for _, item := range s.list(0) {
		s.wantRestorable(st, item.ID)
	}
	s.wantSpooled(0)
}

// awayFromTick returns when the next full minute is not near.
func awayFromTick() {
	const near = 30 * time.Second
	if left := time.Minute - time.Since(time.Now().Truncate(time.Minute)); left < near {
		time.Sleep(left + time.Second)
	}
}

// mayNotDelete is what a node's keys should look like: an explicit deny wins over whatever their owner may do.
const mayNotDelete = `{"Version":"2012-10-17","Statement":[
	{"Effect":"Allow","Action":["s3:*"],"Resource":["arn:aws:s3:::*"]},
	{"Effect":"Deny","Action":["s3:DeleteObject","s3:DeleteObjectVersion"],"Resource":["arn:aws:s3:::*"]}]}`

// TestMayNotDelete: backups need no permission to delete. A prune that should delete and may not is an alert and a failure.
func TestMayNotDelete(t *testing.T) {
	t.Parallel()
	e := servers.StartEtcd(t, servers.EtcdConfig{})
	minio := servers.StartMinIO(t)
	st := newBucket(t, minio.S3, "drd-test")
	limited := *minio.S3
	limited.CredentialsFile = minio.Session(t, mayNotDelete)
	st.server = &limited
	s := newSite(t, ofEtcd(e), st)
	s.more = "retention: {last: 1, min_copies: 1}\n"
	s.write(ofEtcd(e))
	load(t, e, "app/", s.value)
	var ids []string
	for i := range 3 {
		write(t, e.Client(t), fmt.Sprintf("more-%d/", i), s.value, 1)
		ids = append(ids, s.snapshot().ID)
	}
	s.wantSpooled(0)

	s.fails(1, "prune").wants(t, "access denied", "s3:DeleteObject")
	c := s.freshDaemon()
	s.metric(time.Minute, `drd_errors_total{stage="prune"}`, is(1))
	s.metric(time.Minute, `drd_repo_objects{kind="snapshot",target="t1"}`, is(4))
	if page, err := s.scrape(); err != nil || strings.Contains(page, `drd_prune_last_success_timestamp_seconds{target="t1"}`) {
		t.Errorf("a prune that may not delete counts as a success: %v", err)
	}
	s.terminate(c).wants(t, "retention is not applied", "s3:DeleteObject")
	for _, id := range ids {
		s.wantRestorable(st, id)
	}

	st.server = minio.S3 // elsewhere, with keys that may
	s.write(ofEtcd(e))
	s.must("prune")
	if left := s.list(0); len(left) != 1 {
		t.Errorf("left are %+v", left)
	}
}
