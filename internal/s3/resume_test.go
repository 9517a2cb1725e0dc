package s3_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/drd-project/drd/internal/s3"
	"github.com/drd-project/drd/internal/storage"
	"github.com/drd-project/drd/internal/storage/storagetest"
	"github.com/drd-project/drd/test/faults"
	"github.com/drd-project/drd/test/servers"
)

// resumeSize is four parts and a short one.
const resumeSize = 4*storagetest.PartSize + 1000

// resumption is one test of it: a bucket behind a fault server.
type resumption struct {
	server *faults.Server
	store  *servers.S3
	cfg    s3.Config
	bucket *s3.Bucket
	data   []byte
}

func TestResume(t *testing.T) {
	for store, server := range map[string]*servers.S3{"MinIO": servers.StartMinIO(t).S3, "versitygw": servers.StartVersityGW(t).S3} {
		server.CreateBucket(t, "resume", false)
		for name, run := range map[string]func(*testing.T, *resumption){
			"goes on where it broke off": resumeSame, "without a part": resumeEmpty, "after a restart": resumeOther, "settings fixed at the start": resumeSettings,
			"other content": resumeChanged, "after a stall": resumeStalled, "only the last request failed": resumeJoin,
			"joined after all": resumeJoined, "no checksums of parts": resumeUnchecked, "uploads cannot be listed": resumeUnlisted,
			"ended by somebody else": resumeEnded, "shared by two processes": resumeShared,
		} {
			t.Run(store+"/"+name, func(t *testing.T) {
				t.Parallel()
				p, cfg := before(t, server, "resume")
				cfg.Prefix, cfg.Parallel, cfg.Attempts = strings.ReplaceAll(name, " ", "-"), 1, 1
				run(t, &resumption{p, server, cfg, open(t, cfg), random(resumeSize)})
			})
		}
	}
}

// breakOff has a Create fail in the middle of its third part.
func (r *resumption) breakOff(t *testing.T) {
	t.Helper()
	r.server.Script(faults.Step{On: faults.Part, Skip: 2, Times: faults.Always, Do: faults.Reset(storagetest.PartSize / 2)})
	if err := put(t, r.bucket, "key", r.data); err == nil || errors.Is(err, storage.ErrExists) {
		t.Fatalf("a Create whose connection breaks: %v", err)
	}
	r.server.Script()
	r.server.Forget()
}

// finish creates the object and returns how many parts' bytes that took.
func (r *resumption) finish(t *testing.T, b storage.Bucket, data []byte) int64 {
	t.Helper()
	if err := put(t, b, "key", data); err != nil {
		t.Fatalf("the next Create: %v", err)
	}
	if !bytes.Equal(get(t, b, "key"), data) {
		t.Error("the content differs")
	}
	return r.server.Received(faults.Part)
}

// want compares the bytes sent and the uploads started.
func (r *resumption) want(t *testing.T, sent, bytes int64, starts int) {
	t.Helper()
	if n := len(r.server.Seen(faults.Start)); sent != bytes || n != starts {
		t.Errorf("%d bytes of parts were sent in %d new uploads, want %d in %d", sent, n, bytes, starts)
	}
}

// wantNothingLeft checks that no upload of the key is left.
func (r *resumption) wantNothingLeft(t *testing.T) {
	t.Helper()
	if left, err := open(t, r.cfg).Incomplete(t.Context(), "key"); err != nil || len(left) != 0 {
		t.Errorf("uploads left: %+v, %v", left, err)
	}
}

func resumeSame(t *testing.T, r *resumption) {
	r.breakOff(t)
	r.want(t, r.finish(t, r.bucket, r.data), resumeSize-2*storagetest.PartSize, 0)
	r.wantNothingLeft(t)
}

// resumeEmpty: however often no part gets through, there is one upload, and not one for each attempt.
func resumeEmpty(t *testing.T, r *resumption) {
	r.server.Script(faults.Step{On: faults.Part, Times: faults.Always, Do: faults.Error(http.StatusServiceUnavailable, "SlowDown")})
	for range 3 {
		if err := put(t, r.bucket, "key", r.data); err == nil {
			t.Fatal("a store that takes no part: no error")
		}
	}
	if n := len(r.server.Seen(faults.Start)); n != 1 {
		t.Errorf("%d uploads were started, want 1", n)
	}
	r.server.Script()
	r.server.Forget()
	r.want(t, r.finish(t, r.bucket, r.data), resumeSize, 0)
	r.wantNothingLeft(t)
}

