package seal_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"filippo.io/age"

	"github.com/drd-project/drd/internal/seal"
)

// The files in testdata were written by the first version of this package and are never made again:
// every later version must open and accept them.
var storedKinds = []string{"x25519", "hybrid"}

func stored(tb testing.TB, name string) []byte {
	tb.Helper()
	content, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		tb.Fatal(err)
	}
	return content
}

func storedIdentity(tb testing.TB, kind string) age.Identity {
	tb.Helper()
	ids, err := seal.LoadIdentities([]string{filepath.Join("testdata", kind+".identity")}, nil)
	if err != nil {
		tb.Fatal(err)
	}
	return ids[0]
}

func TestStoredObjects(t *testing.T) {
	format, err := seal.FormatByName("age-v1")
	if err != nil {
		t.Fatal(err)
	}
	if format != seal.Default() || format.Name() != "age-v1" || format.Extension() != ".zst.age" {
		t.Errorf("format %q, extension %q", format.Name(), format.Extension())
	}
	for _, kind := range storedKinds {
		got, err := open(stored(t, kind+".zst.age"), storedIdentity(t, kind))
		if err != nil || !bytes.Equal(got, stored(t, "content")) {
			t.Errorf("%s: %d bytes, %v", kind, len(got), err)
		}
	}
}

func TestStoredSignature(t *testing.T) {
	trust, err := seal.LoadTrust(filepath.Join("testdata", "allowed_signers"))
	if err != nil {
		t.Fatal(err)
	}
	signed, err := trust.Verify(stored(t, "manifest.json"), stored(t, "manifest.json.sig"), manifestTime)
	if err != nil || signed.Principal != "node-1" {
		t.Errorf("%+v, %v", signed, err)
	}
}

func TestUnknownFormat(t *testing.T) {
	_, err := seal.FormatByName("age-v2")
	if err == nil {
		t.Fatal("found it")
	}
	checkError(t, err, `unknown envelope format "age-v2"`, "a newer drd wrote this")
}
