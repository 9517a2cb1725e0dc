package servers

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/drd-project/drd/test/planted"
)

// region is what both servers call themselves; clients have to sign for it.
const region = "us-east-1"

// S3 is an S3 server with TLS and one set of credentials that may do everything. Clients need path-style addresses.
// Stop, Kill, Start, Pause, Resume, PID and Logs act on its process; the data stays.
type S3 struct {
	*process
	Endpoint             string // https://127.0.0.1:PORT
	Region               string
	AccessKey, SecretKey string
	CAFile               string // PEM file of the authority that signed the server's certificate
	CredentialsFile      string // the keys in AWS's shared credentials format, profile default, mode 0600

	ca    *CA
	drive int64 // bytes of a file system of its own; 0: none
}

// S3Option changes an S3 server before it starts.
type S3Option func(*s3Setup)

type s3Setup struct {
	ca    *CA
	env   []string
	drive int64
}

// WithCA has the server's certificate signed by ca rather than by an authority of its own.
func WithCA(ca *CA) S3Option { return func(s *s3Setup) { s.ca = ca } }

// WithEnv sets environment variables of the server, NAME=value; they win over the ones set here.
func WithEnv(env ...string) S3Option {
	return func(s *s3Setup) { s.env = append(s.env, env...) }
}

// newS3 makes the credentials and the process, which has no arguments yet.
func newS3(tb testing.TB, tool, userVar, passwordVar string, opts []S3Option) *S3 {
	tb.Helper()
	var setup s3Setup
	for _, opt := range opts {
		opt(&setup)
	}
	if setup.ca == nil {
		setup.ca = NewCA(tb)
	}
	s := &S3{Region: region, CAFile: setup.ca.CertFile(), ca: setup.ca, drive: setup.drive}
	s.newKeys()
	s.CredentialsFile = filepath.Join(tb.TempDir(), "credentials")
	s.WriteCredentials(tb)
	s.process = newProcess(tb, tool, append([]string{userVar + "=" + s.AccessKey, passwordVar + "=" + s.SecretKey}, setup.env...)...)
	s.ready = s.listsBuckets
	return s
}

func (s *S3) newKeys() {
	s.AccessKey = "access" + rand.Text()[:10] // MinIO takes 3 to 20 characters
	s.SecretKey = planted.Secret()
}

// WriteCredentials puts the keys that count now into CredentialsFile, at once and as a whole.
func (s *S3) WriteCredentials(tb testing.TB) {
	tb.Helper()
	text := fmt.Sprintf("[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n", s.AccessKey, s.SecretKey)
	fresh := s.CredentialsFile + ".new"
	if err := errors.Join(os.WriteFile(fresh, []byte(text), 0o600), os.Rename(fresh, s.CredentialsFile)); err != nil {
		tb.Fatalf("write the credentials of an S3 server: %v", err)
	}
}

// launchOn starts the server on a free port; args gives its arguments for an address, HOST:PORT.
func (s *S3) launchOn(tb testing.TB, args func(addr string) []string) {
	tb.Helper()
	s.launch(func() {
		addr := address(FreePort(tb))
		s.Endpoint = "https://" + addr
		s.args = args(addr)
	})
}

// Client returns a client with all rights, closed at the end of the test.
func (s *S3) Client(tb testing.TB) *s3.Client {
	tb.Helper()
	transport := &http.Transport{TLSClientConfig: s.ca.clientTLS(tb, "", "")}
	tb.Cleanup(transport.CloseIdleConnections)
	return s.client(transport)
}

func (s *S3) client(transport *http.Transport) *s3.Client {
	return s3.New(s3.Options{
		BaseEndpoint: aws.String(s.Endpoint),
		Region:       s.Region,
		Credentials:  credentials.NewStaticCredentialsProvider(s.AccessKey, s.SecretKey, ""),
		HTTPClient:   &http.Client{Transport: transport},
		UsePathStyle: true,
	})
}

// CreateBucket makes a bucket. With Object Lock it is versioned too, and without a default retention. MinIO wants
// names of three characters or more.
func (s *S3) CreateBucket(tb testing.TB, name string, withObjectLock bool) {
	tb.Helper()
	_, err := s.Client(tb).CreateBucket(tb.Context(), &s3.CreateBucketInput{
		Bucket:                     aws.String(name),
		ObjectLockEnabledForBucket: aws.Bool(withObjectLock),
	})
	if err != nil {
		tb.Fatalf("create bucket %s: %v", name, err)
	}
}

// listsBuckets is the test for being ready: MinIO answers its health page earlier than requests.
func (s *S3) listsBuckets(ctx context.Context) error {
	transport := &http.Transport{TLSClientConfig: s.ca.clientTLS(s.tb, "", ""), DisableKeepAlives: true}
	_, err := s.client(transport).ListBuckets(ctx, &s3.ListBucketsInput{}, func(o *s3.Options) {
		o.Retryer = aws.NopRetryer{}
	})
	return err
}
