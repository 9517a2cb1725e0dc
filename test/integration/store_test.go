package integration

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/drd-project/drd/test/servers"
)

// store is where a target is, reached past drd: by somebody who restores by hand, or who wants to do harm.
type store interface {
	// section is the target's place in the configuration, as YAML in one line.
	section() string
	// repo is its URL for --repo.
	repo() string
	// objects are all objects by key.
	objects(t *testing.T) map[string][]byte
	put(t *testing.T, key string, content []byte)
	remove(t *testing.T, key string)
	// secrets are what drd needs to know to get in.
	secrets() []string
}

// bucket is a store in an S3 server, below a prefix.
type bucket struct {
	server  *servers.S3
	client  *s3.Client
	name    string
	options string // more of the configuration: ", key: value"
}

// prefix is where targets lie in their buckets.
const prefix = "backups/etcd"

func newBucket(t *testing.T, server *servers.S3, name string) *bucket {
	t.Helper()
	server.CreateBucket(t, name, false)
	return &bucket{server: server, client: server.Client(t), name: name}
}

func onMinIO(t *testing.T) store {
	t.Helper()
	return newBucket(t, servers.StartMinIO(t).S3, "drd-test")
}

func onVersityGW(t *testing.T) store {
	t.Helper()
	return newBucket(t, servers.StartVersityGW(t).S3, "drd-test")
}

func (b *bucket) section() string {
	return fmt.Sprintf("s3: {bucket: %s, prefix: %s, region: %s, endpoint: %q, ca_file: %q, credentials_file: %q, path_style: true%s}",
		b.name, prefix, b.server.Region, b.server.Endpoint, b.server.CAFile, b.server.CredentialsFile, b.options)
}

func (b *bucket) repo() string {
	q := url.Values{
		"endpoint": {b.server.Endpoint}, "region": {b.server.Region}, "ca_file": {b.server.CAFile},
		"credentials_file": {b.server.CredentialsFile}, "path_style": {"true"},
	}
	return "s3://" + b.name + "/" + prefix + "?" + q.Encode()
}

func (b *bucket) secrets() []string { return []string{b.server.SecretKey} }

// requestContext outlives the test's own context: stores are looked at when a test has ended, too.
func requestContext() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), time.Minute)
}

func (b *bucket) objects(t *testing.T) map[string][]byte {
	t.Helper()
	ctx, cancel := requestContext()
	defer cancel()
	found := make(map[string][]byte)
	pages := s3.NewListObjectsV2Paginator(b.client, &s3.ListObjectsV2Input{Bucket: aws.String(b.name)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			t.Fatalf("list bucket %s: %v", b.name, err)
		}
		for _, o := range page.Contents {
			found[strings.TrimPrefix(*o.Key, prefix+"/")] = b.get(ctx, t, *o.Key)
		}
	}
	return found
}

func (b *bucket) get(ctx context.Context, t *testing.T, key string) []byte {
	t.Helper()
	object, err := b.client.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String(b.name), Key: aws.String(key)})
	if err != nil {
		t.Fatalf("get %s: %v", key, err)
	}
	defer object.Body.Close()
	content, err := io.ReadAll(object.Body)
	if err != nil {
		t.Fatalf("read %s: %v", key, err)
	}
	return content
}

func (b *bucket) put(t *testing.T, key string, content []byte) {
	t.Helper()
	ctx, cancel := requestContext()
	defer cancel()
	_, err := b.client.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String(b.name), Key: aws.String(prefix + "/" + key), Body: bytes.NewReader(content)})
	if err != nil {
		t.Fatalf("put %s: %v", key, err)
	}
}

func (b *bucket) remove(t *testing.T, key string) {
	t.Helper()
	ctx, cancel := requestContext()
	defer cancel()
	_, err := b.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: aws.String(b.name), Key: aws.String(prefix + "/" + key)})
	if err != nil {
		t.Fatalf("delete %s: %v", key, err)
	}
}

// directory is a store on a file system.
type directory struct{ path string }

func inDirectory(t *testing.T) store {
	t.Helper()
	return directory{t.TempDir()}
}

func (d directory) section() string   { return fmt.Sprintf("dir: %q", d.path) }
func (d directory) repo() string      { return "file://" + d.path }
func (d directory) secrets() []string { return nil }

func (d directory) objects(t *testing.T) map[string][]byte {
	t.Helper()
	return filesBelow(t, d.path)
}

func (d directory) put(t *testing.T, key string, content []byte) {
	t.Helper()
	path := filepath.Join(d.path, filepath.FromSlash(key))
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

func (d directory) remove(t *testing.T, key string) {
	t.Helper()
	if err := os.Remove(filepath.Join(d.path, filepath.FromSlash(key))); err != nil {
		t.Fatal(err)
	}
}

// filesBelow reads all files of a tree, by path from its root.
func filesBelow(t *testing.T, root string) map[string][]byte {
	t.Helper()
	found := make(map[string][]byte)
	err := filepath.WalkDir(root, func(path string, e os.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		found[filepath.ToSlash(name)] = content
		return err
	})
	if err != nil {
		t.Fatalf("read the files of %s: %v", root, err)
	}
	return found
}

// objectOf is the key of one object of a snapshot.
func objectOf(id, name string) string { return cluster + "/snapshots/" + id + "/" + name }
