package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"

	"github.com/drd-project/drd/test/planted"
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

// TestSlowest: those of five seconds and more, twelve at most, and no subtests, which are in their tests.
func TestSlowest(t *testing.T) {
	var stream strings.Builder
	for i := range 14 {
		fmt.Fprintf(&stream, "{\"Action\":\"pass\",\"Package\":\"x\",\"Test\":\"Test%d\",\"Elapsed\":%d.25}\n", i, i)
	}
	stream.WriteString(`{"Action":"pass","Package":"x","Test":"Test9/sub","Elapsed":99}` + "\n")
	var out bytes.Buffer
	if err := check(strings.NewReader(stream.String()), &out); err != nil {
		t.Fatal(err)
	}
	got := strings.Split(out.String(), "\n")
	if len(got) != 11 || got[0] != "slow:  13.2s Test13 in x" || got[8] != "slow:   5.2s Test5 in x" || !strings.HasPrefix(got[9], "15 passed") {
		t.Errorf("%q", got)
	}
	out.Reset()
	if err := check(strings.NewReader(strings.ReplaceAll(stream.String(), `"Elapsed":`, `"Elapsed":1`)), &out); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(out.String(), "slow:"); n != slowShown {
		t.Errorf("%d shown", n)
	}
}

func TestOtherOutputIsPassedOn(t *testing.T) {
	var out bytes.Buffer
	err := check(strings.NewReader("go: no such package\n"), &out)
	if err == nil || !strings.Contains(out.String(), "go: no such package\n") {
		t.Errorf("check() = %v, output %q", err, out.String())
	}
}

// TestSecretsArePrinted: a secret fails the run wherever it stands, and is named without being repeated.
func TestSecretsArePrinted(t *testing.T) {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	identity, secret := id.String(), planted.Secret()
	for _, tc := range []struct {
		name string
		body string // of a test file; @ stands for the secret
		with string
		want string // in the error
	}{
		{"logged", `func TestA(t *testing.T) { t.Log("quiet"); t.Log("@") }`, secret, "TestA in x, line 2 of its output: a planted secret"},
		{"logged by a subtest", `func TestA(t *testing.T) { t.Run("sub", func(t *testing.T) { t.Log("@") }) }`, identity, "TestA/sub in x, line 1 of its output: an age identity"},
		{"printed in parts", `func TestA(t *testing.T) { s := "@"; print("a\nb"); print(s[:20]); time.Sleep(time.Second); print(s[20:] + "\n") }; func print(s string) { os.Stdout.WriteString(s) }`, identity, "TestA in x, line 2 of its output: an age identity"},
		{"looks like a mark", `func TestA(t *testing.T) { os.Stdout.WriteString("=== @\n") }`, secret, "TestA in x, line 1 of its output: a planted secret"},
		{"over lines", `func TestA(t *testing.T) { t.Log("-----BEGIN OPENSSH " + "PRIVATE KEY-----\n@\n-----END OPENSSH " + "PRIVATE KEY-----") }`, "b3BlbnNzaC1rZXktdjE", "TestA in x, line 1 of its output: a private key"},
		{"in a failure", `func TestA(t *testing.T) { t.Error("loud @") }`, secret, "TestA in x, line 1 of its output: a planted secret"},
		{"in a skip", `func TestA(t *testing.T) { t.Skip("@") }`, secret, "TestA in x, line 1 of its output: a planted secret"},
		{"by the package", `func TestMain(m *testing.M) { c := m.Run(); os.Stderr.WriteString("bye @\n"); os.Exit(c) }; func TestA(t *testing.T) {}`, secret, "x, line 1 of its output: a planted secret"},
		{"in a panic", `func TestA(t *testing.T) { panic("@") }`, secret, "TestA in x, line "},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var out bytes.Buffer
			stream := goTestJSON(t, "import (\"os\"; \"time\")\n\nvar _, _ = os.Stdout, time.Second\n\n"+strings.ReplaceAll(tc.body, "@", tc.with))
			err := check(bytes.NewReader(stream), &out)
			if err == nil || !strings.Contains(err.Error(), "a secret was printed: "+tc.want) {
				t.Fatalf("check() = %v, want %q\n%s", err, tc.want, planted.New().Redact(out.String()))
			}
			if all := err.Error() + out.String(); strings.Contains(all, tc.with) {
				t.Errorf("repeated: %s", planted.New().Redact(all))
			}
		})
	}
}

// TestSecretsOutsideTests: in what is not of a test, and in what breaks off.
func TestSecretsOutsideTests(t *testing.T) {
	secret := planted.Secret()
	for name, tc := range map[string]struct{ stream, want string }{
		"go itself":  {"go: @\n", "go, line 1 of its output"},
		"a build":    {`{"ImportPath":"y [y.test]","Action":"build-output","Output":"y.go:1: @\n"}`, "y [y.test], line 1"},
		"broken off": {`{"Action":"start","Package":"x"}` + "\n" + `{"Action":"output","Package":"x","Test":"TestA","Output":"half @\n"}`, "TestA in x, line 1"},
		"too late": {`{"Action":"pass","Package":"x","Test":"TestA"}` + "\n" + `{"Action":"pass","Package":"x"}` + "\n" +
			`{"Action":"output","Package":"x","Test":"TestA","Output":"@\n"}`, "TestA in x, line 1"},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			err := check(strings.NewReader(strings.ReplaceAll(tc.stream, "@", secret)), &out)
			if err == nil || !strings.Contains(err.Error(), "a secret was printed: "+tc.want) || strings.Contains(err.Error()+out.String(), secret) {
				t.Errorf("check() = %s", planted.New().Redact(err.Error()))
			}
		})
	}
}

// TestPublicKeysMayBePrinted: recipients, public keys and certificates are no secrets.
func TestPublicKeysMayBePrinted(t *testing.T) {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	body := `func TestA(t *testing.T) { t.Log("` + id.Recipient().String() + `", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGPC", "-----BEGIN CERTIFICATE-----") }`
	if err := check(bytes.NewReader(goTestJSON(t, body)), io.Discard); err != nil {
		t.Errorf("check() = %v", err)
	}
}

// TestEveryRunIsWatched: no target of the Makefile runs the suite past this tool.
func TestEveryRunIsWatched(t *testing.T) {
	makefile, err := os.ReadFile("../../../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	runs := 0
	for line := range strings.Lines(string(makefile)) {
		if !strings.Contains(line, "$(GOTEST) ") {
			continue
		}
		if runs++; !strings.HasSuffix(line, " | $(SUITE)\n") {
			t.Errorf("not watched: %s", line)
		}
	}
	if runs < 5 || !strings.Contains(string(makefile), "\nSUITE := go run ./test/tools/suite\n") {
		t.Errorf("%d runs are watched", runs)
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
