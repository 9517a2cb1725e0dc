package s3_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/storage"
	"github.com/drd-project/drd/test/servers"
)

// TestAbort: an upload that its writer left is freed, by the whole way through the decorators.
func TestAbort(t *testing.T) {
	for store, server := range map[string]*servers.S3{"MinIO": servers.StartMinIO(t).S3, "versitygw": servers.StartVersityGW(t).S3} {
		t.Run(store, func(t *testing.T) {
			server.CreateBucket(t, "uploads", false)
			cfg := config(server, "uploads")
			cfg.Prefix = "p"
			b := storage.WithStallTimeout(open(t, cfg), time.Minute)
			const key = "cluster/key"
			_, err := server.Client(t).CreateMultipartUpload(t.Context(), &awss3.CreateMultipartUploadInput{Bucket: aws.String("uploads"), Key: aws.String("p/" + key)})
			if err != nil {
				t.Fatal(err)
			}
			uploads, err := storage.Incomplete(t.Context(), b, key)
			if err != nil || len(uploads) != 1 || uploads[0].Key != key {
				t.Fatalf("unfinished are %+v, %v", uploads, err)
			}
			if err := storage.Abort(t.Context(), b, uploads[0]); err != nil {
				t.Fatal(err)
			}
			if left, err := storage.Incomplete(t.Context(), b, key); err != nil || len(left) != 0 {
				t.Errorf("left are %+v, %v", left, err)
			}
			// Some stores say that they know nothing of it, some that it is done.
			if err := storage.Abort(t.Context(), b, uploads[0]); err != nil && !errors.Is(err, storage.ErrNotExist) {
				t.Errorf("a second Abort: %v", err)
			}
		})
	}
}

func TestAbortErrors(t *testing.T) {
	upload := storage.Upload{Key: "k", ID: "id-1"}
	denied := open(t, scripted(t, tlsServer(t, answer(403, "AccessDenied", "no"))))
	err := denied.Abort(t.Context(), upload)
	if !errors.Is(err, storage.ErrDenied) || !strings.HasPrefix(err.Error(), "abort upload of s3://b/k: access denied") || !strings.Contains(strings.Join(hint.Of(err), ""), "s3:AbortMultipartUpload") {
		t.Errorf("denied: %v, hints %q", err, hint.Of(err))
	}
	gone := open(t, scripted(t, tlsServer(t, answer(404, "NoSuchUpload", "The specified upload does not exist"))))
	if err := gone.Abort(t.Context(), upload); !errors.Is(err, storage.ErrNotExist) {
		t.Errorf("gone: %v", err)
	}
	// Without its ID the request would be one to delete the object.
	strict := open(t, scripted(t, tlsServer(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { t.Errorf("%s %s", r.Method, r.URL) }))))
	for _, bad := range []storage.Upload{{Key: "k"}, {Key: "../k", ID: "id-1"}, {ID: "id-1"}} {
		if err := strict.Abort(t.Context(), bad); !errors.Is(err, storage.ErrInvalidKey) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}
