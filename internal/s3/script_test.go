package s3_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/s3"
	"github.com/drd-project/drd/internal/storage"
	"github.com/drd-project/drd/test/faults"
	"github.com/drd-project/drd/test/servers"
)

// scriptAttempts is how often each request is made in the tests of this file.
const scriptAttempts = 3

// standstill is the stall time of tests in which something stalls and the rest has to succeed: a machine that is busy with much else
// stands still for two or three seconds now and then.
const standstill = 5 * time.Second

// scriptedBucket is for a store that a script spoils. Only where that makes it stall is there a need to be impatient.
func scriptedBucket(cfg s3.Config, name string) s3.Config {
	cfg.Prefix, cfg.Parallel, cfg.Attempts = strings.ReplaceAll(name, " ", "-"), 2, scriptAttempts
	if strings.HasPrefix(name, "stall") {
		cfg.StallTimeout = standstill
	}
	return cfg
}

// upload is one row: what goes wrong while an object is written, and how that ends.
type upload struct {
	name string
	kind string // of kinds
	on   faults.Match
	skip int
	n    int // how many requests are spoilt
	do   faults.Fault

	want  string // is part of the error; "" is success
	is    error
	there bool // the object, whole, after an error
	left  int  // uploads to go on with
	tries int  // requests of that sort, where their number is fixed
}

func uploads() []upload {
	const always, mib = faults.Always, 1 << 20
	return []upload{
		{name: "500 now and then", kind: "whole", on: faults.Put, n: 2, do: faults.Error(500, "InternalError"), tries: 3},
		{name: "503 now and then", kind: "parts", on: faults.Part, n: 2, do: faults.Error(503, "SlowDown"), tries: 5},
		{name: "503 at the start", kind: "parts", on: faults.Start, n: 2, do: faults.Error(503, "SlowDown"), tries: 3},
		{name: "503 at the end", kind: "parts", on: faults.Complete, n: 2, do: faults.Error(503, "SlowDown"), tries: 3},
		{name: "503 without end", kind: "whole", on: faults.Put, n: always, do: faults.Error(503, "SlowDown"), want: "asks for less traffic", tries: 3},
		{name: "503 without end at the end", kind: "parts", on: faults.Complete, n: always, do: faults.Error(503, "SlowDown"), want: "asks for less traffic", left: 1, tries: 3},
		{name: "429", kind: "whole", on: faults.Put, n: 1, do: faults.Error(429, "TooManyRequests", "Retry-After", "1"), tries: 2},
		{name: "reset before the body", kind: "whole", on: faults.Put, n: 2, do: faults.Reset(0), tries: 3},
		{name: "reset in the body", kind: "parts", on: faults.Part, n: 2, do: faults.Reset(mib), tries: 5},
		{name: "resets without end", kind: "parts", on: faults.Part, skip: 1, n: always, do: faults.Reset(mib), want: "connection", left: 1},
		{name: "stall before the body", kind: "whole", on: faults.Put, n: 1, do: faults.Stall(0), tries: 2},
		{name: "stall in the body", kind: "parts", on: faults.Part, n: 1, do: faults.Stall(mib), tries: 4},
		{name: "stall after the body", kind: "whole", on: faults.Put, n: 1, do: faults.StallAfter(), tries: 2},
		{name: "stall after the join", kind: "parts", on: faults.Complete, n: 1, do: faults.StallAfter(), tries: 2},
		{name: "stalls without end", kind: "whole", on: faults.Put, n: always, do: faults.Stall(0), want: "no byte moved for 5s", is: storage.ErrStalled, tries: 3},
		{name: "200 with an error", kind: "parts", on: faults.Complete, n: 1, do: faults.Error(200, "InternalError"), tries: 2},
		{name: "200 with an error without end", kind: "parts", on: faults.Complete, n: always, do: faults.Error(200, "InternalError"), want: "InternalError", left: 1, tries: 3},
		{name: "200 with an error and done", kind: "parts", on: faults.Complete, n: always, do: faults.ErrorAfter(200, "InternalError"), want: "InternalError", there: true, tries: 3},
		{name: "answer cut", kind: "parts", on: faults.Complete, n: 1, do: faults.CutAnswer(20), tries: 2},
		{name: "answer short", kind: "parts", on: faults.Complete, n: 1, do: faults.ShortAnswer(60), tries: 2},
		{name: "answer damaged", kind: "parts", on: faults.Complete, n: 1, do: faults.Corrupt(1), tries: 2},
		{name: "answer lost", kind: "whole", on: faults.Put, n: 2, do: faults.LoseAnswer(), tries: 3},
		{name: "answers lost for good", kind: "whole", on: faults.Put, n: always, do: faults.LoseAnswer(), want: "connection", there: true, tries: 3},
		{name: "start lost", kind: "parts", on: faults.Start, n: 1, do: faults.LoseAnswer(), tries: 2},
		{name: "damaged on the way", kind: "parts", on: faults.Part, n: 1, do: faults.Error(400, "BadDigest"), tries: 4},
		{name: "403", kind: "whole", on: faults.Put, n: always, do: faults.Error(403, "AccessDenied"), want: "s3:PutObject", is: storage.ErrDenied, tries: 1},
		{name: "403 on the way", kind: "parts", on: faults.Part, skip: 1, n: always, do: faults.Error(403, "AccessDenied"), want: "access denied", is: storage.ErrDenied},
		{name: "404 on the way", kind: "parts", on: faults.Complete, n: always, do: faults.Error(404, "NoSuchBucket"), want: "the bucket does not exist", tries: 1},
		{name: "expired token", kind: "whole", on: faults.Put, n: always, do: faults.Error(400, "ExpiredToken"), want: "does not accept these credentials", is: storage.ErrDenied, tries: 1},
		{name: "expired token on the way", kind: "parts", on: faults.Part, skip: 1, n: always, do: faults.Error(400, "ExpiredToken"), want: "does not accept these credentials", is: storage.ErrDenied},
		{name: "clock", kind: "whole", on: faults.Put, n: always, do: faults.Skewed(time.Hour), want: "this machine's clock differs", tries: 2},
		{name: "clock of the store", kind: "parts", on: faults.Start, n: 1, do: faults.Skewed(0), tries: 2},
	}
}