func resumeOther(t *testing.T, r *resumption) {
	r.breakOff(t)
	r.want(t, r.finish(t, open(t, r.cfg), r.data), resumeSize-2*storagetest.PartSize, 0)
	r.wantNothingLeft(t)
}

func resumeSettings(t *testing.T, r *resumption) {
	r.cfg.StorageClass = "STANDARD"
	r.bucket = open(t, r.cfg)
	r.breakOff(t)
	r.want(t, r.finish(t, open(t, r.cfg), r.data), resumeSize, 1)
	if err := r.bucket.Delete(t.Context(), "key"); err != nil {
		t.Fatal(err)
	}
	r.breakOff(t)
	r.want(t, r.finish(t, r.bucket, r.data), resumeSize-2*storagetest.PartSize, 0)
}

// resumeChanged: whatever was sent before, the object is what the last Create was given.
func resumeChanged(t *testing.T, r *resumption) {
	const part = storagetest.PartSize
	second := append(bytes.Clone(r.data[:part]), random(resumeSize-part)...)
	for name, test := range map[string]struct {
		data []byte
		sent int64
	}{
		"all else":            {random(resumeSize - 1), resumeSize - 1},
		"the first part same": {second, resumeSize - part},
		"shorter":             {r.data[:part+1], 1},
		"parts swapped":       {append(bytes.Clone(r.data[part:2*part]), r.data[:part]...), 2 * part},
	} {
		r.breakOff(t)
		if sent := r.finish(t, r.bucket, test.data); sent != test.sent || len(r.server.Seen(faults.Start)) != 0 {
			t.Errorf("%s: %d bytes were sent in %d new uploads, want %d in none", name, sent, len(r.server.Seen(faults.Start)), test.sent)
		}
		r.wantNothingLeft(t)
		if err := r.bucket.Delete(t.Context(), "key"); err != nil {
			t.Fatal(err)
		}
	}
}

func resumeStalled(t *testing.T, r *resumption) {
	r.server.Script(faults.Step{On: faults.Part, Skip: 3, Do: faults.Stall(storagetest.PartSize / 2)})
	guarded := storage.WithStallTimeout(r.bucket, standstill)
	if err := put(t, guarded, "key", r.data); !errors.Is(err, storage.ErrStalled) {
		t.Fatalf("a stalled Create: %v", err)
	}
	r.server.Forget()
	r.want(t, r.finish(t, guarded, r.data), resumeSize-3*storagetest.PartSize, 0)
}

func resumeJoin(t *testing.T, r *resumption) {
	r.server.Script(faults.Step{On: faults.Complete, Do: faults.Error(http.StatusServiceUnavailable, "SlowDown")})
	if err := put(t, r.bucket, "key", r.data); err == nil {
		t.Fatal("the parts were not joined, and Create succeeds")
	}
	r.server.Forget()
	r.want(t, r.finish(t, r.bucket, r.data), 0, 0)
}

// resumeJoined: the answer to the last request is lost for good. The next Create says so without sending anything.
func resumeJoined(t *testing.T, r *resumption) {
	r.server.Script(faults.Step{On: faults.Complete, Do: faults.LoseAnswer()})
	if err := put(t, r.bucket, "key", r.data); err == nil {
		t.Fatal("the only answer was lost, and Create succeeds")
	}
	r.server.Forget()
	if err := put(t, r.bucket, "key", r.data); !errors.Is(err, storage.ErrExists) {
		t.Errorf("the next Create: %v", err)
	}
	r.want(t, r.server.Received(faults.Part), 0, 0)
	if !bytes.Equal(get(t, r.bucket, "key"), r.data) {
		t.Error("the content differs")
	}
}

var partChecksums = regexp.MustCompile(`<ChecksumSHA256>[^<]*</ChecksumSHA256>`)

