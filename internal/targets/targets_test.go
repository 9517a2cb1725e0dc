package targets_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

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
	_, err := targets.OpenURL(t.Context(), "/mnt/nas")
	if len(hint.Of(err)) != 1 || strings.Contains(err.Error(), "%!") {
		t.Errorf("a plain path: %v, hints %q", err, hint.Of(err))
	}
}