// TestUploadScript: whatever happens on the way, the object is there whole or not at all, the error names the cause, the number of
// requests has a bound, and the next Create puts things right.
func TestUploadScript(t *testing.T) {
	store := servers.StartMinIO(t).S3
	store.CreateBucket(t, "script", false)
	for _, test := range uploads() {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			server, cfg := before(t, store, "script")
			cfg = scriptedBucket(cfg, test.name)
			b, data := open(t, cfg), random(kinds[test.kind].size)
			server.Script(faults.Step{On: test.on, Skip: test.skip, Times: test.n, Do: test.do})
			err := put(t, b, "key", data)
			done(t, server)
			server.Script()
			test.check(t, b, err, data)
			if n := len(server.Seen(test.on)); test.tries != 0 && n != test.tries || n > 3*scriptAttempts {
				t.Errorf("%d requests, want %d", n, test.tries)
			}

			want := error(nil)
			if err == nil || test.there {
				want = storage.ErrExists
			}
			if err := put(t, b, "key", data); !errors.Is(err, want) {
				t.Errorf("the next Create: %v, want %v", err, want)
			}
			if !bytes.Equal(get(t, b, "key"), data) {
				t.Error("the content differs at the end")
			}
		})
	}
}

func (u upload) check(t *testing.T, b *s3.Bucket, err error, data []byte) {
	t.Helper()
	if told := told(err); (err == nil) != (u.want == "") || !strings.Contains(told, u.want) || u.is != nil && !errors.Is(err, u.is) {
		t.Errorf("error %s, want %s", told, u.want)
	}
	there := listed(t, b, "")
	switch whole := err == nil || u.there; {
	case whole && (len(there) != 1 || !bytes.Equal(get(t, b, "key"), data)):
		t.Errorf("listed is %v, or the content differs", there)
	case !whole && len(there) != 0:
		t.Errorf("listed is %v, want nothing", there)
	}
	if left, err := b.Incomplete(t.Context(), "key"); err != nil || len(left) != u.left {
		t.Errorf("%d uploads left, %v, want %d", len(left), err, u.left)
	}
}

