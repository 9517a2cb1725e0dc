package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestRuns feeds check with what the real `go test -json` says about small packages.
func TestRuns(t *testing.T) {
	for _, tc := range []struct {
		name    string
		body    string   // of a test file
		want    []string // in the output
		not     []string // not in the output
		wantErr string   // "" for success
	}{
		{
			name: "passes",
			body: `func TestA(t *testing.T) { t.Log("quiet"); t.Run("sub", func(t *testing.T) {}) }`,
			want: []string{"ok  \tx\t", "2 passed, 0 failed, 0 skipped\n"},
			not:  []string{"quiet", "=== RUN", "PASS\n"},
		},
		{
			name:    "fails",
			body:    `func TestA(t *testing.T) { t.Error("loud") }; func TestB(t *testing.T) {}`,
			want:    []string{"loud", "--- FAIL: TestA", "FAIL\tx\t", "1 passed, 1 failed, 0 skipped\n"},
			wantErr: "1 tests failed, in 1 packages: x",
		},
		{
			name:    "skips",
			body:    `func TestA(t *testing.T) { t.Run("sub", func(t *testing.T) { t.Skip("no time") }) }`,
			want:    []string{"no time", "1 passed, 0 failed, 1 skipped\n"},
			wantErr: "skipped: TestA/sub in x",
		},
		{
			name:    "has no test",
			body:    `func helper(t *testing.T) {}`,
			wantErr: "no test passed",
		},
		{
			name:    "does not build",
			body:    `func TestA(t *testing.T) { undefined() }`,
			want:    []string{"undefined: undefined", "0 passed, 0 failed, 0 skipped\n"},
			wantErr: "1 packages: x",
		},
		{
			name:    "exits",
			body:    `func TestA(t *testing.T) { panic("boom") }`,
			want:    []string{"boom"},
			wantErr: "1 tests failed",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var out bytes.Buffer
			err := check(bytes.NewReader(goTestJSON(t, tc.body)), &out)
			if tc.wantErr == "" && err != nil || tc.wantErr != "" && (err == nil || !strings.Contains(err.Error(), tc.wantErr)) {
				t.Errorf("check() = %v, want %q", err, tc.wantErr)
			}
			for _, want := range tc.want {
				if !strings.Contains(out.String(), want) {
					t.Errorf("output lacks %q:\n%s", want, out.String())
				}
			}
			for _, not := range tc.not {
				if strings.Contains(out.String(), not) {
					t.Errorf("output has %q:\n%s", not, out.String())
				}
			}
		})
	}
}

func TestStreamThatBreaksOff(t *testing.T) {
	stream := `{"Action":"start","Package":"x"}
{"Action":"output","Package":"x","Test":"TestA","Output":"half\n"}
{"Action":"pass","Package":"x","Test":"TestB"}
`
	var out bytes.Buffer
	err := check(strings.NewReader(stream), &out)
	if err == nil || !strings.Contains(err.Error(), "did not finish: x") {
		t.Errorf("check() = %v, want a complaint about x", err)
	}
	if !strings.Contains(out.String(), "half") {
		t.Errorf("what the test wrote is lost:\n%s", out.String())
	}
}

func TestOtherOutputIsPassedOn(t *testing.T) {
	var out bytes.Buffer
	err := check(strings.NewReader("go: no such package\n"), &out)
	if err == nil || !strings.Contains(out.String(), "go: no such package\n") {
		t.Errorf("check() = %v, output %q", err, out.String())
	}
}

// goTestJSON runs one test file in a module of its own. That go test fails is what half of the cases are about.
func goTestJSON(t *testing.T, body string) []byte {
	t.Helper()
	dir := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("go.mod", "module x\n\ngo 1.26\n")
	write("x_test.go", "package x\n\nimport \"testing\"\n\n"+body+"\n")
	cmd := exec.Command("go", "test", "-json", "-count=1", "-vet=off", ".")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOFLAGS=", "GOWORK=off")
	out, err := cmd.Output()
	if len(out) == 0 {
		t.Fatalf("go test printed nothing: %v", err)
	}
	return out
}
