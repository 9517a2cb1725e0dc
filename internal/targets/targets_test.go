package targets_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/drd-project/drd/internal/config"
	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/targets"
)

func TestOpenURL(t *testing.T) {
	root := t.TempDir()
	keys := filepath.Join(root, "keys")
	if err := os.WriteFile(keys, []byte("[default]\naws_access_key_id=a\naws_secret_access_key=b\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for url, want := range map[string]string{
		"file://" + root: "file://" + root,
		"s3://bucket/prefix?region=r-1&credentials_file=" + keys:         "s3://bucket/prefix in r-1",
		"s3://bucket?endpoint=https://h:9000&credentials_file=" + keys:   "s3://bucket at https://h:9000",
		"s3://bucket?region=r-1&path_style=maybe":                        "",
		"s3://bucket?region=r-1&credentials_file=" + keys + "-not-there": "",
		"file://" + root + "/missing":                                    "",
		"file://relative":                                                "",
		"gs://bucket":                                                    "",
		root:                                                             "",
		"":                                                               "",
	} {
		b, err := targets.OpenURL(t.Context(), url)
		switch {
		case want == "" && (err == nil || b != nil):
			t.Errorf("%q gives %v, %v", url, b, err)
		case want != "" && (err != nil || b.Location() != want):
			t.Errorf("%q gives %v, %v, want %s", url, b, err, want)
		}
	}
	past, err := targets.OpenURLAsOf(t.Context(), "s3://bucket?region=r-1&credentials_file="+keys, time.Unix(0, 0))
	if err != nil || past.Location() != "s3://bucket in r-1 as of 1970-01-01T00:00:00Z" {
		t.Errorf("as of 1970: %v, %v", past, err)
	}
	if _, err := targets.OpenURLAsOf(t.Context(), "file://"+root, time.Unix(0, 0)); len(hint.Of(err)) == 0 {
		t.Errorf("a directory as of 1970: %v", err)
	}
	_, err = targets.OpenURL(t.Context(), "/mnt/nas")
	if len(hint.Of(err)) != 1 || strings.Contains(err.Error(), "%!") {
		t.Errorf("a plain path: %v, hints %q", err, hint.Of(err))
	}
}

// TestOpenTarget: the limits of a target hold, and a time is for buckets only.
func TestOpenTarget(t *testing.T) {
	root := t.TempDir()
	nas := config.Target{Name: "nas", Dir: root, UploadLimit: 1 << 20, DownloadLimit: 1 << 20}
	for name, test := range map[string]struct {
		target  config.Target
		limited bool
	}{
		"limited":  {nas, true},
		"no limit": {config.Target{Name: "nas", Dir: root}, false},
	} {
		synctest.Test(t, func(t *testing.T) { // whose clock goes on for what waits, and not for a slow disk
			b, err := targets.Open(t.Context(), test.target)
			if err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			if _, err := b.Create(t.Context(), strings.ReplaceAll(name, " ", "-"), strings.NewReader(strings.Repeat("x", 3<<19))); err != nil {
				t.Fatal(err)
			}
			if slow := time.Since(start) > time.Second; slow != test.limited {
				t.Errorf("%s: 1.5 MiB take %v", name, time.Since(start))
			}
		})
	}
	if _, err := targets.OpenAsOf(t.Context(), nas, time.Unix(0, 0)); len(hint.Of(err)) == 0 {
		t.Errorf("a directory as of 1970: %v", err)
	}
}
