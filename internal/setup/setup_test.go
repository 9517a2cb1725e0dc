package setup_test

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/drd-project/drd/internal/config"
	"github.com/drd-project/drd/internal/distro"
	"github.com/drd-project/drd/internal/etcd"
	"github.com/drd-project/drd/internal/seal"
	"github.com/drd-project/drd/internal/setup"
	"github.com/drd-project/drd/test/servers"
)

// put writes a file below root, for its owner only.
func put(t *testing.T, root, path, content string) {
	t.Helper()
	full := filepath.Join(root, path)
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(full, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// copyTo puts a real file below root.
func copyTo(t *testing.T, root, path, from string) {
	t.Helper()
	text, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	put(t, root, path, string(text))
}

// member is a real etcd whose certificates lie below root where a distribution has them.
func member(t *testing.T, root, ca, cert, key string) (endpoint string) {
	t.Helper()
	authority := servers.NewCA(t)
	e := servers.StartEtcd(t, servers.EtcdConfig{ClientTLS: authority})
	certFile, keyFile := authority.Issue(t, "client")
	copyTo(t, root, ca, authority.CertFile())
	copyTo(t, root, cert, certFile)
	copyTo(t, root, key, keyFile)
	return e.Endpoint()
}

// TestDraft: for each distribution, with a real etcd in its layout, the draft is a configuration once the blanks that it names are
// filled, and etcd is reached with it.
func TestDraft(t *testing.T) {
	for name, lay := range map[string]func(t *testing.T, root string){
		"rke2": func(t *testing.T, root string) {
			const tls = "/var/lib/rancher/rke2/server/tls/etcd/"
			endpoint := member(t, root, tls+"server-ca.crt", tls+"client.crt", tls+"client.key")
			put(t, root, "/etc/rancher/rke2/config.yaml", "token: planted-secret\n")
			put(t, root, "/var/lib/rancher/rke2/server/db/etcd/config", "listen-client-urls: "+endpoint+",https://10.0.0.1:2379\n")
		},
		"k3s": func(t *testing.T, root string) {
			const tls = "/var/lib/rancher/k3s/server/tls/etcd/"
			endpoint := member(t, root, tls+"server-ca.crt", tls+"client.crt", tls+"client.key")
			put(t, root, "/var/lib/rancher/k3s/server/token", "planted-secret\n")
			put(t, root, "/var/lib/rancher/k3s/server/db/etcd/config", "listen-client-urls: "+endpoint+"\n")
		},
		"kubeadm": func(t *testing.T, root string) {
			const pki = "/etc/kubernetes/pki/etcd/"
			endpoint := member(t, root, pki+"ca.crt", pki+"healthcheck-client.crt", pki+"healthcheck-client.key")
			put(t, root, "/etc/kubernetes/manifests/etcd.yaml", "spec: {containers: [{command: [etcd, \"--listen-client-urls="+endpoint+"\", --trusted-ca-file="+pki+"ca.crt, --data-dir=/var/lib/etcd]}]}\n")
		},
		"plain etcd": process,
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			lay(t, root)
			n, err := distro.Detect(root)
			if err != nil || n.Distro != name {
				t.Fatalf("%+v, %v", n, err)
			}
			draft, err := setup.New(n, setup.Options{Root: root, Host: "cp-1", Now: time.Now()})
			if err != nil {
				t.Fatal(err)
			}
			checkDraft(t, root, draft)
		})
	}
}

// process has a real process below root's /proc, as the kernel shows it, and the client's certificate beside the CA that it
// was told of.
func process(t *testing.T, root string) {
	t.Helper()
	authority := servers.NewCA(t)
	e := servers.StartEtcd(t, servers.EtcdConfig{ClientTLS: authority})
	dir := filepath.Dir(authority.CertFile())
	certFile, keyFile := authority.Issue(t, "client")
	copyTo(t, dir, "client.crt", certFile)
	copyTo(t, dir, "client.key", keyFile)
	if err := errors.Join(os.MkdirAll(filepath.Join(root, filepath.Dir(dir)), 0o755), os.Symlink(dir, filepath.Join(root, dir))); err != nil {
		t.Fatal(err)
	}
	own := fmt.Sprintf("/proc/%d/", e.PID())
	copyTo(t, root, "/proc/99/environ", own+"environ")
	cmdline, err := os.ReadFile(own + "cmdline")
	if err != nil {
		t.Fatal(err)
	}
	_, args, _ := strings.Cut(string(cmdline), "\x00") // the program has a version in its name here
	put(t, root, "/proc/99/cmdline", "/usr/bin/etcd\x00"+args)
}

func checkDraft(t *testing.T, root string, draft *setup.Draft) {
	t.Helper()
	text := string(draft.Text)
	if strings.Contains(text, "planted-secret") {
		t.Error("a secret of the distribution is in the draft")
	}
	if _, err := config.Parse("config.yaml", draft.Text); err == nil || strings.Count(err.Error(), "still has CHANGE-ME") != strings.Count(err.Error(), "\n")+1 {
		t.Errorf("unfilled it has other problems than its blanks, or none: %v", err)
	}
	if want := 4; len(draft.Blanks) != want || strings.Count(uncommented(text), setup.Blank) != want {
		t.Errorf("blanks %q", draft.Blanks)
	}
	path := fill(t, root, text)
	if _, err := config.Load(path); err == nil || !strings.Contains(err.Error(), "signing.key") {
		t.Errorf("without the files that it calls missing: %v", err)
	}
	if len(draft.Missing) != 2 || !strings.HasPrefix(draft.Missing[0], "/etc/drd/signing.key: ") || !strings.HasPrefix(draft.Missing[1], "/etc/drd/s3-credentials: ") {
		t.Errorf("missing: %q", draft.Missing)
	}
	put(t, root, "/etc/drd/signing.key", "x")
	put(t, root, "/etc/drd/s3-credentials", "x")
	cfg, err := config.Load(path)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	client, err := etcd.Connect(t.Context(), etcd.Config{Endpoints: cfg.Etcd.Endpoints, CAFile: cfg.Etcd.CAFile, CertFile: cfg.Etcd.CertFile, KeyFile: cfg.Etcd.KeyFile, DialTimeout: time.Minute})
	if err != nil {
		t.Fatalf("connect as the draft says: %v", err)
	}
	defer client.Close()
	if status, err := client.Status(t.Context()); err != nil || status.MemberID == 0 {
		t.Errorf("%+v, %v", status, err)
	}
	if cfg.SpoolMaxBytes < 64<<20 || cfg.SpoolMaxBytes > 10<<30 || !cfg.Archive.Enabled || cfg.Verify.Schedule == "" {
		t.Errorf("%+v", cfg)
	}
}

