package preflight

import (
	"crypto/x509"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"

	"filippo.io/age/plugin"

	"github.com/drd-project/drd/internal/audit"
	"github.com/drd-project/drd/internal/config"
	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/s3"
	"github.com/drd-project/drd/internal/seal"
	"github.com/drd-project/drd/internal/seal/sealtest"
)

func wants(t *testing.T, got Check, status Status, detail string) {
	t.Helper()
	if got.Status != status || !strings.Contains(got.Detail, detail) || (status != OK) != (len(got.Hints) > 0) {
		t.Errorf("%+v, want %s, %q", got, status, detail)
	}
}

// TestValidity: a warning comes four weeks before the end of a certificate for years, and a tenth of its life before that of a
// short one.
func TestValidity(t *testing.T) {
	now := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		from, to time.Duration // from now
		status   Status
		detail   string
	}{
		"young":      {-day, 364 * day, OK, "for 364 days"},
		"four weeks": {-337 * day, 28*day - time.Minute, Warn, "ends at 2026-12-20T09:59:00Z, in 27 days"},
		"before":     {-336 * day, 29 * day, OK, "valid until"},
		"of a day":   {-12 * time.Hour, 12 * time.Hour, OK, "for 12h0m0s"},
		"day's end":  {-22 * time.Hour, 2 * time.Hour, Warn, "in 2h0m0s"},
		"ended":      {-2 * day, -time.Second, Fail, "c.crt ended at 2026-11-22T09:59:59Z"},
		"to come":    {time.Hour, 2 * day, Fail, "is not valid before 2026-11-22T11:00:00Z"},
	} {
		t.Run(name, func(t *testing.T) {
			wants(t, checkValidity("certificate", "c.crt", &x509.Certificate{NotBefore: now.Add(c.from), NotAfter: now.Add(c.to)}, now), c.status, c.detail)
		})
	}
}

func TestCompareClocks(t *testing.T) {
	wants(t, compareClocks("clock", "store", 200*time.Millisecond), OK, "within 1s of that of store")
	wants(t, compareClocks("clock", "store", -59*time.Second), OK, "within 59s")
	wants(t, compareClocks("clock", "store", 61*time.Second), Warn, "is 1m1s ahead of that of store")
	wants(t, compareClocks("clock", "store", -20*time.Minute), Warn, "is 20m0s behind that of store")
}

func TestRecipients(t *testing.T) {
	for recipient, source := range map[string]string{
		"age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p": "the manual of age",
		"age1yt3tfqlfrwdwx0z0ynwplcr6qxcxfaqycuprpmy89nr83ltx74tqdpszlw": "the manual of SOPS",
	} {
		r, err := seal.ParseRecipients([]string{recipient}, "")
		if err != nil {
			t.Fatal(err)
		}
		wants(t, checkRecipients(r), Fail, "is an example from "+source)
	}
	if len(published()) != 5 {
		t.Errorf("some of the published recipients cannot be read: %v", published())
	}
	wants(t, checkRecipients(sealtest.New(t).Recipients), OK, "sealed for SHA256:")
}

// TestIdentities: one that keygen left beside the signing key is found; the drills' own is there on purpose; one of
// somebody else's backups is not this node's affair.
func TestIdentities(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	identity, recipient, err := seal.GenerateIdentity(false)
	if err != nil {
		t.Fatal(err)
	}
	foreign, _, err := seal.GenerateIdentity(false)
	if err != nil {
		t.Fatal(err)
	}
	own, err := seal.ParseRecipients([]string{recipient}, "")
	if err != nil {
		t.Fatal(err)
	}
	log := newLogged(t)
	cfg := Config{Settings: &config.Config{Signing: config.Signing{KeyFile: filepath.Join(dir, "signing.key")}}, Recipients: own}
	wants(t, checkIdentities(log.ctx, cfg), OK, "none that opens the backups is in "+filepath.Join(dir, "identity.txt")+"; no other place was looked at")
	write("identity.txt", foreign)
	wants(t, checkIdentities(log.ctx, cfg), OK, "none")
	path := write("identity.txt", identity)
	wants(t, checkIdentities(log.ctx, cfg), Warn, path+" opens the backups of this node")
	cfg.Settings.Verify.IdentityFile = path
	wants(t, checkIdentities(log.ctx, cfg), OK, "the drills' own, "+path)
	if c, err := audit.Verify(log.cfg.AuditFile); err != nil || c.Records != 6 { // two for each time that it was read
		t.Errorf("%+v, %v", c, err)
	}
	write("identity.txt", foreign) // which proves nothing of this node's
	wants(t, checkIdentities(log.ctx, cfg), Fail, path+" (verify.identity_file) opens nothing")
	write("identity.txt", plugin.EncodeIdentity("drdtest", []byte("of a device"))) // nobody knows what it opens
	wants(t, checkIdentities(log.ctx, cfg), OK, path+", is of a plugin")
}

