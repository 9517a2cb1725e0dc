// Package tools tests the scripts of this directory: what they say when something is missing decides whether a
// newcomer's first `make test` works.
package tools

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
)

func TestBuildTwiceAtOnce(t *testing.T) {
	cache := t.TempDir()
	var wg sync.WaitGroup
	var outs [2]string
	var errs [2]error
	for i := range outs {
		wg.Go(func() { outs[i], errs[i] = run(t, "./build", []string{"age"}, "DRD_TOOLS="+cache) })
	}
	wg.Wait()
	for i := range outs {
		if errs[i] != nil {
			t.Fatalf("build: %v\n%s", errs[i], outs[i])
		}
	}
	if both := outs[0] + outs[1]; strings.Count(both, "built in") != 1 || strings.Count(both, "cached") != 1 {
		t.Errorf("one run should build and the other find it:\n%s", both)
	}
	if left, err := filepath.Glob(filepath.Join(cache, ".building*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}

	path, err := run(t, "./build", []string{"--path", "age"}, "DRD_TOOLS="+cache)
	if err != nil || strings.TrimSpace(path) != filepath.Join(cache, "bin", "age") {
		t.Fatalf("build --path age: %q, %v", path, err)
	}
	if version, err := run(t, strings.TrimSpace(path), []string{"--version"}); err != nil || !strings.Contains(version, "1.3.2") {
		t.Errorf("age --version: %q, %v", version, err)
	}
	if out, err := run(t, "./build", []string{"--path", "minio"}, "DRD_TOOLS="+cache); err == nil {
		t.Errorf("build --path found what was not built: %s", out)
	}
}

func TestBuildRefusesWhatItDoesNotKnow(t *testing.T) {
	out, err := run(t, "./build", []string{"etcd-2.3"}, "DRD_TOOLS="+t.TempDir())
	if err == nil || !strings.Contains(out, "unknown tool etcd-2.3; known: ") {
		t.Errorf("unknown tool: %v\n%s", err, out)
	}
	out, err = run(t, "./build", []string{"age"}, "DRD_TOOLS=here")
	if err == nil || !strings.Contains(out, "absolute path") {
		t.Errorf("relative cache: %v\n%s", err, out)
	}
}

// TestBuildWithoutApt runs the script where only the programs on PATH can serve.
func TestBuildWithoutApt(t *testing.T) {
	for _, tc := range []struct {
		name, version string // what etcd and etcdctl say; "" for not being there
		want          string // in the failure; "" for success
	}{
		{"right version", "3.4.99", ""},
		{"other version", "3.5.1", "neither apt nor PATH has etcd 3.4; install etcd-server 3.4"},
		{"nothing", "", "neither apt nor PATH has etcd 3.4; install etcd-server 3.4"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path, cache := pathWithoutApt(t), t.TempDir()
			if tc.version != "" {
				script(t, filepath.Join(path, "etcd"), `echo "etcd Version: `+tc.version+`"`)
				script(t, filepath.Join(path, "etcdctl"), `[[ $1 = version ]] && echo "etcdctl version: `+tc.version+`"`)
			}
			out, err := run(t, "./build", []string{"etcd-3.4"}, "DRD_TOOLS="+cache, "PATH="+path)
			if tc.want != "" {
				if err == nil || !strings.Contains(out, tc.want) {
					t.Errorf("build: %v, want %q\n%s", err, tc.want, out)
				}
				return
			}
			if err != nil {
				t.Fatalf("build: %v\n%s", err, out)
			}
			for _, name := range []string{"etcd-3.4", "etcdctl-3.4"} {
				if got, err := run(t, filepath.Join(cache, "bin", name), []string{"version"}); err != nil || !strings.Contains(got, tc.version) {
					t.Errorf("%s: %q, %v", name, got, err)
				}
			}
		})
	}
}

func TestBuildNamesThePackageOfAMissingProgram(t *testing.T) {
	out, err := run(t, "./build", []string{"zstd"}, "DRD_TOOLS="+t.TempDir(), "PATH="+pathWithoutApt(t))
	if err == nil || !strings.Contains(out, "zstd is missing: install zstd") {
		t.Errorf("build: %v\n%s", err, out)
	}
}

// onPath is a program that a test takes from PATH, without a directory.
var onPath = regexp.MustCompile(`exec\.(?:LookPath\(|Command\(|CommandContext\([^,]+, )"([a-z_-]+)"`)

// TestBuildNamesWhatTestsTakeFromPath: else a newcomer's first run fails in the middle, and .ci/run on a new machine. Apart from what the
// build names there is only what Go, git and a Debian without anything else have.
func TestBuildNamesWhatTestsTakeFromPath(t *testing.T) {
	list, err := run(t, "./build", []string{"--list"})
	if err != nil {
		t.Fatalf("%v\n%s", err, list)
	}
	known := append(strings.Fields(list), "go", "bash", "sh", "nice", "sleep", "stat", "true", "sha256sum", "mount", "umount", "unshare", "nsenter")
	err = filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, found := range onPath.FindAllSubmatch(text, -1) {
			if name := string(found[1]); name != "drd" && !slices.Contains(known, name) {
				t.Errorf("%s runs %s, which test/tools/build does not name", path, name)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestFuzzRunsEveryTarget(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "go.mod"), "module x\n\ngo 1.26\n", 0o600)
	write(t, filepath.Join(dir, "x_test.go"), `package x

import "testing"

func FuzzA(f *testing.F)       { f.Fuzz(func(t *testing.T, b []byte) {}) }
func FuzzBroken(f *testing.F)  { f.Fuzz(func(t *testing.T, b []byte) { t.Fatal("found") }) }
func TestNothing(t *testing.T) {}
`, 0o600)
	fuzz, err := filepath.Abs("fuzz")
	if err != nil {
		t.Fatal(err)
	}
	env := []string{"-C", dir, "GOFLAGS=", "GOWORK=off", fuzz, "10x"}

	out, err := run(t, "env", env)
	if err == nil || !strings.Contains(out, "x FuzzA\n") || !strings.Contains(out, "--- FAIL: FuzzBroken") {
		t.Errorf("fuzz with a target that fails: %v\n%s", err, out)
	}

	write(t, filepath.Join(dir, "x_test.go"), "package x\n", 0o600)
	out, err = run(t, "env", env)
	if err == nil || !strings.Contains(out, "no fuzz target") {
		t.Errorf("fuzz without targets: %v\n%s", err, out)
	}
}

// run returns what a program wrote, to stdout and stderr. The environment is the tester's, with changes.
func run(t *testing.T, name string, args []string, env ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// pathWithoutApt makes a directory with the few programs that the build script always needs.
func pathWithoutApt(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{
		"bash", "basename", "cat", "chmod", "cp", "cut", "dirname", "env", "find", "flock", "go", "grep", "id", "ln", "mkdir", "mktemp",
		"mv", "rm", "sha256sum",
	} {
		path, err := exec.LookPath(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(path, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func script(t *testing.T, path, body string) {
	t.Helper()
	write(t, path, "#!/usr/bin/env bash\n"+body+"\n", 0o700)
}

func write(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}