// uncommented is what of a file is no comment.
func uncommented(text string) string {
	var kept strings.Builder
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(strings.TrimSpace(line), "#") {
			kept.WriteString(line)
		}
	}
	return kept.String()
}

// fill writes the draft as a person would finish it, for the node that lies below root.
func fill(t *testing.T, root, text string) (path string) {
	t.Helper()
	_, recipient, err := seal.GenerateIdentity(false)
	if err != nil {
		t.Fatal(err)
	}
	text = strings.NewReplacer(
		"cluster: CHANGE-ME", "cluster: prod-east", "bucket: CHANGE-ME", "bucket: prod-backups", "region: CHANGE-ME", "region: eu-central-1",
		"[CHANGE-ME]", "["+recipient+"]", `"/etc/`, `"`+root+"/etc/", `"/var/`, `"`+root+"/var/",
	).Replace(text)
	put(t, root, "config.yaml", text)
	return filepath.Join(root, "config.yaml")
}

// TestWhatIsThere: files that are there already are used, and what was not found is a blank.
func TestWhatIsThere(t *testing.T) {
	root := t.TempDir()
	for _, name := range []string{"recipient.txt", "signing.key", "allowed_signers", "s3-credentials"} {
		put(t, root, "/etc/drd/"+name, "x")
	}
	n := &distro.Node{Distro: "plain etcd", Endpoint: "https://127.0.0.1:2379", Evidence: []string{"process 7"}}
	draft, err := setup.New(n, setup.Options{Root: root, Cluster: "prod", Host: "cp-1", Now: time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)})
	if err != nil {
		t.Fatal(err)
	}
	text := string(draft.Text)
	for _, want := range []string{
		"drafted by `drd config init` on 2026-11-22", "cluster: \"prod\"\n", "ca_file: \"CHANGE-ME\"", "cert_file: \"CHANGE-ME\"", "key_file: \"CHANGE-ME\"",
		"recipients_file: \"/etc/drd/recipient.txt\"", "trust:\n  file: \"/etc/drd/allowed_signers\"", "#   process 7\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("there is no %q in\n%s", want, text)
		}
	}
	if len(draft.Missing) != 0 || len(draft.Blanks) != 5 || !strings.HasPrefix(draft.Blanks[0], "etcd.ca_file: ") {
		t.Errorf("missing %q, blanks %q", draft.Missing, draft.Blanks)
	}
}

// TestPlainHTTP: an etcd without TLS gets no certificates.
func TestPlainHTTP(t *testing.T) {
	e := servers.StartEtcd(t, servers.EtcdConfig{})
	u, err := url.Parse(e.Endpoint())
	if err != nil {
		t.Fatal(err)
	}
	draft, err := setup.New(&distro.Node{Distro: "plain etcd", Endpoint: "http://" + u.Host}, setup.Options{Root: t.TempDir(), Now: time.Now()})
	if err != nil || strings.Contains(uncommented(string(draft.Text)), "cert_file") || len(draft.Blanks) != 4 {
		t.Errorf("%v, %q", err, draft.Blanks)
	}
}

// TestValuesStayValues: whatever a name or a path is made of, the draft has it as it is, and nothing else.
func TestValuesStayValues(t *testing.T) {
	_, recipient, err := seal.GenerateIdentity(false)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"123", "yes", "null", "1e3"} {
		n := &distro.Node{
			Distro: "plain etcd", Endpoint: "https://127.0.0.1:2379", Evidence: []string{"/a\nevil: 1"}, CAFile: "/pki/a # b.crt", CertFile: `/pki/"$c$.crt`, KeyFile: "/pki/${HOME}: - \\.key",
		}
		draft, err := setup.New(n, setup.Options{Root: t.TempDir(), Dir: "/etc/drd: x", Cluster: name, Host: "cp\n-1", Now: time.Now()})
		if err != nil {
			t.Fatal(err)
		}
		text := strings.NewReplacer("bucket: CHANGE-ME", "bucket: b-b", "region: CHANGE-ME", "region: r", "[CHANGE-ME]", "["+recipient+"]").Replace(string(draft.Text))
		cfg, err := config.Parse("config.yaml", []byte(text))
		if err != nil {
			t.Fatalf("%s: %v\n%s", name, err, text)
		}
		if cfg.Cluster != name || cfg.Etcd.CAFile != n.CAFile || cfg.Etcd.CertFile != n.CertFile || cfg.Etcd.KeyFile != n.KeyFile || cfg.Signing.KeyFile != "/etc/drd: x/signing.key" {
			t.Errorf("%q, %+v, %q", cfg.Cluster, cfg.Etcd, cfg.Signing.KeyFile)
		}
	}
}
