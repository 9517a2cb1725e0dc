package servers

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestToolThatIsMissingFailsTheTest(t *testing.T) {
	t.Setenv("DRD_TOOLS", t.TempDir())
	msg := fatal(t, func(tb testing.TB) { Tool(tb, "etcd-3.7") })
	for _, want := range []string{"etcd-3.7", "make tools"} {
		if !strings.Contains(msg, want) {
			t.Errorf("failure does not say %q: %s", want, msg)
		}
	}
}

func TestToolsDirectoryFollowsTheEnvironment(t *testing.T) {
	for _, tc := range []struct{ name, tools, xdg, want string }{
		{"own variable", "/a", "/b", "/a"},
		{"cache directory of the desktop", "", "/b", "/b/drd/tools"},
		{"home", "", "", "/h/.cache/drd/tools"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Setenv("DRD_TOOLS", tc.tools)
			t.Setenv("XDG_CACHE_HOME", tc.xdg)
			t.Setenv("HOME", "/h")
			got, err := toolsDir()
			if err != nil || got != tc.want {
				t.Errorf("toolsDir() = %q, %v, want %q", got, err, tc.want)
			}
		})
	}
}

func TestFreePortsDiffer(t *testing.T) {
	seen := make(map[int]bool)
	for _, port := range freePorts(t, 50) {
		if port < firstPort || port > lastPort || seen[port] {
			t.Errorf("port %d is out of range or came twice", port)
		}
		seen[port] = true
	}
}

// TestFreePortIsTaken: another test does not get it before it is used, either.
func TestFreePortIsTaken(t *testing.T) {
	port := FreePort(t)
	if claim, err := claim(port); err == nil {
		claim.Close()
		t.Errorf("port %d was given away twice", port)
	}
}

func TestCertificates(t *testing.T) {
	ca, other := NewCA(t), NewCA(t)
	good, key := ca.Issue(t, "somebody", Organization("system:masters"))
	expired, _ := ca.Issue(t, "late", NotAfter(time.Now().Add(-24*time.Hour)))

	if info, err := os.Stat(key); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key file: %v, %v, want mode 0600", info, err)
	}
	cert := readCert(t, good)
	if diff := cmp.Diff([]string{"system:masters"}, cert.Subject.Organization); diff != "" {
		t.Errorf("organizations differ (-want +got):\n%s", diff)
	}
	for _, host := range []string{"127.0.0.1", "localhost", "::1"} {
		if err := verify(cert, ca, host); err != nil {
			t.Errorf("certificate for %s: %v", host, err)
		}
	}
	if err := verify(cert, other, "localhost"); err == nil {
		t.Error("a foreign authority was accepted")
	}
	if err := verify(readCert(t, expired), ca, "localhost"); err == nil || !strings.Contains(err.Error(), "expired") {
		t.Errorf("expired certificate: %v", err)
	}
}

func readCert(t *testing.T, file string) *x509.Certificate {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(data)
	if block == nil {
		t.Fatalf("%s is not PEM", file)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func verify(cert *x509.Certificate, ca *CA, host string) error {
	_, err := cert.Verify(x509.VerifyOptions{
		DNSName:   host,
		Roots:     ca.Pool(),
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	})
	return err
}

// TestServersDieWithTheTestBinary runs itself a second time as a test binary that starts a server and is then killed
// before it can clean up.
func TestServersDieWithTheTestBinary(t *testing.T) {
	const child = "DRD_TEST_STARTS_ETCD_AND_WAITS"
	if os.Getenv(child) != "" {
		fmt.Printf("pid=%d\n", StartEtcd(t, EtcdConfig{}).PID())
		time.Sleep(time.Minute)
		t.Fatal("nobody killed this process")
	}

	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), child+"=1", "TMPDIR="+t.TempDir()) // it will not clean up
	cmd.SysProcAttr = ownGroup()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid := readPID(t, out)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // says that it was killed

	deadline := time.Now().Add(20 * time.Second)
	for alive(pid) {
		if time.Now().After(deadline) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
			t.Fatalf("etcd (process %d) outlived the test binary that started it", pid)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// alive tells whether the process runs. One that ended stays visible until its new parent has asked for its status.
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(stat), ") Z ")
}

func readPID(t *testing.T, from io.Reader) int {
	t.Helper()
	var text strings.Builder
	buf := make([]byte, 1024)
	for {
		n, err := from.Read(buf)
		text.Write(buf[:n])
		if _, after, found := strings.Cut(text.String(), "pid="); found {
			if digits, _, complete := strings.Cut(after, "\n"); complete {
				pid, err := strconv.Atoi(digits)
				if err != nil {
					t.Fatal(err)
				}
				return pid
			}
		}
		if err != nil {
			t.Fatalf("the other test binary ended early:\n%s", text.String())
		}
	}
}

// fatal runs f with a testing.TB whose Fatalf it survives, and returns what that said.
func fatal(t *testing.T, f func(tb testing.TB)) string {
	t.Helper()
	rec := &recorder{TB: t}
	var wg sync.WaitGroup
	wg.Go(func() { f(rec) })
	wg.Wait()
	if rec.message == "" {
		t.Fatal("nothing failed, want a failure")
	}
	return rec.message
}

type recorder struct {
	testing.TB
	message string
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.message = fmt.Sprintf(format, args...)
	runtime.Goexit()
}
