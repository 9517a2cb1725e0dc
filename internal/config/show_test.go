package config

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestRedacted(t *testing.T) {
	for _, tc := range []struct{ name, text string }{
		{"full", readTestdata(t, "testdata/full.yaml")},
		{"smallest", smallest},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := mustParse(t, tc.text)
			shown := string(c.Redacted())
			compareGolden(t, "testdata/shown_"+tc.name+".golden", shown)
			if diff := cmp.Diff(c, mustParse(t, shown), cmpopts.IgnoreUnexported(Config{})); diff != "" {
				t.Errorf("another configuration when read back:\n%s", diff)
			}
		})
	}
}

// TestRedactedHidesSecrets shows a configuration that no file can hold: what Parse refuses to read
// is not printed either when it comes from elsewhere.
func TestRedactedHidesSecrets(t *testing.T) {
	c := mustParse(t, smallest)
	c.Etcd.Endpoints = []string{"https://root:Planted0Secret@127.0.0.1:2379/?token=Planted0Secret#Planted0Secret", "://Planted0Secret"}
	c.Targets = append(c.Targets, Target{Name: "s3", S3: &S3{Bucket: "bkt", Endpoint: "https://Planted0Secret@s3.example.com"}})
	shown := string(c.Redacted())
	if strings.Contains(shown, "Planted0Secret") {
		t.Errorf("shows a secret:\n%s", shown)
	}
	if n := strings.Count(shown, masked); n != 5 {
		t.Errorf("masked %d times, want 5:\n%s", n, shown)
	}
}
