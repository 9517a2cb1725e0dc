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

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/google/go-cmp/cmp"

	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/s3"
	"github.com/drd-project/drd/internal/storage"
	"github.com/drd-project/drd/internal/storage/storagetest"
	"github.com/drd-project/drd/test/faults"
	"github.com/drd-project/drd/test/servers"
)

func openAsOf(t *testing.T, cfg s3.Config, at time.Time) *s3.Bucket {
	t.Helper()
	cfg.AsOf = at
	return open(t, cfg)
}

func listed(t *testing.T, b storage.Bucket, prefix string) map[string]int64 {
	t.Helper()
	all := map[string]int64{}
	for obj, err := range b.List(t.Context(), prefix) {
		if err != nil {
			t.Fatalf("List: %v", err)
		}
		all[obj.Key] = obj.Size
	}
	return all
}

// listAll lists a whole bucket for its error.
func listAll(t *testing.T, b storage.Bucket) error {
	t.Helper()
	var last error
	for _, err := range b.List(t.Context(), "") {
		last = err
	}
	return last
}

// TestAsOf: an attacker with write access overwrites, deletes and adds; the bucket as of before is untouched.
// versitygw is not tried: it gives a version the time at which it was replaced.
func TestAsOf(t *testing.T) {
	server := servers.StartMinIO(t)
	server.CreateBucket(t, "versioned", true)
	cfg := config(server.S3, "versioned")
	b := open(t, cfg)
	start := time.Now()
	time.Sleep(1100 * time.Millisecond) // stores may keep whole seconds
	contents := map[string][]byte{"c/overwritten": random(1000), "c/deleted": random(2000), "c/parts": random(2*storagetest.PartSize + 5), "d/kept": random(3)}
	sizes := map[string]int64{}
	for key, data := range contents {
		sizes[key] = int64(len(data))
		if err := put(t, b, key, data); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(1100 * time.Millisecond)
	before := time.Now()
	time.Sleep(1100 * time.Millisecond)
	client := server.Client(t)
	write := func(key, text string) {
		t.Helper()
		_, err := client.PutObject(t.Context(), &awss3.PutObjectInput{Bucket: aws.String("versioned"), Key: aws.String(cfg.Prefix + "/" + key), Body: strings.NewReader(text)})
		if err != nil {
			t.Fatal(err)
		}
	}
	write("c/overwritten", "forged")
	write("c/new", "new")
	if err := errors.Join(b.Delete(t.Context(), "c/deleted"), b.Delete(t.Context(), "c/parts")); err != nil {
		t.Fatal(err)
	}
	write("c/parts", "forged too")

	past := openAsOf(t, cfg, before)
	if diff := cmp.Diff(sizes, listed(t, past, "")); diff != "" {
		t.Errorf("the bucket as it was (-want +got):\n%s", diff)
	}
	for _, view := range []*s3.Bucket{past, openAsOf(t, cfg, before)} { // the second has listed nothing yet
		for key, data := range contents {
			if obj, err := view.Stat(t.Context(), key); err != nil || obj.Size != int64(len(data)) {
				t.Errorf("Stat %s: %+v, %v", key, obj, err)
			}
			if !bytes.Equal(get(t, view, key), data) {
				t.Errorf("%s is not as it was", key)
			}
		}
		if _, err := view.Stat(t.Context(), "c/new"); !errors.Is(err, storage.ErrNotExist) {
			t.Errorf("an object from later: %v", err)
		}
		if _, err := view.Open(t.Context(), "c", 0, -1); !errors.Is(err, storage.ErrNotExist) {
			t.Errorf("a key that is the beginning of others: %v", err)
		}
	}
	if got := listed(t, openAsOf(t, cfg, start), ""); len(got) != 0 {
		t.Errorf("before the first write: %v", got)
	}
	now := map[string]int64{"c/overwritten": 6, "c/new": 3, "c/parts": 10, "d/kept": 3}
	if diff := cmp.Diff(now, listed(t, openAsOf(t, cfg, time.Now()), "")); diff != "" {
		t.Errorf("the bucket as of now (-want +got):\n%s", diff)
	}
	fetched := storage.Fetch(t.Context(), past, "c/parts", sizes["c/parts"], 2, 1<<20)
	defer fetched.Close()
	if got, err := io.ReadAll(fetched); err != nil || !bytes.Equal(got, contents["c/parts"]) {
		t.Errorf("Fetch from the past: %d bytes, %v", len(got), err)
	}
}

func TestAsOfIsReadOnly(t *testing.T) {
	server := servers.StartMinIO(t)
	server.CreateBucket(t, "unversioned", false)
	cfg := config(server.S3, "unversioned")
	if err := put(t, open(t, cfg), "key", []byte("x")); err != nil {
		t.Fatal(err)
	}
	past := openAsOf(t, cfg, time.Now())
	if !strings.Contains(past.Location(), " as of 2") {
		t.Errorf("Location is %s", past.Location())
	}
	for op, err := range map[string]error{"put": put(t, past, "new", nil), "delete": past.Delete(t.Context(), "key")} {
		if !errors.Is(err, storage.ErrReadOnly) || len(hint.Of(err)) == 0 {
			t.Errorf("%s: %v", op, err)
		}
	}
	_, statErr := past.Stat(t.Context(), "key")
	_, openErr := past.Open(t.Context(), "key", 0, -1)
	for op, err := range map[string]error{"list": doList(t, past), "stat": statErr, "get": openErr} {
		if err == nil || !strings.Contains(err.Error(), "the bucket keeps no versions") || errors.Is(err, storage.ErrNotExist) {
			t.Errorf("%s in a bucket without versions: %v", op, err)
		}
	}
	cfg.AsOf = time.Now().Add(time.Minute)
	if _, err := s3.Open(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "in the future") {
		t.Errorf("a time to come: %v", err)
	}
	parsed, err := s3.ParseURL("s3://b/p?region=r-1&as_of=2026-01-02T03:04:05Z")
	if err != nil || !parsed.AsOf.Equal(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)) {
		t.Errorf("as_of in a URL: %v, %v", parsed.AsOf, err)
	}
	if _, err := s3.ParseURL("s3://b/p?as_of=yesterday"); err == nil || len(hint.Of(err)) == 0 {
		t.Errorf("as_of=yesterday: %v", err)
	}
}

