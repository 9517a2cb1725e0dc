package main

import (
	"strings"
	"testing"
)

func TestCheck(t *testing.T) {
	rules := []rule{
		{dir: "hint"},
		{dir: "low"},
		{dir: "high", knows: []string{"low"}, etcd: true},
		{dir: "cmd", all: true, etcd: true},
	}
	for _, tc := range []struct {
		name, path    string
		imports, deps []string
		want          string // "" for allowed
	}{
		{name: "what the line names", path: "m/internal/high", imports: []string{"m/internal/low", "fmt"}},
		{name: "what everybody knows", path: "m/internal/low", imports: []string{"m/internal/hint"}},
		{name: "its own packages", path: "m/internal/low", imports: []string{"m/internal/low/part"}},
		{name: "everything", path: "m/cmd/drd", imports: []string{"m/internal/high", "m/internal/low"}, deps: []string{"go.etcd.io/x"}},
		{name: "test code knows all", path: "m/test/servers", imports: []string{"m/internal/high"}, deps: []string{"go.etcd.io/x"}},
		{name: "test code knows test code", path: "m/internal/low/lowtest", imports: []string{"m/test/servers"}},
		{name: "upwards", path: "m/internal/low/part", imports: []string{"m/internal/high"}, want: "low must not know high"},
		{name: "the program", path: "m/internal/low", imports: []string{"m/cmd/drd"}, want: "low must not know cmd"},
		{name: "etcd through others", path: "m/internal/low", deps: []string{"fmt", "go.etcd.io/bbolt"}, want: "low must not know etcd"},
		{name: "servers for tests", path: "m/cmd/drd", imports: []string{"m/test/servers"}, want: "test code"},
		{name: "a suite for tests", path: "m/internal/high", imports: []string{"m/internal/low/lowtest"}, want: "test code"},
		{name: "no line", path: "m/internal/new", want: "m/internal/new has no rule"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := pkg{ImportPath: tc.path, Imports: tc.imports, Deps: tc.deps}
			p.Module.Path = "m"
			err := check([]pkg{p}, rules)
			if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("check() = %v, want %q", err, tc.want)
			}
		})
	}
}

func TestRulesNameKnownDirectoriesOnce(t *testing.T) {
	seen := make(map[string]bool)
	for _, r := range rules {
		if seen[r.dir] {
			t.Errorf("%s has two rules", r.dir)
		}
		seen[r.dir] = true
	}
	for _, r := range rules {
		for _, known := range r.knows {
			if !seen[known] {
				t.Errorf("%s knows %s, which has no rule", r.dir, known)
			}
		}
	}
}