// resumeUnchecked: a part without a SHA-256 is sent again; and where parts get none, nothing is left.
func resumeUnchecked(t *testing.T, r *resumption) {
	r.breakOff(t)
	r.server.Script(faults.Step{On: faults.Parts, Times: faults.Always, Do: faults.Rewrite(func(_ *http.Response, body []byte) []byte {
		return partChecksums.ReplaceAll(body, nil)
	})})
	r.want(t, r.finish(t, r.bucket, r.data), resumeSize, 0)
	if n := len(r.server.Seen(faults.Parts)); n == 0 {
		t.Error("the parts were not looked for")
	}

	r.cfg.Prefix, r.cfg.ChecksumMode = r.cfg.Prefix+"-2", s3.ChecksumWhenSupported
	r.bucket = open(t, r.cfg)
	r.server.Script(
		faults.Step{On: faults.Part, Skip: 0, Times: 2, Do: withoutChecksums()},
		faults.Step{On: faults.Part, Times: faults.Always, Do: faults.Reset(0)},
	)
	if err := put(t, r.bucket, "key", r.data); err == nil {
		t.Fatal("the connection broke, and Create succeeds")
	}
	r.wantNothingLeft(t)
}

func resumeUnlisted(t *testing.T, r *resumption) {
	denied := faults.Step{On: faults.Uploads, Times: 1, Do: faults.Error(http.StatusForbidden, "AccessDenied")}
	r.server.Script(denied, faults.Step{On: faults.Part, Skip: 2, Times: faults.Always, Do: faults.Reset(0)})
	if err := put(t, r.bucket, "key", r.data); err == nil || errors.Is(err, storage.ErrDenied) {
		t.Fatalf("the connection broke: %v", err)
	}
	r.server.Script()
	r.wantNothingLeft(t)
	r.server.Forget()
	r.server.Script(denied)
	r.want(t, r.finish(t, r.bucket, r.data), resumeSize, 1)
}

// resumeEnded: an upload that a lifecycle rule or an operator ends is an error that says so, and the next Create begins anew.
func resumeEnded(t *testing.T, r *resumption) {
	abort := func() {
		key := r.cfg.Prefix + "/key"
		uploads, err := r.bucket.Incomplete(t.Context(), "key")
		if err != nil || len(uploads) != 1 {
			t.Fatalf("%+v, %v", uploads, err)
		}
		_, err = r.store.Client(t).AbortMultipartUpload(t.Context(), &awss3.AbortMultipartUploadInput{Bucket: aws.String("resume"), Key: &key, UploadId: &uploads[0].ID})
		if err != nil {
			t.Fatal(err)
		}
	}
	r.server.Script(faults.Step{On: faults.Part, Skip: 2, Do: faults.First(abort, func(x *faults.Exchange) { x.Answer(x.Forward()) })})
	err := put(t, r.bucket, "key", r.data)
	broken := err != nil && (strings.Contains(err.Error(), "connection") || errors.Is(err, io.ErrUnexpectedEOF)) // versitygw may do that rather than answer
	if err == nil || !broken && !strings.Contains(err.Error(), "the upload was ended by somebody else") || errors.Is(err, storage.ErrNotExist) {
		t.Errorf("an upload that was ended: %v", err)
	}
	r.server.Forget()
	r.want(t, r.finish(t, r.bucket, r.data), resumeSize, 1)
}

// resumeShared: a process takes over the upload of another that is alive, with other content. The first to join wins with its
// own content, and the other is told that the key is taken.
func resumeShared(t *testing.T, r *resumption) {
	reached, release := make(chan struct{}), make(chan struct{})
	source := io.MultiReader(bytes.NewReader(r.data[:3*storagetest.PartSize]), signal{reached, release}, bytes.NewReader(r.data[3*storagetest.PartSize:]))
	first := make(chan error)
	go func() {
		_, err := r.bucket.Create(t.Context(), "key", source)
		first <- err
	}()
	<-reached
	other := append(bytes.Clone(r.data[:storagetest.PartSize]), random(resumeSize-1)...)
	err := put(t, open(t, r.cfg), "key", other)
	close(release)
	if err != nil {
		t.Errorf("the second: %v", err)
	}
	if err := <-first; err == nil { // versitygw may break the connection rather than answer
		t.Error("both succeed")
	}
	if err := put(t, r.bucket, "key", r.data); !errors.Is(err, storage.ErrExists) {
		t.Errorf("the first, the next time: %v", err)
	}
	if !bytes.Equal(get(t, r.bucket, "key"), other) {
		t.Error("the content is not the winner's")
	}
}