// versionPages plays a bucket whose history takes several pages.
func versionPages(t *testing.T, status string, pages ...string) s3.Config {
	n := 0
	server := faults.Alone(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Query().Has("versioning") && status == "":
			answer(403, "AccessDenied", "no")(w, r)
		case r.URL.Query().Has("versioning"):
			fmt.Fprintf(w, "<VersioningConfiguration><Status>%s</Status></VersioningConfiguration>", status)
		default:
			more := n < len(pages)-1
			fmt.Fprintf(w, "<ListVersionsResult><IsTruncated>%t</IsTruncated><NextKeyMarker>k%d</NextKeyMarker>%s</ListVersionsResult>", more, n, pages[min(n, len(pages)-1)])
			n++
		}
	}))
	return s3.Config{
		Bucket: "b", Region: "r-1", Endpoint: server.Endpoint, CAFile: server.CAFile, PathStyle: true, CredentialsFile: credentials(t, "access", secretKey),
		Attempts: 2, AsOf: time.Date(2026, 1, 1, 12, 0, 30, 0, time.UTC),
	}
}

func versionXML(key, id, second string) string {
	return fmt.Sprintf("<Version><Key>%s</Key><VersionId>%s</VersionId><LastModified>2026-01-01T12:00:%s.000Z</LastModified><Size>%d</Size></Version>", key, id, second, len(id))
}

func markerXML(key, id, second string) string {
	return fmt.Sprintf("<DeleteMarker><Key>%s</Key><VersionId>%s</VersionId><LastModified>2026-01-01T12:00:%s.000Z</LastModified></DeleteMarker>", key, id, second)
}

// TestAsOfPages: which version counts, told by the size, which is that of its ID.
func TestAsOfPages(t *testing.T) {
	pages := []string{
		versionXML("a", "22", "40") + versionXML("a", "1", "20") + markerXML("a", "m", "10"), // deleted before it was written again
		markerXML("b", "m", "30") + versionXML("b", "1", "29"),                               // deleted at the very second
		markerXML("c", "m", "31") + versionXML("c", "333", "30"),                             // deleted too late
		versionXML("d", "4444", "20"),                                                        // its versions go on
		versionXML("d", "1", "10") + markerXML("e", "m", "20") + versionXML("e", "55555", "20"),
		versionXML("f", "null", "20") + versionXML("g", "1", "59"),
	}
	want := map[string]int64{"a": 1, "c": 3, "d": 4, "e": 5, "f": 4}
	for _, status := range []string{"Enabled", "Suspended", ""} {
		if diff := cmp.Diff(want, listed(t, open(t, versionPages(t, status, pages...)), "")); diff != "" {
			t.Errorf("versioning %q (-want +got):\n%s", status, diff)
		}
	}
	for name, test := range map[string]struct {
		pages []string
		want  string
	}{
		"not in order": {[]string{versionXML("b", "1", "10"), versionXML("a", "1", "10")}, "not in byte order"},
		"nothing":      {make([]string, 1000), "100 pages in a row"},
		"not XML":      {[]string{"<Version>"}, "not understood"},
		"other prefix": {[]string{versionXML("x", "1", "10")}, `does not begin with "p/"`},
	} {
		cfg := versionPages(t, "Enabled", test.pages...)
		if name == "other prefix" {
			cfg.Prefix = "p"
		}
		if err := listAll(t, open(t, cfg)); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
