package kube

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/cbor/direct"
	"sigs.k8s.io/yaml"

	"github.com/google/go-cmp/cmp"
)

// TestRoundTrip: what is written of a stored object reads, strictly, as what its author wrote.
func TestRoundTrip(t *testing.T) {
	d := decoder(t)
	for name, p := range pairs() {
		t.Run(name, func(t *testing.T) {
			o, err := d.Decode(stored(t, p.stored))
			if err != nil {
				t.Fatal(err)
			}
			o.Clean()
			text, err := o.YAML()
			if err != nil {
				t.Fatal(err)
			}
			got := reflect.New(reflect.TypeOf(p.want).Elem()).Interface().(runtime.Object)
			if err := yaml.UnmarshalStrict(text, got); err != nil {
				t.Fatalf("%v:\n%s", err, text)
			}
			kinds, _, err := d.scheme.ObjectKinds(p.want)
			if err != nil {
				t.Fatal(err)
			}
			if got.GetObjectKind().GroupVersionKind() != kinds[0] {
				t.Errorf("it is a %s, want %s", got.GetObjectKind().GroupVersionKind(), kinds[0])
			}
			p.want.GetObjectKind().SetGroupVersionKind(kinds[0])
			if !equality.Semantic.DeepEqual(p.want, got) {
				t.Errorf("it reads otherwise:\n%s", text)
			}
			for _, of := range []string{"uid", "48211", "status:", "managedFields", "creationTimestamp: \"", "10.96.0.7", "node-1", "foregroundDeletion"} {
				if strings.Contains(string(text), of) {
					t.Errorf("%s belongs to the cluster:\n%s", of, text)
				}
			}
		})
	}
}

const customResourceDefinition = `{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{"name":"widgets.example.com","uid":"1","generation":1},` +
	`"spec":{"group":"example.com","names":{"kind":"Widget","plural":"widgets"},"scope":"Namespaced","versions":[{"name":"v1","served":true,"storage":true}]},"status":{"storedVersions":["v1"]}}`

const customResource = `{"apiVersion":"example.com/v1","kind":"Widget","metadata":{"name":"blue","namespace":"shop","uid":"2","resourceVersion":""},` +
	`"spec":{"big":9007199254740993,"exact":1,"half":0.5,"none":null,"text":"007","list":[true,{}]},"status":{"ready":true}}`

func TestCustomObjects(t *testing.T) {
	for value, want := range map[string]string{
		customResourceDefinition: `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: widgets.example.com
spec:
  group: example.com
  names:
    kind: Widget
    plural: widgets
  scope: Namespaced
  versions:
  - name: v1
    served: true
    storage: true
`,
		customResource: `apiVersion: example.com/v1
kind: Widget
metadata:
  name: blue
  namespace: shop
spec:
  big: 9007199254740993
  exact: 1
  half: 0.5
  list:
  - true
  - {}
  none: null
  text: "007"
`,
	} {
		o, err := decoder(t).Decode([]byte(value))
		if err != nil {
			t.Fatal(err)
		}
		inCBOR, err := direct.Marshal(map[string]any(o))
		if err != nil {
			t.Fatal(err)
		}
		again, err := decoder(t).Decode(append([]byte(cborMagic), inCBOR...))
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range []Object{o, again} {
			o.Clean()
			text, err := o.YAML()
			if diff := cmp.Diff(want, string(text)); err != nil || diff != "" {
				t.Errorf("%v\n%s", err, diff)
			}
		}
	}
}