func TestTrust(t *testing.T) {
	keys := sealtest.New(t)
	cfg := Config{Settings: &config.Config{}, Signer: keys.Signer, Trust: keys.Trust}
	wants(t, checkTrust(cfg, 1), OK, "believes what it signed itself")
	wants(t, checkTrust(cfg, 3), Warn, "believes what it signed itself")
	cfg.Settings.Trust.File = "/etc/drd/allowed_signers"
	wants(t, checkTrust(cfg, 1), OK, "/etc/drd/allowed_signers has")
	wants(t, checkTrust(cfg, 3), Warn, "has 1 signing keys, and the cluster 3 members")
}

// TestSignerExpires: a key whose line in the allowed signers ends soon.
func TestSignerExpires(t *testing.T) {
	keys := sealtest.New(t)
	soon := time.Now().Add(10*day).UTC().Format("20060102") + "Z"
	trust, err := seal.ParseTrust([]byte("node valid-before=\""+soon+"\",namespaces=\"drd\" "+authorized(keys.Signer)), "allowed_signers")
	if err != nil {
		t.Fatal(err)
	}
	wants(t, checkSigner(Config{Signer: keys.Signer, Trust: trust}), Warn, "counts until")
}

func authorized(s *seal.Signer) string { return string(ssh.MarshalAuthorizedKey(s.PublicKey())) }

// TestFiles: who else could change what drd goes by.
func TestFiles(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil { // past the umask
		t.Fatal(err)
	}
	file := filepath.Join(dir, "config.yaml")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	state := filepath.Join(dir, "state")
	if err := os.Mkdir(state, 0o700); err != nil {
		t.Fatal(err)
	}
	target, log := filepath.Join(dir, "nas"), filepath.Join(state, "audit.jsonl")
	if err := errors.Join(os.MkdirAll(filepath.Join(target, "prod"), 0o700), os.WriteFile(log, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	settings := &config.Config{Cluster: "prod", Targets: []config.Target{{Name: "nas", Dir: target}}}
	cfg := Config{Settings: settings, ConfigFile: file, StateDir: state, AuditFile: log}
	for _, c := range []struct {
		path   string
		mode   os.FileMode
		status Status
		detail string
	}{
		{file, 0o644, OK, "nobody else can change"},
		{file, 0o664, Warn, "other users can change " + file + " (mode 0664)"},
		{file, 0o600, OK, "nobody else"},
		{dir, 0o777, Warn, "other users can change " + dir + " (mode 0777)"},
		{dir, 0o777 | os.ModeSticky, OK, "nobody else"},
		{state, 0o755, Warn, state + " is open to other users (mode 0755)"},
		{state, 0o700, OK, "nobody else"},
		{target, 0o777, Warn, "other users can change " + target + " (mode 0777)"},
		{target, 0o755, OK, "nobody else"},
		{filepath.Join(target, "prod"), 0o770, Warn, "other users can change " + target + "/prod (mode 0770)"},
		{filepath.Join(target, "prod"), 0o700, OK, "nobody else"},
		{log, 0o640, Warn, log + " is open to other users (mode 0640)"},
		{log, 0o600, OK, "nobody else"},
	} {
		if err := os.Chmod(c.path, c.mode); err != nil {
			t.Fatal(err)
		}
		checks := checkFiles(cfg)
		if len(checks) != 1 {
			t.Fatalf("%+v", checks)
		}
		wants(t, checks[0], c.status, c.detail)
	}
}

// TestAuditFile: what cannot be appended to records nothing; the files before it are looked at, too.
func TestAuditFile(t *testing.T) {
	newest := filepath.Join(t.TempDir(), "audit.jsonl")
	if err := checkAppend(newest); err != nil || len(auditFiles(newest)) != 0 {
		t.Errorf("before the first record: %v", err)
	}
	older := strings.TrimSuffix(newest, ".jsonl") + "-000000000007.jsonl"
	if err := errors.Join(os.WriteFile(newest, nil, 0o600), os.WriteFile(older, nil, 0o600), checkAppend(newest)); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]string{older, newest}, auditFiles(newest)); diff != "" {
		t.Error(diff)
	}
	if err := errors.Join(os.Rename(newest, older), os.Symlink(older, newest)); err != nil {
		t.Fatal(err)
	}
	wants(t, fail("audit log", checkAppend(newest)), Fail, "nothing can be recorded, so that nothing is pruned either: open "+newest+": too many levels of symbolic links")
}

