package main

import (
	"bytes"
	"encoding/json"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestOfItself: this very test program is one that go has built.
func TestOfItself(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var out, again bytes.Buffer
	if err := write(&out, self, "1.2.3"); err != nil {
		t.Fatal(err)
	}
	if err := write(&again, self, "1.2.3"); err != nil || out.String() != again.String() {
		t.Errorf("two runs differ: %v", err)
	}
	var b bom
	if err := json.Unmarshal(out.Bytes(), &b); err != nil {
		t.Fatal(err)
	}
	if len(b.Metadata.Component.Hashes) != 1 || b.Metadata.Component.Version != "1.2.3" {
		t.Errorf("%+v", b.Metadata.Component)
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		t.Fatal("no build info")
	}
	want := []string{"pkg:golang/std@" + strings.TrimPrefix(runtime.Version(), "go")}
	for _, m := range info.Deps {
		want = append(want, purl(m.Path, m.Version))
	}
	if diff := cmp.Diff(want, b.Depends[0].On); diff != "" || len(b.Components) != len(want) {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestModule(t *testing.T) {
	const sum = "h1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
	got, err := module(&debug.Module{Path: "a", Version: "v1", Replace: &debug.Module{Path: "b.example/c", Version: "v2.0.0+incompatible", Sum: sum}})
	want := component{
		Ref: "pkg:golang/b.example/c@v2.0.0%2Bincompatible", Type: "library", Name: "b.example/c", Version: "v2.0.0+incompatible",
		PURL: "pkg:golang/b.example/c@v2.0.0%2Bincompatible", Hashes: []hash{{"SHA-256", "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"}},
	}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	for _, sum := range []string{"", "h1:AAEC", "h2:???"} {
		if _, err := module(&debug.Module{Path: "a", Version: "v1", Sum: sum}); err == nil {
			t.Errorf("sum %q is accepted", sum)
		}
	}
}

func TestNoProgram(t *testing.T) {
	if err := write(&bytes.Buffer{}, "main_test.go", "1"); err == nil {
		t.Error("a text has a bill of materials")
	}
}
