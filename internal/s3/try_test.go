package s3_test

import (
	"errors"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/drd-project/drd/internal/storage"
	"github.com/drd-project/drd/test/servers"
)

// TestTryWrite: bytes are sent and taken back, also where versions and a default retention keep every object.
func TestTryWrite(t *testing.T) {
	for store, server := range map[string]*servers.S3{"MinIO": servers.StartMinIO(t).S3, "versitygw": servers.StartVersityGW(t).S3} {
		t.Run(store, func(t *testing.T) {
			server.CreateBucket(t, "tried", true)
			setDefaultRetention(t, server, "tried")
			b := open(t, config(server, "tried"))
			if err := storage.TryWrite(t.Context(), storage.WithRate(b, 1<<30, 0), "prod/try"); err != nil {
				t.Error(err)
			}
			versions, err := server.Client(t).ListObjectVersions(t.Context(), &awss3.ListObjectVersionsInput{Bucket: aws.String("tried")})
			if err != nil || len(versions.Versions)+len(versions.DeleteMarkers) > 0 {
				t.Errorf("left: %+v, %v", versions, err)
			}
			if uploads, err := b.Incomplete(t.Context(), "prod/try"); err != nil || len(uploads) > 0 {
				t.Errorf("left: %+v, %v", uploads, err)
			}
		})
	}
}

// TestTryWriteRefused: who may not write hears that, and who may not take back is told apart.
func TestTryWriteRefused(t *testing.T) {
	server := servers.StartMinIO(t)
	server.CreateBucket(t, "refused", false)
	for actions, want := range map[string]error{
		`"s3:GetObject"`: storage.ErrDenied, `"s3:PutObject"`: storage.ErrLeft, `"s3:PutObject","s3:AbortMultipartUpload"`: nil,
	} {
		cfg := config(server.S3, "refused")
		cfg.CredentialsFile = server.Session(t, `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":[`+actions+`],"Resource":["arn:aws:s3:::*"]}]}`)
		if err := open(t, cfg).TryWrite(t.Context(), "prod/try"); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", actions, err, want)
		}
	}
}