// TestOwners: files of somebody else are found whatever their mode, those of etcd are etcd's affair.
func TestOwners(t *testing.T) {
	info, err := os.Stat("/proc/self/fd") // of this user
	if err != nil {
		t.Fatal(err)
	}
	if err := ownedAlone("/a b", foreignInfo{info}, true); err == nil || !strings.Contains(err.Error(), "/a b belongs to user 65534") || strings.Join(hint.Of(err), "") != "chown root:root '/a b'" {
		t.Errorf("%v, %q", err, hint.Of(err))
	}
	cfg := Config{ConfigFile: "/etc/drd/config.yaml", Settings: &config.Config{
		Etcd:    config.Etcd{CAFile: "/etcd/ca", CertFile: "/etcd/cert", KeyFile: "/etcd/key", PasswordFile: "/etc/drd/password"},
		Seal:    config.Seal{RecipientsFile: "/etc/drd/recipients"},
		Signing: config.Signing{KeyFile: "/etc/drd/signing.key"},
		Trust:   config.Trust{File: "/etc/drd/trust"},
		Targets: []config.Target{{S3: &config.S3{CAFile: "/etc/drd/ca", CredentialsFile: "/etc/drd/s3"}}},
		Verify:  config.Verify{IdentityFile: "/etc/drd/identity", EtcdBinary: "/opt/etcd"},
		Metrics: config.Metrics{WebConfigFile: "/etc/drd/web", HeartbeatURLFile: "/etc/drd/heartbeat", Textfile: "/var/lib/node_exporter/drd.prom"},
	}}
	want := []string{
		"/etc/drd/config.yaml", "/etc/drd/password", "/etc/drd/recipients", "/etc/drd/signing.key", "/etc/drd/trust", "/etc/drd/ca", "/etc/drd/s3",
		"/etc/drd/identity", "/opt/etcd", "/etc/drd/web", "/etc/drd/heartbeat",
	}
	if diff := cmp.Diff(want, filesOf(cfg)); diff != "" {
		t.Error(diff)
	}
}

// foreignInfo is of a file of nobody's.
type foreignInfo struct{ os.FileInfo }

func (foreignInfo) Sys() any { return &syscall.Stat_t{Uid: 65534} }

