package config

import (
	"strings"
	"testing"
)

const placed = `cluster: prod
state_dir: /data/drd
etcd: {endpoints: ["https://127.0.0.1:2379"], cert_file: /pki/c.crt, key_file: "${DRD_TEST_UNSET}/c.key", username: drd, password_file: "${DRD_TEST_UNSET}/p"}
seal: {recipients_file: "${DRD_TEST_UNSET}/recipient.txt"}
signing: {key_file: "${DRD_TEST_UNSET}/signing.key"}
verify: {identity_file: "${DRD_TEST_UNSET}/identity.txt"}
metrics: {heartbeat_url_file: "${DRD_TEST_UNSET}/heartbeat", listen: "0.0.0.0:9877", web_config_file: "${DRD_TEST_UNSET}/web.yml"}
targets: [{name: primary, s3: {bucket: "${DRD_TEST_UNSET}", endpoint: "${DRD_TEST_UNSET}", sse: aws:kms, kms_key_id: "${DRD_TEST_UNSET}", credentials_file: "${DRD_TEST_UNSET}/s3"}}]
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
