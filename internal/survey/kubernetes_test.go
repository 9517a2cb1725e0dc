package survey

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/drd-project/drd/internal/proof"
)

func field(num protowire.Number, content string) string {
	return string(protowire.AppendString(protowire.AppendTag(nil, num, protowire.BytesType), content))
}

// object is a value as an API server writes it: the magic, and runtime.Unknown with empty fields 3 and 4.
func object(version, kind, body string) string {
	return "k8s\x00" + field(1, field(1, version)+field(2, kind)) + field(2, body) + field(3, "") + field(4, "")
}

// meta is an ObjectMeta (field 1 of every object) with a name.
func meta(name string) string { return field(1, field(1, name)) }

func TestEncodings(t *testing.T) {
	pod := object("v1", "Pod", meta("web"))
	for name, c := range map[string]struct{ value, want string }{
		"protobuf":                  {pod, "protobuf"},
		"protobuf, no body":         {object("v1", "Pod", ""), "protobuf"},
		"protobuf around JSON":      {"k8s\x00" + field(1, field(1, "v1")+field(2, "X")) + field(2, `{"a":1}`) + field(4, "application/json"), "protobuf"},
		"protobuf cut":              {pod[:len(pod)-6], ""},
		"protobuf magic only":       {"k8s\x00", ""},
		"protobuf without kind":     {"k8s\x00" + field(1, field(1, "v1")) + field(2, meta("web")), ""},
		"protobuf, body of noise":   {object("v1", "Pod", "\xff\xff\xff"), ""},
		"protobuf, type of noise":   {"k8s\x00" + field(1, "\xff") + field(2, meta("web")), ""},
		"protobuf, envelope broken": {"k8s\x00\xff\xff", ""},
		"json":                      {`{"kind":"Widget"}` + "\n", "json"},
		"json, empty":               {"{}", "json"},
		"json, spread out":          {"{\n  \"kind\": 1\n}\n", "json"},
		"json cut":                  {`{"kind":"Wid`, ""},
		"json, one brace":           {"{", ""},
		"json, a brace and noise":   {"{\x01\x02}", ""},
		"json, an array":            {"[1]", ""},
		"cbor":                      {"\xd9\xd9\xf7\xa1\x44kind\x43Pod", "cbor"},
		"aescbc":                    {"k8s:enc:aescbc:v1:aescbckey:\x00\x01", "k8s:enc:aescbc:v1:aescbckey"},
		"secretbox":                 {"k8s:enc:secretbox:v1:secretboxkey-2026-03-01T10-00-00Z:\x00", "k8s:enc:secretbox:v1:secretboxkey-2026-03-01T10-00-00Z"},
		"kms":                       {"k8s:enc:kms:v2:vault:\x0a\x3a::", "k8s:enc:kms:v2:vault"},
		"encrypted, long name":      {"k8s:enc:kms:v1:" + strings.Repeat("k", 200) + ":x", "k8s:enc:kms:v1:" + strings.Repeat("k", 113) + "…"},
		"encrypted, no key name":    {"k8s:enc:aescbc:v1::x", ""},
		"encrypted, cut":            {"k8s:enc:aescbc:v1:key", ""},
		"encrypted, no end":         {"k8s:enc:aescbc:v1:" + strings.Repeat("k", 2000) + ":x", ""},
		"encrypted, escape in name": {"k8s:enc:aescbc:v1:\x1b[2J:x", ""},
		"empty":                     {"", ""},
		"text":                      {"hello", ""},
	} {
		var c1 census
		c1.add([]byte("/registry/x/y"), []byte(c.value))
		want := &proof.Kubernetes{Resources: map[string]int64{"x": 1}, Encodings: map[string]int64{}, Missing: mustExist()}
		if c.want == "" {
			want.Undecodable = 1
		} else {
			want.Encodings[c.want] = 1
		}
		if diff := cmp.Diff(want, c1.result()); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestResources(t *testing.T) {
	for key, want := range map[string]string{
		"/registry/pods/default/web":                                             "pods",
		"/registry/deployments/default/web":                                      "deployments",
		"/registry/minions/node-1":                                               "minions",
		"/registry/masterleases/10.0.0.1":                                        "masterleases",
		"/registry/ranges/serviceips":                                            "ranges",
		"/registry/services/specs/default/kubernetes":                            "services/specs",
		"/registry/services/endpoints/default/kubernetes":                        "services/endpoints",
		"/registry/apiregistration.k8s.io/apiservices/v1.apps":                   "apiregistration.k8s.io/apiservices",
		"/registry/apiextensions.k8s.io/customresourcedefinitions/a.example.com": "apiextensions.k8s.io/customresourcedefinitions",
		"/registry/example.com/widgets/default/one":                              "example.com/widgets",
		"/registry/example.com/widgets/cluster-scoped":                           "example.com/widgets",
		"/registry/health":                                                       "health",
		"/registry/\x00\x01/x":                                                   "hex:0001",
		"/registry/":                                                             "",
	} {
		var c census
		c.add([]byte(key), nil)
		if diff := cmp.Diff(map[string]int64{want: 1}, c.result().Resources); diff != "" {
			t.Errorf("%q: %s", key, diff)
		}
	}
}

func TestCensus(t *testing.T) {
	var c census
	c.add([]byte("/bootstrap/0123"), []byte("salt:noise"))
	c.add([]byte("compact_rev_key"), []byte("1"))
	if c.result() != nil {
		t.Error("a census of a store without a Kubernetes object")
	}
	c.add([]byte("/registry/namespaces/default"), []byte(object("v1", "Namespace", meta("default"))))
	c.add([]byte("/registry/services/specs/default/kubernetes"), []byte(object("v1", "Service", meta("kubernetes"))))
	for i := range 3 {
		c.add(fmt.Appendf(nil, "/registry/secrets/default/%d", i), []byte("k8s:enc:aesgcm:v1:key-2026:noise"))
	}
	c.add([]byte("/registry/secrets/default/broken"), bytes.Repeat([]byte{7}, 100))
	want := &proof.Kubernetes{
		Resources:   map[string]int64{"namespaces": 1, "services/specs": 1, "secrets": 4},
		Encodings:   map[string]int64{"protobuf": 2, "k8s:enc:aesgcm:v1:key-2026": 3},
		Undecodable: 1,
		Missing:     []string{"/registry/namespaces/kube-system"},
	}
	if diff := cmp.Diff(want, c.result()); diff != "" {
		t.Error(diff)
	}
}

// FuzzEncoding: whatever a value holds, nothing breaks, and a name that comes out can be printed.
func FuzzEncoding(f *testing.F) {
	f.Add([]byte(object("v1", "Pod", meta("web"))))
	f.Add([]byte("k8s:enc:aescbc:v1:key1:noise"))
	f.Add([]byte(`{"a":1}`))
	f.Fuzz(func(t *testing.T, value []byte) {
		if name := encodingOf(value); name != nil && printable(name) != string(name) && len(name) <= maxName {
			t.Errorf("%q", name)
		}
	})
}