func TestRefused(t *testing.T) {
	pod := stored(t, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p"}})
	unknown := strings.Replace(string(pod), "\x03Pod", "\x03Pox", 1)
	for value, want := range map[string]error{
		"k8s:enc:aescbc:v1:key1:secretsecret": ErrEncrypted,
		"":                                    ErrUndecodable,
		"plain secret":                        ErrUndecodable,
		"{}":                                  ErrUndecodable,
		`{"kind":"secret"`:                    ErrUndecodable,
		`["secret"]`:                          ErrUndecodable,
		`{"kind":1,"apiVersion":2}`:           ErrUndecodable,
		"k8s\x00":                             ErrUndecodable,
		"k8s\x00secret":                       ErrUndecodable,
		string(pod[:len(pod)-20]):             ErrUndecodable,
		unknown:                               ErrUndecodable,
		"\xd9\xd9\xf7\xa1secret":              ErrUndecodable,
		"\xd9\xd9\xf7":                        ErrUndecodable,
		strings.Repeat("[", 1<<20):            ErrUndecodable,
		`{"a":` + strings.Repeat("[", 1<<20):  ErrUndecodable,
	} {
		o, err := decoder(t).Decode([]byte(value))
		if !errors.Is(err, want) || o != nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%.40q: %v", value, err)
		}
	}
	if _, err := decoder(t).Decode([]byte(unknown)); err == nil || !strings.Contains(err.Error(), `kind "Pox" of "v1"`) {
		t.Errorf("an unknown kind: %v", err)
	}
}

func TestMadeAgain(t *testing.T) {
	owned := func(controller string) string {
		return `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p","ownerReferences":[{"kind":"Other"},{"kind":"ReplicaSet","name":"r","controller":` + controller + `}]}}`
	}
	for value, want := range map[string]string{
		owned("true"):  "ReplicaSet",
		owned("false"): "",
		owned(`"yes"`): "",
		`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p","ownerReferences":"r"}}`:                                                             "",
		`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p","annotations":{"kubernetes.io/config.mirror":"x"}}}`:                                 "kubelet, of a file on its node",
		`{"apiVersion":"v1","kind":"Endpoints","metadata":{"name":"p","annotations":{"endpoints.kubernetes.io/last-change-trigger-time":"x"}}}`:      "the endpoints controller",
		`{"apiVersion":"v1","kind":"Endpoints","metadata":{"name":"p"}}`:                                                                             "",
		`{"apiVersion":"events.k8s.io/v1","kind":"Event","metadata":{"name":"p"}}`:                                                                   "nobody: it is a message of the past",
		`{"apiVersion":"example.com/v1","kind":"Endpoints","metadata":{"name":"p","annotations":{"endpoints.kubernetes.io/last-change":"trigger"}}}`: "",
	} {
		o, err := decoder(t).Decode([]byte(value))
		if err != nil || o.MadeAgain() != want {
			t.Errorf("%s: made again by %q, want %q (%v)", value, o.MadeAgain(), want, err)
		}
	}
}

func TestRank(t *testing.T) {
	before := []string{"Namespace", "CustomResourceDefinition", "ServiceAccount", "Secret", "Service", "Deployment", "Widget", "MutatingWebhookConfiguration"}
	for i := 1; i < len(before); i++ {
		a, b := Object{"kind": before[i-1]}.Rank(), Object{"kind": before[i]}.Rank()
		if a >= b || b >= Ranks() {
			t.Errorf("%s has rank %d and %s has %d of %d", before[i-1], a, before[i], b, Ranks())
		}
	}
}

// FuzzDecode: no value brings the decoder down, and what it returns can be cleaned and written.
func FuzzDecode(f *testing.F) {
	for _, p := range pairs() {
		f.Add(stored(f, p.stored))
	}
	f.Add([]byte(customResource))
	f.Add([]byte("k8s:enc:kms:v2:x:"))
	f.Add([]byte("k8s\x00\n\t\n\x02v1\x12\x03Pod\x12\x00"))
	d := decoder(f)
	f.Fuzz(func(t *testing.T, value []byte) {
		o, err := d.Decode(value)
		if err != nil {
			if !errors.Is(err, ErrEncrypted) && !errors.Is(err, ErrUndecodable) {
				t.Fatal(err)
			}
			return
		}
		o.MadeAgain()
		o.Clean()
		if _, err := o.JSON(); err != nil {
			t.Fatal(err)
		}
		if _, err := o.YAML(); err != nil {
			t.Fatal(err)
		}
		if o.Rank() >= Ranks() {
			t.Fatal(o.Rank())
		}
	})
}
