package config

import (
	"strings"
	"testing"
)

const placed = `cluster: prod
state_dir: /data/drd
etcd: {endpoints: ["http://127.0.0.1:2379"]}
seal: {recipients_file: "${DRD_TEST_UNSET}/recipient.txt"}
signing: {key_file: "${DRD_TEST_UNSET}/signing.key"}
verify: {identity_file: "${DRD_TEST_UNSET}/identity.txt"}
metrics: {heartbeat_url_file: "${DRD_TEST_UNSET}/heartbeat"}
targets: [{name: primary, s3: {bucket: "${DRD_TEST_UNSET}", region: eu-1, credentials_file: "${DRD_TEST_UNSET}/s3"}}]
`

// TestPlace: where a configuration keeps its state is known although variables are not set here, and not where it is wrong.
func TestPlace(t *testing.T) {
	for _, c := range []struct{ name, old, changed, stateDir, cluster string }{
		{"variables not set", "", "", "/data/drd", "prod"},
		{"default", "state_dir: /data/drd\n", "", "/var/lib/drd", "prod"},
		{"its own variable", "/data", "${DRD_TEST_UNSET}", "", "prod"},
		{"a variable in the name", "prod", "${DRD_TEST_UNSET}", "/data/drd", ""},
		{"misspelled", "state_dir", "state_dirr", "", ""},
		{"relative", "/data", "data", "", ""},
		{"twice", "state_dir: /data/drd\n", "state_dir: /a\nstate_dir: /b\n", "", ""},
		{"no YAML", "prod", "'prod", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			text := strings.Replace(placed, c.old, c.changed, 1)
			if stateDir, cluster := Place([]byte(text)); stateDir != c.stateDir || cluster != c.cluster {
				_, err := Parse("config.yaml", []byte(text))
				t.Errorf("%q, %q: want %q, %q; %v", stateDir, cluster, c.stateDir, c.cluster, err)
			}
		})
	}
}
