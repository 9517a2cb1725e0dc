package card

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/drd-project/drd/internal/config"
	"github.com/drd-project/drd/internal/s3"
	"github.com/drd-project/drd/internal/seal"
	"github.com/drd-project/drd/internal/storage/dir"
)

// full is the card of a cluster with all there can be.
func full(t *testing.T) Card {
	t.Helper()
	_, recipient, err := seal.GenerateIdentity(false)
	if err != nil {
		t.Fatal(err)
	}
	_, long, err := seal.GenerateIdentity(true)
	if err != nil {
		t.Fatal(err)
	}
	c := Card{Cluster: "prod-east", Made: time.Date(2026, 11, 22, 23, 0, 0, 0, time.UTC), Drd: "1.2.3"}
	if c.Recipients, err = ParseRecipients([]string{recipient}, []byte("# the second one\n"+long+"\n")); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		_, public, err := seal.GenerateSigningKey("cp-1")
		if err != nil {
			t.Fatal(err)
		}
		c.Signers = append(c.Signers, ParseSigners([]byte("# comment\ncp-1 namespaces=\"drd\" "+string(public)))...)
	}
	c.Targets = Targets(c.Cluster, []config.Target{
		{Name: "nas", Dir: "/mnt/nas/it's here"},
		{Name: "primary", S3: &config.S3{Bucket: "prod-backups", Prefix: "etcd/east", Endpoint: "https://minio.example.com:9000", Region: "us-east-1", PathStyle: true, CAFile: "/etc/drd/ca.crt", CredentialsFile: "/etc/drd/Planted0Secret", Profile: "Planted0Secret"}},
		{Name: "offsite", S3: &config.S3{Bucket: "offsite", Region: "eu-west-1"}},
	})
	return c
}

func TestCard(t *testing.T) {
	c := full(t)
	if len(c.Recipients) != 2 || len(c.Signers) != 3 || len(c.Targets) != 3 {
		t.Fatalf("%+v", c)
	}
	text, err := c.Text()
	if err != nil {
		t.Fatal(err)
	}
	page, err := c.HTML()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(string(text), Title+"\n") || !strings.Contains(string(page), Title) {
		t.Error("the card does not say what it is")
	}
	unescape := strings.NewReplacer("&#39;", "'", "&amp;", "&", "&#43;", "+", "&lt;", "<", "&gt;", ">")
	for form, content := range map[string]string{"text": string(text), "HTML": unescape.Replace(string(page))} {
		if strings.Contains(content, "Planted0Secret") {
			t.Errorf("%s: a path or profile of the credentials is on it", form)
		}
		for _, want := range []string{
			"2026-11-22", c.Recipients[0].Key, c.Recipients[0].Fingerprint, c.Recipients[1].Fingerprint, c.Signers[2].Fingerprint,
			`'file:///mnt/nas/it'\''s here'`, "'s3://offsite?region=eu-west-1'",
			"drd list --repo 's3://prod-backups/etcd/east?endpoint=https%3A%2F%2Fminio.example.com%3A9000&region=us-east-1&path_style=true' --cluster prod-east",
			"aws --endpoint-url 'https://minio.example.com:9000' s3 cp --recursive 's3://prod-backups/etcd/east/prod-east/snapshots/ID' .",
			"identity kept at", "and a second time at",
		} {
			if !strings.Contains(content, want) {
				t.Errorf("%s: there is no %s in\n%s", form, want, content)
			}
		}
	}
}

// TestRepoURLs: what stands on the card after --repo is taken by drd.
func TestRepoURLs(t *testing.T) {
	c := full(t)
	unquote := strings.NewReplacer(`'\''`, "'", "'", "")
	for _, target := range c.Targets[1:] {
		if _, err := s3.ParseURL(unquote.Replace(target.Repo)); err != nil {
			t.Errorf("%s: %v", target.Repo, err)
		}
	}
	if path, err := dir.ParseURL("file:///mnt/nas/drd"); err != nil || path != "/mnt/nas/drd" {
		t.Errorf("%q, %v", path, err)
	}
}

// TestByHand: the commands without drd are those of docs/format.md, which a test runs against a real snapshot.
func TestByHand(t *testing.T) {
	documented, err := os.ReadFile(filepath.Join("..", "..", "docs", "format.md"))
	if err != nil {
		t.Fatal(err)
	}
	text, err := full(t).Text()
	if err != nil {
		t.Fatal(err)
	}
	_, commands, _ := strings.Cut(string(text), "RESTORE WITHOUT DRD")
	seen := 0
	for line := range strings.Lines(commands) {
		line, _, _ = strings.Cut(line, "#")
		line = strings.TrimSpace(line)
		if !regexp.MustCompile(`^(ssh-keygen|sha256sum|age|etcdutl) `).MatchString(line) {
			continue
		}
		seen++
		if line = strings.Replace(line, "-I NAME", "-I node-1", 1); !strings.Contains(string(documented), "\n"+line+"\n") {
			t.Errorf("docs/format.md has no command %q", line)
		}
	}
	if seen != 5 {
		t.Errorf("%d commands on the card, want 5", seen)
	}
}

// TestBlankCard: what is not known is left to be filled in.
func TestBlankCard(t *testing.T) {
	text, err := Card{Made: time.Now()}.Text()
	if err != nil || !strings.Contains(string(text), "--repo REPO --cluster CLUSTER") || strings.Count(string(text), "________") < 7 {
		t.Errorf("%v\n%s", err, text)
	}
	if _, err := ParseRecipients([]string{"AGE-SECRET-KEY-1QQQQ"}, nil); err == nil || strings.Contains(err.Error(), "QQQQ") {
		t.Errorf("an identity in place of a recipient: %v", err)
	}
	want := []Signer(nil)
	if diff := cmp.Diff(want, ParseSigners([]byte("cp-1 ssh-ed25519 broken\nnothing\n"))); diff != "" {
		t.Error(diff)
	}
}

// TestOnePage prints it as a browser does.
func TestOnePage(t *testing.T) {
	page, err := full(t).HTML()
	if err != nil {
		t.Fatal(err)
	}
	for _, paper := range []string{"A4", "Letter"} {
		d := t.TempDir()
		sized := strings.Replace(string(page), "@page {", "@page { size: "+paper+";", 1)
		if err := os.WriteFile(filepath.Join(d, "card.html"), []byte(sized), 0o600); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--user-data-dir="+filepath.Join(d, "profile"),
			"--no-pdf-header-footer", "--print-to-pdf="+filepath.Join(d, "card.pdf"), "file://"+filepath.Join(d, "card.html"))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("chromium, which this test needs: %v\n%s", err, out)
		}
		pdf, err := os.ReadFile(filepath.Join(d, "card.pdf"))
		if err != nil {
			t.Fatal(err)
		}
		if n := len(regexp.MustCompile(`/Type */Page\b`).FindAll(pdf, -1)); n != 1 {
			t.Errorf("%s: %d pages", paper, n)
		}
	}
}