func TestMemory(t *testing.T) {
	meminfo := filepath.Join(t.TempDir(), "meminfo")
	if err := os.WriteFile(meminfo, []byte("MemTotal: 4000000 kB\nMemAvailable:    2097152 kB\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	wants(t, checkMemory(meminfo, 0, 100<<20), OK, "2.0 GiB available, a drill gets 1.0 GiB at most")
	wants(t, checkMemory(meminfo, 0, 2<<30), Warn, "with a database of 2.0 GiB it should have 2.2 GiB")
	wants(t, checkMemory(meminfo, 300<<20, 100<<20), Warn, "a drill gets 300.0 MiB")
	if got := checkMemory(meminfo+"x", 0, 1); got.Status != Warn || !strings.Contains(got.Detail, "no such file") {
		t.Errorf("%+v", got)
	}
}

func TestRoomForMore(t *testing.T) {
	here := t.TempDir()
	wants(t, checkSpool(here, 1), OK, "free for the 1 B that may wait")
	wants(t, checkSpool(here, math.MaxInt64), Warn, "up to 8.0 EiB may wait for targets")
	wants(t, checkScratch(here+"/to/be/made", 0), OK, "for drills")
	wants(t, checkScratch(here, 1<<60), Warn, "drills will be inconclusive")
}

// systemctl puts a program of that name first in the PATH, which answers with text and fails where that is empty.
func systemctl(t *testing.T, text string) {
	t.Helper()
	dir := t.TempDir()
	script := "#!/bin/sh\ncat <<'EOF'\n" + text + "\nEOF\n"
	if text == "" {
		script = "#!/bin/sh\nexit 1\n"
	}
	if err := os.WriteFile(filepath.Join(dir, "systemctl"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":/usr/bin:/bin")
}

// TestUnit goes through what systemd may say of the service.
func TestUnit(t *testing.T) {
	unit := filepath.Join(t.TempDir(), "drd.service")
	if err := os.WriteFile(unit, []byte("[Service]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	running := "LoadState=loaded\nActiveState=active\nUnitFileState=enabled\nNeedDaemonReload=no\nDropInPaths=\nFragmentPath=" + unit
	for name, c := range map[string]struct {
		says, shipped string
		want          []string // "status: name: part of the detail"
	}{
		"as it should be": {running, "[Service]\n", []string{"ok: service: is active", "ok: unit: " + unit}},
		"drop-ins":        {strings.Replace(running, "DropInPaths=", "DropInPaths=/etc/a.conf /etc/b.conf", 1), "[Service]\n", []string{"ok: service: ", "ok: unit: adapted by /etc/a.conf /etc/b.conf"}},
		"drift":           {running, "[Service]\nProtectSystem=strict\n", []string{"ok: service: ", "warning: unit: is not the unit of this drd"}},
		"not reloaded":    {strings.Replace(running, "Reload=no", "Reload=yes", 1), "[Service]\n", []string{"ok: service: ", "warning: unit: still goes by what was there before"}},
		"not at boot":     {strings.Replace(running, "=enabled", "=disabled", 1), "", []string{"warning: service: will not run after the next boot", "ok: unit: "}},
		"masked":          {strings.Replace(running, "=enabled", "=masked", 1), "", []string{"warning: service: will not run after the next boot: its unit file is masked", "ok: unit: "}},
		"for this boot":   {strings.Replace(running, "=enabled", "=enabled-runtime", 1), "", []string{"warning: service: will not run after the next boot", "ok: unit: "}},
		"all is well":     {running + "\nStatusText=last snapshot a; next b", "", []string{"ok: service: is active, and says: last snapshot a; next b", "ok: unit: "}},
		"in trouble": {running + "\nStatusText=no snapshot yet; the snapshot of 2026-11-23 00:00:00 UTC failed (attempt 2): connect to etcd: permission denied", "",
			[]string{"warning: service: failed (attempt 2): connect to etcd: permission denied", "ok: unit: "}},
		"stopped":    {strings.Replace(running, "=active", "=failed", 1), "", []string{"warning: service: is failed", "ok: unit: "}},
		"unknown":    {"LoadState=not-found\nActiveState=inactive", "", []string{"warning: service: is not known to systemd"}},
		"no systemd": {"", "", []string{"warning: service: is not known to systemd"}},
		"unit gone":  {running + "x", "[Service]\n", []string{"ok: service: ", "warning: unit: no such file"}},
	} {
		t.Run(name, func(t *testing.T) {
			systemctl(t, c.says)
			_, checks := checkUnit(t.Context(), Config{Unit: "drd.service", UnitFile: c.shipped})
			if len(checks) != len(c.want) {
				t.Fatalf("%+v, want %q", checks, c.want)
			}
			for i, want := range c.want {
				parts := strings.SplitN(want, ": ", 3)
				if got := checks[i]; string(got.Status) != parts[0] || got.Name != parts[1] || !strings.Contains(got.Detail, parts[2]) {
					t.Errorf("%+v, want %s", got, want)
				}
			}
		})
	}
	t.Setenv("PATH", t.TempDir())
	if _, checks := checkUnit(t.Context(), Config{Unit: "drd.service"}); len(checks) != 1 || !strings.Contains(checks[0].Detail, "no systemctl") {
		t.Errorf("%+v", checks)
	}
}

func TestKeptFor(t *testing.T) {
	for want, r := range map[int]config.Retention{
		0: {}, 1: {Last: 8}, 2: {KeepWithin: 36 * time.Hour}, 3: {Hourly: 49}, 7: {Daily: 7, KeepWithin: day}, 35: {Weekly: 5}, 372: {Monthly: 12}, 1098: {Yearly: 3, Monthly: 12},
	} {
		if got := keptFor(r); got != want {
			t.Errorf("%+v: %d days, want %d", r, got, want)
		}
	}
}

func TestRule(t *testing.T) {
	for _, c := range []struct {
		rule   s3.Rule
		kept   int
		status Status
		detail string
	}{
		{s3.Rule{ID: "r", Days: 400, Whole: true}, 0, Fail, `rule "r" deletes objects after 400 days, and without retention they are to be kept for ever`},
		{s3.Rule{ID: "r", Days: 7, Whole: true}, 7, Fail, "and retention keeps them for 7"},
		{s3.Rule{ID: "r", Days: 3}, 7, Fail, "(of a part of the objects)"},
		{s3.Rule{ID: "r", Days: 8, Whole: true}, 7, Warn, "also the last good ones"},
		{s3.Rule{ID: "r", Date: time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)}, 7, Fail, "deletes all objects at 2027-01-01"},
		{s3.Rule{ID: "r", Cold: "DEEP_ARCHIVE", ColdDays: 30}, 7, Fail, "moves objects to DEEP_ARCHIVE after 30 days"},
	} {
		got, bad := checkRule("lifecycle", c.rule, c.kept)
		if !bad {
			t.Errorf("%+v is let pass", c.rule)
		}
		wants(t, got, c.status, c.detail)
	}
	if got, bad := checkRule("lifecycle", s3.Rule{ID: "r", NoncurrentDays: 1}, 7); bad {
		t.Errorf("%+v", got)
	}
}
