package s3_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/drd-project/drd/internal/s3"
	"github.com/drd-project/drd/test/faults"
	"github.com/drd-project/drd/test/servers"
)

// before starts a fault server in front of a store, and returns it with the configuration of a bucket behind it.
func before(t *testing.T, store *servers.S3, bucket string) (*faults.Server, s3.Config) {
	t.Helper()
	server := faults.Before(t, store)
	cfg := config(store, bucket)
	cfg.Endpoint, cfg.CAFile = server.Endpoint, server.CAFile
	return server, cfg
}

// done fails the test unless all that the script wanted to spoil was spoilt.
func done(t *testing.T, server *faults.Server) {
	t.Helper()
	if n := server.Left(); n != 0 {
		t.Errorf("%d faults of the script did not happen", n)
	}
}

// withoutChecksums is how a store answers that does not know checksums.
func withoutChecksums() faults.Fault {
	return faults.Rewrite(func(answer *http.Response, body []byte) []byte {
		stripChecksums(answer)
		return body
	})
}

func stripChecksums(answer *http.Response) {
	for name := range answer.Header {
		if strings.HasPrefix(name, "X-Amz-Checksum") {
			delete(answer.Header, name)
		}
	}
}

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// signal is an empty reader that tells when it is reached and waits.
type signal struct{ reached, release chan struct{} }

func (s signal) Read([]byte) (int, error) {
	close(s.reached)
	<-s.release
	return 0, io.EOF
}