// TestReadScript: a read yields what is stored, or an error; never less and never something else.
func TestReadScript(t *testing.T) {
	store := servers.StartMinIO(t).S3
	store.CreateBucket(t, "script", false)
	data := random(3 << 20)
	for _, test := range []struct {
		name        string
		n           int
		do          faults.Fault
		whole       string // part of the error of one request for all; "" is success
		fetch       string // of Fetch, which goes on where a range broke off
		is          error
		notVerified bool // ranges have no checksum: the damage is found by who knows the hash
	}{
		{name: "500 now and then", n: 2, do: faults.Error(500, "InternalError")},
		{name: "503 without end", n: faults.Always, do: faults.Error(503, "SlowDown"), whole: "less traffic", fetch: "less traffic"},
		{name: "reset", n: 2, do: faults.Reset(0)},
		{name: "stall", n: 1, do: faults.Stall(0)},
		{name: "cut", n: 1, do: faults.CutAnswer(1000), whole: "3144728 bytes missing"},
		{name: "stall in the body", n: 1, do: faults.StallAnswer(1000), whole: "3144728 bytes missing"},
		{name: "short", n: 1, do: faults.ShortAnswer(1000), whole: "damaged"},
		{name: "damaged", n: 1, do: faults.Corrupt(1000), whole: "damaged", notVerified: true},
		{name: "403 on the way", n: faults.Always, do: faults.Error(403, "AccessDenied"), whole: "s3:GetObject", fetch: "s3:GetObject", is: storage.ErrDenied},
		{name: "404 on the way", n: faults.Always, do: faults.Error(404, "NoSuchKey"), whole: "does not exist", fetch: "does not exist", is: storage.ErrNotExist},
		{name: "expired token", n: faults.Always, do: faults.Error(400, "ExpiredToken"), whole: "credentials", fetch: "credentials", is: storage.ErrDenied},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			server, cfg := before(t, store, "script")
			b := open(t, scriptedBucket(cfg, test.name))
			if err := put(t, b, "key", data); err != nil {
				t.Fatal(err)
			}
			for name, read := range map[string]struct {
				want string
				open func() (io.ReadCloser, error)
			}{
				"whole": {test.whole, func() (io.ReadCloser, error) { return b.Open(t.Context(), "key", 0, -1) }},
				"fetch": {test.fetch, func() (io.ReadCloser, error) {
					return storage.Fetch(t.Context(), b, "key", int64(len(data)), 2, 1<<20), nil
				}},
			} {
				server.Forget()
				server.Script(faults.Step{On: faults.Get, Times: test.n, Do: test.do})
				got, err := readAll(read.open)
				done(t, server)
				if (err == nil) != (read.want == "") || !strings.Contains(told(err), read.want) || test.is != nil && !errors.Is(err, test.is) {
					t.Errorf("%s: error %s, want %s", name, told(err), read.want)
				}
				if err == nil && bytes.Equal(got, data) == (test.notVerified && name == "fetch") {
					t.Errorf("%s: %d bytes, unlike what is expected", name, len(got))
				}
				if n := len(server.Seen(faults.Get)); n > 3*3*scriptAttempts { // ranges, tries of Fetch, attempts
					t.Errorf("%s: %d requests", name, n)
				}
			}
		})
	}
}

// told is an error with its hints, as a command shows it.
func told(err error) string {
	if err == nil {
		return "none"
	}
	return err.Error() + " " + strings.Join(hint.Of(err), " ")
}

func readAll(open func() (io.ReadCloser, error)) ([]byte, error) {
	r, err := open()
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(r)
	return data, errors.Join(err, r.Close())
}

