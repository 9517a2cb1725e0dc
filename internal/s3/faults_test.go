package s3_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"

	"github.com/drd-project/drd/internal/s3"
	"github.com/drd-project/drd/internal/storage"
	"github.com/drd-project/drd/internal/storage/storagetest"
	"github.com/drd-project/drd/test/faults"
	"github.com/drd-project/drd/test/servers"
)

// bucketName is the bucket on the stores behind the proxy.
const bucketName = "faults"

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{byte(n)}).Read(b) // never fails
	return b
}

func put(t *testing.T, b storage.Bucket, key string, data []byte) error {
	t.Helper()
	_, err := b.Create(t.Context(), key, bytes.NewReader(data))
	return err
}

func get(t *testing.T, b storage.Bucket, key string) []byte {
	t.Helper()
	r, err := b.Open(t.Context(), key, 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestFaults runs every fault against both stores, which differ in how they answer a repeated request.
func TestFaults(t *testing.T) {
	for store, server := range map[string]*servers.S3{"MinIO": servers.StartMinIO(t).S3, "versitygw": servers.StartVersityGW(t).S3} {
		server.CreateBucket(t, bucketName, false)
		for name, run := range map[string]func(*testing.T, *faults.Server, s3.Config){
			"lost answers": lostAnswers, "lost answers without checksums": lostAnswersWithoutChecksums,
			"another writer's object behind a lost answer": lostAnswerOfAnother,
			"unconfirmed checksum":                         unconfirmed, "wrong checksum": wrongChecksum,
			"an error in a good answer": errorInside, "cut body": cutBody, "what is sent": sentRequests, "unfinished uploads": unfinished, "abort": aborted,
		} {
			t.Run(store+"/"+name, func(t *testing.T) {
				t.Parallel()
				p, cfg := before(t, server, bucketName)
				cfg.Prefix = strings.ReplaceAll(name, " ", "-")
				run(t, p, cfg)
			})
		}
	}
}

var kinds = map[string]struct {
	size int
	last faults.Match // the request that makes the object visible
}{
	"whole": {1000, faults.Put},
	"parts": {2*storagetest.PartSize + 5, faults.Complete},
}

func lostAnswers(t *testing.T, p *faults.Server, cfg s3.Config) {
	b := open(t, cfg)
	for kind, k := range kinds {
		for lost := 1; lost <= 2; lost++ {
			key, data := kind+string(rune('0'+lost)), random(k.size)
			p.Script(faults.Step{On: k.last, Times: lost, Do: faults.LoseAnswer()})
			if err := put(t, b, key, data); err != nil {
				t.Errorf("%s, %d answers lost: %v", kind, lost, err)
			}
			if !bytes.Equal(get(t, b, key), data) {
				t.Errorf("%s, %d answers lost: the content differs", kind, lost)
			}
			if err := put(t, b, key, data); !errors.Is(err, storage.ErrExists) {
				t.Errorf("%s: the same content again, nothing lost: %v, want %v", kind, err, storage.ErrExists)
			}
		}
	}
	p.Script(faults.Step{On: faults.Part, Times: 3, Do: faults.LoseAnswer()})
	if err := put(t, b, "part", random(2*storagetest.PartSize)); err != nil {
		t.Errorf("three answers to parts lost: %v", err)
	}
}

func lostAnswersWithoutChecksums(t *testing.T, p *faults.Server, cfg s3.Config) {
	cfg.ChecksumMode = s3.ChecksumWhenSupported
	b := open(t, cfg)
	for kind, k := range kinds {
		p.Script(faults.Step{On: k.last, Do: faults.LoseAnswer()}, faults.Step{Times: faults.Always, Do: withoutChecksums()})
		if err := put(t, b, kind, random(k.size)); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
		done(t, p)
		if n := len(p.Seen(faults.Get)); n == 0 {
			t.Errorf("%s: the object was not read back", kind)
		}
	}
}

// errorInside: joining parts can fail after the store has answered 200, and the object may be there all the same.
func errorInside(t *testing.T, p *faults.Server, cfg s3.Config) {
	b := open(t, cfg)
	data := random(2 * storagetest.PartSize)
	p.Script(faults.Step{On: faults.Complete, Times: 2, Do: faults.ErrorAfter(http.StatusOK, "InternalError")})
	if err := put(t, b, "key", data); err != nil {
		t.Error(err)
	}
	if n := len(p.Seen(faults.Complete)); n != 3 {
		t.Errorf("%d requests to join the parts, want 3", n)
	}
	if !bytes.Equal(get(t, b, "key"), data) {
		t.Error("the content differs")
	}
}

// lostAnswerOfAnother: another writer takes the key just before the last request, whose answer is lost.
func lostAnswerOfAnother(t *testing.T, p *faults.Server, cfg s3.Config) {
	b := open(t, cfg)
	for kind, k := range kinds {
		for other, data := range map[string][]byte{"same size": random(k.size), "other size": random(k.size + 1)} {
			key := kind + "/" + strings.ReplaceAll(other, " ", "-")
			mine := random(k.size)
			mine[k.size/2]++
			overtake := func() {
				if err := put(t, b, key, data); err != nil {
					t.Error(err)
				}
			}
			p.Script(faults.Step{On: k.last, Do: faults.First(overtake, faults.LoseAnswer())})
			if err := put(t, b, key, mine); !errors.Is(err, storage.ErrExists) {
				t.Errorf("%s, %s: %v, want %v", kind, other, err, storage.ErrExists)
			}
			done(t, p)
			if !bytes.Equal(get(t, b, key), data) {
				t.Errorf("%s, %s: the other writer's object was changed", kind, other)
			}
		}
	}
}

func unconfirmed(t *testing.T, p *faults.Server, cfg s3.Config) {
	required := open(t, cfg)
	cfg.ChecksumMode = s3.ChecksumWhenSupported
	relaxed := open(t, cfg)
	if required.Properties().VerifiesContent == relaxed.Properties().VerifiesContent {
		t.Error("the properties do not tell the two modes apart")
	}
	for kind, k := range kinds {
		p.Script(faults.Step{Times: faults.Always, Do: withoutChecksums()})
		if err := put(t, required, kind, random(k.size)); err == nil || !strings.Contains(err.Error(), "did not confirm") {
			t.Errorf("%s, required: %v", kind, err)
		}
		if _, err := required.Stat(t.Context(), kind); !errors.Is(err, storage.ErrNotExist) {
			t.Errorf("%s: the unconfirmed object is there: %v", kind, err)
		}
		if err := put(t, relaxed, kind, random(k.size)); err != nil {
			t.Errorf("%s, when supported: %v", kind, err)
		}
	}
}

func wrongChecksum(t *testing.T, p *faults.Server, cfg s3.Config) {
	cfg.ChecksumMode = s3.ChecksumWhenSupported
	b := open(t, cfg)
	for kind, k := range kinds {
		p.Script(faults.Step{On: k.last, Do: faults.Rewrite(otherChecksum)})
		if err := put(t, b, kind, random(k.size)); err == nil || !strings.Contains(err.Error(), "checksum mismatch") {
			t.Errorf("%s: %v", kind, err)
		}
		if _, err := b.Stat(t.Context(), kind); !errors.Is(err, storage.ErrNotExist) {
			t.Errorf("%s: the wrong object is there: %v", kind, err)
		}
	}
}

// otherChecksum has the store say that it holds something else.
func otherChecksum(answer *http.Response, body []byte) []byte {
	wrong := sha256.Sum256([]byte("other"))
	sum := base64.StdEncoding.EncodeToString(wrong[:])
	if answer.Header.Get("X-Amz-Checksum-Sha256") != "" {
		answer.Header.Set("X-Amz-Checksum-Sha256", sum)
	}
	before, rest, ok := strings.Cut(string(body), "<ChecksumSHA256>")
	if !ok {
		return body
	}
	_, after, _ := strings.Cut(rest, "</ChecksumSHA256>")
	return []byte(before + "<ChecksumSHA256>" + sum + "-3</ChecksumSHA256>" + after)
}

func cutBody(t *testing.T, p *faults.Server, cfg s3.Config) {
	b := open(t, cfg)
	data := random(3 << 20)
	if err := put(t, b, "key", data); err != nil {
		t.Fatal(err)
	}
	p.Script(faults.Step{On: faults.Get, Do: faults.CutAnswer(1 << 19)})
	r, err := b.Open(t.Context(), "key", 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if n, err := io.Copy(io.Discard, r); err == nil || n > 1<<19 || !strings.Contains(err.Error(), "bytes missing") {
		t.Errorf("a cut body yields %d bytes and %v", n, err)
	}
	p.Script(faults.Step{On: faults.Get, Times: 2, Do: faults.CutAnswer(1 << 19)})
	fetched := storage.Fetch(t.Context(), b, "key", int64(len(data)), 2, 1<<20)
	defer fetched.Close()
	if got, err := io.ReadAll(fetched); err != nil || !bytes.Equal(got, data) {
		t.Errorf("Fetch over cut bodies: %d bytes, %v", len(got), err)
	}
	done(t, p)
}

// sentRequests: each byte is hashed once and the hash is sent as checksum and in the signature; no trailers.
func sentRequests(t *testing.T, p *faults.Server, cfg s3.Config) {
	b := open(t, cfg)
	data := random(storagetest.PartSize + 5)
	if err := errors.Join(put(t, b, "whole", data[:100]), put(t, b, "parts", data)); err != nil {
		t.Fatal(err)
	}
	check := func(r *faults.Request, data []byte) {
		t.Helper()
		sum := sha256.Sum256(data)
		want := map[string]string{
			"X-Amz-Checksum-Sha256": base64.StdEncoding.EncodeToString(sum[:]),
			"X-Amz-Content-Sha256":  hex.EncodeToString(sum[:]),
			"X-Amz-Trailer":         "", "Content-Encoding": "", "Transfer-Encoding": "",
		}
		for name, value := range want {
			if got := r.Header.Get(name); got != value {
				t.Errorf("%s: header %s is %q, want %q", r.URL, name, got, value)
			}
		}
		if r.ContentLength != int64(len(data)) {
			t.Errorf("%s: length %d, want %d", r.URL, r.ContentLength, len(data))
		}
	}
	check(p.Seen(faults.Put)[0], data[:100])
	for _, r := range p.Seen(faults.Part) {
		if r.URL.Query().Get("partNumber") == "1" {
			check(r, data[:storagetest.PartSize])
		} else {
			check(r, data[storagetest.PartSize:])
		}
	}
	for _, r := range append(p.Seen(faults.Put), p.Seen(faults.Complete)...) {
		if r.Header.Get("If-None-Match") != "*" {
			t.Errorf("%s %s is not conditional", r.Method, r.URL)
		}
	}
}

// unfinished: an upload under way is known, and gone when it ends.
func unfinished(t *testing.T, p *faults.Server, cfg s3.Config) {
	b := open(t, cfg)
	started, release := make(chan struct{}), make(chan struct{})
	source := io.MultiReader(bytes.NewReader(random(2*storagetest.PartSize)), signal{started, release})
	done := make(chan error)
	go func() {
		_, err := b.Create(t.Context(), "cluster/key", source)
		done <- err
	}()
	<-started
	uploads, err := b.Incomplete(t.Context(), "cluster/key") // MinIO wants the whole key
	if err != nil || len(uploads) != 1 || uploads[0].Key != "cluster/key" || uploads[0].ID == "" || uploads[0].Started.IsZero() {
		t.Errorf("under way: %+v, %v", uploads, err)
	}
	close(release)
	if err := <-done; err != nil {
		t.Error(err)
	}
	if uploads, err = b.Incomplete(t.Context(), "cluster/key"); err != nil || len(uploads) != 0 {
		t.Errorf("after the end: %+v, %v", uploads, err)
	}
}

// aborted: whatever ends an upload, its parts are freed, also when the context is what ended.
func aborted(t *testing.T, p *faults.Server, cfg s3.Config) {
	b := open(t, cfg)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	source := io.MultiReader(bytes.NewReader(random(2*storagetest.PartSize)), readerFunc(func([]byte) (int, error) {
		cancel()
		return 0, nil
	}))
	if _, err := b.Create(ctx, "cancelled", source); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	for _, match := range []faults.Match{faults.Part, faults.Complete} {
		p.Script(faults.Step{On: match, Do: faults.ErrorAfter(http.StatusForbidden, "AccessDenied")})
		// The store did what it was asked for: what the answer spoils is our knowledge, and a joined object is there.
		if err := put(t, b, "refused", random(2*storagetest.PartSize)); !errors.Is(err, storage.ErrDenied) {
			t.Errorf("refused: %v", err)
		}
		done(t, p)
	}
	if n := len(p.Seen(faults.Abort)); n < 3 {
		t.Errorf("%d uploads were aborted, want 3", n)
	}
	for _, key := range []string{"cancelled", "refused"} {
		if uploads, err := b.Incomplete(t.Context(), key); err != nil || len(uploads) != 0 {
			t.Errorf("%s is left behind: %+v, %v", key, uploads, err)
		}
	}
}
