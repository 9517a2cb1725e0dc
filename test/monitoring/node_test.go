package monitoring

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/drd-project/drd/test/planted"
	"github.com/drd-project/drd/test/program"
	"github.com/drd-project/drd/test/servers"
)

// node is a host with an etcd member and a daemon.
type node struct {
	t       *testing.T
	dir     string
	address string // of the metrics
	config  string
	daemon  *program.Program
}

// newNode makes keys and a configuration. more is what the test wants in it: targets at least.
func newNode(t *testing.T, more string) *node {
	t.Helper()
	dir := t.TempDir()
	n := &node{t: t, dir: dir, address: fmt.Sprintf("127.0.0.1:%d", servers.FreePort(t)), config: filepath.Join(dir, "config.yaml")}
	keys := filepath.Join(dir, "keys")
	run(t, dir, "keygen", "--dir", keys, "--name", "node-1")
	etcd := servers.StartEtcd(t, servers.EtcdConfig{})
	if _, err := etcd.Client(t).Put(t.Context(), "key", strings.Repeat(planted.Secret()+" ", 100)); err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("cluster: prod-east\netcd: {endpoints: [%q]}\nstate_dir: %q\nruntime_dir: %q\n", etcd.Endpoint(), filepath.Join(dir, "state"), filepath.Join(dir, "run")) +
		fmt.Sprintf("seal: {recipients_file: %q}\nsigning: {key_file: %q}\n", filepath.Join(keys, "recipient.txt"), filepath.Join(keys, "signing.key")) +
		fmt.Sprintf("metrics: {listen: %q}\n%s\n", n.address, more)
	if err := os.WriteFile(n.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return n
}

func (n *node) start() {
	n.t.Helper()
	n.daemon = start(n.t, n.dir, drd, "daemon", "--config", n.config)
}

// change replaces a part of the configuration.
func (n *node) change(from, to string) {
	n.t.Helper()
	text := read(n.t, n.config)
	if !strings.Contains(text, from) {
		n.t.Fatalf("%s lacks %q", n.config, from)
	}
	write(n.t, n.config, strings.Replace(text, from, to, 1))
}

// bucket is the configuration of a target that lies in MinIO.
func bucket(t *testing.T, name string) (*servers.MinIO, string) {
	t.Helper()
	m := servers.StartMinIO(t)
	m.CreateBucket(t, "drd-test", false)
	return m, fmt.Sprintf("{name: %s, s3: {bucket: drd-test, endpoint: %q, region: %q, path_style: true, credentials_file: %q, ca_file: %q}}",
		name, m.Endpoint, m.Region, m.CredentialsFile, m.CAFile)
}

// directory is the configuration of a target in a directory.
func directory(t *testing.T, name string) (path, section string) {
	t.Helper()
	path = t.TempDir()
	return path, fmt.Sprintf("{name: %s, dir: %q}", name, path)
}

// shows waits until the daemon serves a series with a value other than 0.
func (n *node) shows(limit time.Duration, series string) {
	n.t.Helper()
	program.Eventually(n.t, limit, func() error {
		page, err := get(n.t.Context(), "http://"+n.address+"/metrics")
		if err != nil {
			return err
		}
		if found := planted.New().Find(page); len(found) > 0 {
			n.t.Fatalf("the metrics hold secrets: %v", found)
		}
		for line := range strings.Lines(page) {
			if value, found := strings.CutPrefix(line, series+" "); found && value != "0\n" {
				return nil
			}
		}
		return fmt.Errorf("%s is not there, or 0", series)
	})
}

// get is the body of a page.
func get(ctx context.Context, url string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %s", url, resp.Status, body)
	}
	return string(body), err
}