// TestListScript: a listing that is none is an error after a bounded number of requests.
func TestListScript(t *testing.T) {
	page := func(more bool, token string, keys ...string) string {
		text := fmt.Sprintf("<ListBucketResult><IsTruncated>%t</IsTruncated><NextContinuationToken>%s</NextContinuationToken>", more, token)
		for _, key := range keys {
			text += "<Contents><Key>" + key + "</Key><Size>1</Size></Contents>"
		}
		return text + "</ListBucketResult>"
	}
	for name, test := range map[string]struct {
		pages func(n int) string
		want  string
	}{
		"not XML":             {func(int) string { return "<html>hello" }, "not understood"},
		"other XML":           {func(int) string { return "<html>hello</html>" }, "not a listing"},
		"JSON":                {func(int) string { return `{"hello": 1}` }, "not a listing"},
		"nothing":             {func(int) string { return "" }, "not a listing"},
		"cut":                 {func(int) string { return page(true, "t", "p/a")[:150] }, "not understood"},
		"other keys":          {func(int) string { return page(false, "", "q/a") }, `lists "q/a", which does not begin with "p/"`},
		"not in order":        {func(int) string { return page(false, "", "p/b", "p/a") }, "not in byte order"},
		"twice":               {func(int) string { return page(false, "", "p/a", "p/a") }, "not in byte order"},
		"no size":             {func(int) string { return strings.ReplaceAll(page(false, "", "p/a"), "<Size>1</Size>", "") }, "without a size"},
		"negative size":       {func(int) string { return strings.ReplaceAll(page(false, "", "p/a"), "1", "-1") }, "without a size"},
		"no way on":           {func(int) string { return page(true, "", "p/a") }, "not how to go on"},
		"the same page again": {func(n int) string { return page(true, fmt.Sprint(n), "p/a") }, "not in byte order"},
		"the same token":      {func(n int) string { return page(true, "t", fmt.Sprintf("p/%03d", n)) }, "circles"},
		"nothing without end": {func(n int) string { return page(true, fmt.Sprint(n)) }, "100 pages in a row"},
	} {
		t.Run(name, func(t *testing.T) {
			n := 0
			server := faults.Alone(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				n++
				fmt.Fprint(w, test.pages(n))
			}))
			b := open(t, s3.Config{
				Bucket: "b", Prefix: "p", Region: "r-1", Endpoint: server.Endpoint, CAFile: server.CAFile, PathStyle: true,
				CredentialsFile: credentials(t, "access", secretKey), Attempts: 2,
			})
			if err := listAll(t, b); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %s", err, test.want)
			}
			if len(server.Seen(faults.List)) > 100 {
				t.Errorf("%d requests", len(server.Seen(faults.List)))
			}
		})
	}
}

// TestLongOutage: however long a store was away, each call has all its attempts, and the first one after succeeds.
func TestLongOutage(t *testing.T) {
	const calls, attempts = 200, 2
	server := faults.Alone(t, answer(404, "NoSuchKey", "none"))
	server.Script(faults.Step{On: faults.Get, Times: calls * attempts, Do: faults.Error(503, "ServiceUnavailable")})
	b := open(t, s3.Config{
		Bucket: "b", Region: "r-1", Endpoint: server.Endpoint, CAFile: server.CAFile, PathStyle: true,
		CredentialsFile: credentials(t, "access", secretKey), Attempts: attempts,
	})
	var all errgroup.Group
	all.SetLimit(20) // a slow machine that greets all of them at once gives some up
	for range calls {
		all.Go(func() error {
			if err := doGet(t, b); err == nil || errors.Is(err, storage.ErrNotExist) {
				t.Errorf("during the outage: %v", err)
			}
			return nil
		})
	}
	_ = all.Wait() // no error: each is told
	done(t, server)
	server.Forget()
	if err := doGet(t, b); !errors.Is(err, storage.ErrNotExist) || len(server.Seen(faults.Get)) != 1 {
		t.Errorf("after the outage: %v after %d requests", err, len(server.Seen(faults.Get)))
	}
}

// TestRetryAfter: the store's own wish is kept, up to a bound.
func TestRetryAfter(t *testing.T) {
	const slack = 15 * time.Second // of a busy machine, and below the longest pause that there is
	for name, test := range map[string]struct {
		header func() string // when the request is answered
		least  time.Duration
	}{
		"seconds":  {func() string { return "2" }, 2 * time.Second},
		"date":     {func() string { return time.Now().Add(3 * time.Second).UTC().Format(http.TimeFormat) }, time.Second},
		"nonsense": {func() string { return "soon" }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := faults.Alone(t, answer(404, "NoSuchKey", "none"))
			server.Script(faults.Step{Do: func(x *faults.Exchange) { faults.Error(429, "TooManyRequests", "Retry-After", test.header())(x) }})
			b := open(t, s3.Config{
				Bucket: "b", Region: "r-1", Endpoint: server.Endpoint, CAFile: server.CAFile, PathStyle: true, CredentialsFile: credentials(t, "access", secretKey),
			})
			start := time.Now()
			if err := doGet(t, b); !errors.Is(err, storage.ErrNotExist) || time.Since(start) < test.least || time.Since(start) > test.least+slack {
				t.Errorf("after %v: %v", time.Since(start), err)
			}
		})
	}
}
