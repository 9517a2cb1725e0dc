package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// site is a directory with a configuration that names files in it.
type site struct {
	dir, config string
}

func newSite(t *testing.T) site {
	t.Helper()
	dir := t.TempDir()
	s := site{dir, filepath.Join(dir, "config.yaml")}
	text := strings.ReplaceAll(`cluster: prod
etcd:
  endpoints: [https://127.0.0.1:2379]
  ca_file: DIR/ca.crt
seal:
  recipients_file: DIR/recipients
signing:
  key_file: DIR/signing.key
targets:
  - {name: nas, dir: DIR/not-mounted}
`, "DIR", dir)
	s.write(t, "config.yaml", text, 0o640)
	s.write(t, "ca.crt", "certificate", 0o644)
	s.write(t, "recipients", testRecipient+"\n", 0o644)
	s.write(t, "signing.key", "key", 0o600)
	return s
}

func (s site) write(t *testing.T, name, text string, mode os.FileMode) {
	t.Helper()
	path := filepath.Join(s.dir, name)
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil { // past the umask
		t.Fatal(err)
	}
}

func TestLoad(t *testing.T) {
	s := newSite(t)
	c, err := Load(s.config)
	if err != nil {
		t.Fatal(err)
	}
	if c.Cluster != "prod" || c.Signing.KeyFile != filepath.Join(s.dir, "signing.key") {
		t.Errorf("got %s", c.Redacted())
	}
}

func TestLoadChecksFiles(t *testing.T) {
	for _, tc := range []struct {
		name  string
		spoil func(t *testing.T, s site)
		want  string
	}{
		{"missing", func(t *testing.T, s site) {
			if err := os.Remove(filepath.Join(s.dir, "ca.crt")); err != nil {
				t.Fatal(err)
			}
		}, "DIR/config.yaml:4:12: etcd.ca_file: DIR/ca.crt: no such file or directory\n"},
		{"key for the group", func(t *testing.T, s site) { s.write(t, "signing.key", "key", 0o640) },
			"DIR/config.yaml:8:13: signing.key_file: DIR/signing.key is open to other users (mode 640)\n  hint: run `chmod 600 DIR/signing.key`\n"},
		{"key for the world", func(t *testing.T, s site) { s.write(t, "signing.key", "key", 0o604) },
			"DIR/config.yaml:8:13: signing.key_file: DIR/signing.key is open to other users (mode 604)\n  hint: run `chmod 600 DIR/signing.key`\n"},
		{"recipients anyone may add to", func(t *testing.T, s site) { s.write(t, "recipients", testRecipient, 0o666) },
			"DIR/config.yaml:6:20: seal.recipients_file: DIR/recipients can be changed by other users (mode 666)\n  hint: run `chmod go-w DIR/recipients`\n"},
		{"a directory", func(t *testing.T, s site) {
			if err := os.Remove(filepath.Join(s.dir, "ca.crt")); err != nil {
				t.Fatal(err)
			}
			if err := os.Mkdir(filepath.Join(s.dir, "ca.crt"), 0o700); err != nil {
				t.Fatal(err)
			}
		}, "DIR/config.yaml:4:12: etcd.ca_file: DIR/ca.crt is not a regular file\n"},
		{"two at once", func(t *testing.T, s site) {
			s.write(t, "signing.key", "key", 0o666)
			s.write(t, "ca.crt", "certificate", 0o664)
		}, "DIR/config.yaml:4:12: etcd.ca_file: DIR/ca.crt can be changed by other users (mode 664)\n  hint: run `chmod go-w DIR/ca.crt`\n" +
			"DIR/config.yaml:8:13: signing.key_file: DIR/signing.key is open to other users (mode 666)\n  hint: run `chmod 600 DIR/signing.key`\n"},
		{"bad recipient in the file", func(t *testing.T, s site) { s.write(t, "recipients", "# mine\nage1oops\n", 0o644) },
			"DIR/config.yaml:6:20: seal.recipients_file: DIR/recipients:2: malformed age recipient\n  hint: copy the whole recipient again: a character is missing or changed\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newSite(t)
			tc.spoil(t, s)
			_, err := Load(s.config)
			if err == nil {
				t.Fatal("accepted")
			}
			if diff := cmp.Diff(tc.want, strings.ReplaceAll(told(err), s.dir, "DIR")); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestLoadChecksPrograms: what drd starts must be a program that nobody else can replace.
func TestLoadChecksPrograms(t *testing.T) {
	for mode, want := range map[os.FileMode]string{
		0o755: "",
		0o644: "DIR/config.yaml:11:24: verify.etcd_binary: DIR/etcd is not executable (mode 644)\n",
		0o775: "DIR/config.yaml:11:24: verify.etcd_binary: DIR/etcd can be changed by other users (mode 775)\n  hint: run `chmod go-w DIR/etcd`\n",
	} {
		s := newSite(t)
		text := readTestdata(t, s.config)
		s.write(t, "etcd", "program", mode)
		s.write(t, "config.yaml", text+"verify: {etcd_binary:  "+filepath.Join(s.dir, "etcd")+"}\n", 0o600)
		_, err := Load(s.config)
		got := ""
		if err != nil {
			got = strings.ReplaceAll(told(err), s.dir, "DIR")
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("mode %o:\n%s", mode, diff)
		}
	}
}

func TestLoadChecksTheConfigItself(t *testing.T) {
	for _, tc := range []struct {
		name string
		make func(t *testing.T, s site)
		want string
	}{
		{"missing", func(t *testing.T, s site) {
			if err := os.Remove(s.config); err != nil {
				t.Fatal(err)
			}
		}, "read config: stat DIR/config.yaml: no such file or directory"},
		{"writable by the group", func(t *testing.T, s site) { s.write(t, "config.yaml", smallest, 0o660) },
			"read config: DIR/config.yaml can be changed by other users (mode 660)"},
		{"a device", func(_ *testing.T, s site) {}, "read config: /dev/zero is not a regular file"},
		{"huge", func(t *testing.T, s site) { s.write(t, "config.yaml", strings.Repeat("#\n", 1<<20), 0o600) },
			"read config: DIR/config.yaml has 2097152 bytes, a configuration has at most 1048576"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newSite(t)
			tc.make(t, s)
			if strings.Contains(tc.want, "/dev/zero") {
				s.config = "/dev/zero"
			}
			_, err := Load(s.config)
			if err == nil || strings.ReplaceAll(err.Error(), s.dir, "DIR") != tc.want {
				t.Errorf("got %v, want %s", err, tc.want)
			}
		})
	}
}

func TestShellQuote(t *testing.T) {
	for in, want := range map[string]string{
		"/etc/drd/a.key": "/etc/drd/a.key",
		"/srv/my keys":   "'/srv/my keys'",
		"/a'b":           `'/a'\''b'`,
	} {
		if got := shellQuote(in); got != want {
			t.Errorf("shellQuote(%s) = %s, want %s", in, got, want)
		}
	}
}
