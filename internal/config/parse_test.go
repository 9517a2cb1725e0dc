package config

import (
	"fmt"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/drd-project/drd/internal/seal"
)

const testRecipient = "age1jpz8m26n48uh478mgjprg0y28fftsa6tsuudrkkfxt8n32q2uvyqdsa3le"

// smallest is the least a file can say.
const smallest = `cluster: prod
etcd: {endpoints: [https://127.0.0.1:2379]}
seal: {recipients: [` + testRecipient + `]}
signing: {key_file: /etc/drd/signing.key}
targets: [{name: nas, dir: /mnt/nas}]
`

func mustParse(t *testing.T, text string) *Config {
	t.Helper()
	c, err := parse("drd.yaml", []byte(text), fixedEnv)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func readTestdata(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestParseEverything(t *testing.T) {
	want := &Config{
		Cluster: "prod-east",
		Etcd: Etcd{
			Endpoints: []string{"https://127.0.0.1:2379", "https://[::1]:2379"},
			CAFile:    "/etc/etcd/ca.crt", CertFile: "/etc/etcd/drd.crt", KeyFile: "/etc/etcd/drd.key",
			Username: "backup", PasswordFile: "/etc/drd/etcd.password", DialTimeout: 3 * time.Second,
		},
		StateDir: "/srv/drd", SpoolMaxBytes: 20 << 30, SpoolKeep: 2, RuntimeDir: "/run/drd-prod",
		Snapshot: Snapshot{
			Schedule: "30 */4 * * *", Timezone: "Europe/Berlin",
			Stagger: 90 * time.Second, Jitter: 10 * time.Second, StallTimeout: 2 * time.Minute,
			HashMembersBelow: 128 << 20,
		},
		Archive: Archive{Enabled: true, FlushInterval: 90 * time.Second, KeepWithin: 14 * 24 * time.Hour},
		Seal:    Seal{Recipients: []string{testRecipient}, RecipientsFile: "/etc/drd/recipients.txt"},
		Signing: Signing{KeyFile: "/etc/drd/signing.key"},
		Trust:   Trust{File: "/etc/drd/allowed_signers"},
		Targets: []Target{
			{Name: "primary", ReadBack: ReadBackChecksum, UploadLimit: 20 << 20, DownloadLimit: 1 << 30, S3: &S3{
				Bucket: "prod-backups", Prefix: "etcd/east", Region: "eu-central-1",
				Endpoint: "https://s3.example.com", CAFile: "/etc/drd/s3-ca.crt", PathStyle: true,
				CredentialsFile: "/etc/drd/credentials", Profile: "backup",
				SSE: SSEKMS, KMSKeyID: "alias/etcd", StorageClass: "STANDARD_IA",
				PartSize: 32_000_000, Checksum: ChecksumRequired,
				ObjectLock: ObjectLock{Mode: LockGovernance, Days: 30},
			}},
			{Name: "lab", ReadBack: ReadBackFull, S3: &S3{
				Bucket: "lab", Region: "us-east-1", Endpoint: "http://minio.lab:9000", AllowPlainHTTP: true,
				PartSize: 8 << 20, Checksum: ChecksumAuto,
			}},
			{Name: "nas", ReadBack: ReadBackFull, Dir: "/mnt/nas/a$b"},
		},
		Retention: Retention{KeepWithin: 48 * time.Hour, Last: 8, Hourly: 24, Daily: 7, Weekly: 5, Monthly: 12, Yearly: 3, MinCopies: 2},
		Verify: Verify{
			Schedule: "@daily", IdentityFile: "/etc/drd/drill.key", EtcdBinary: "/usr/local/bin/etcd", ScratchDir: "/srv/scratch",
			CoverWithin: 14 * day, Fresh: FreshDrill, MemoryLimit: 3 << 30,
		},
		Metrics: Metrics{Listen: "0.0.0.0:9877", WebConfigFile: "/etc/drd/web.yaml", Textfile: "/var/lib/node_exporter/drd.prom", HeartbeatURLFile: "/etc/drd/heartbeat.url"},
	}
	got := mustParse(t, readTestdata(t, "testdata/full.yaml"))
	if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(Config{})); diff != "" {
		t.Error(diff)
	}
	assertEveryKeySet(t, want)
}

// assertEveryKeySet fails when a key was added that full.yaml does not set, so that no key goes
// without a test.
func assertEveryKeySet(t *testing.T, c *Config) {
	t.Helper()
	set := make(map[string]bool)
	index := regexp.MustCompile(`\[\d+\]`)
	walk(reflect.ValueOf(c).Elem(), "", func(f field, at string) {
		if !f.value.IsZero() {
			set[index.ReplaceAllString(at, "[]")] = true
		}
	})
	for _, k := range everyKey() {
		if !set[k.path] {
			t.Errorf("%s has no value in testdata/full.yaml", k.path)
		}
	}
}

func TestParseDefaults(t *testing.T) {
	want := defaults()
	want.Cluster = "prod"
	want.Etcd.Endpoints = []string{"https://127.0.0.1:2379"}
	want.Seal.Recipients = []string{testRecipient}
	want.Signing.KeyFile = "/etc/drd/signing.key"
	want.Targets = []Target{{Name: "nas", Dir: "/mnt/nas", ReadBack: ReadBackFull}}
	want.Archive.KeepWithin = 7 * day
	got := mustParse(t, smallest)
	if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(Config{})); diff != "" {
		t.Error(diff)
	}
}

// TestArchiveKeepWithin: the archive reaches back as far as the snapshots do, and a week at least, unless somebody says otherwise.
func TestArchiveKeepWithin(t *testing.T) {
	for _, tc := range []struct {
		text string
		want time.Duration
	}{
		{"retention: {last: 3}", 7 * day},
		{"retention: {keep_within: 48h}", 7 * day},
		{"retention: {keep_within: 30d}", 30 * day},
		{"retention: {keep_within: 30d}\narchive: {keep_within: 1h}", time.Hour},
		{"archive: {keep_within: 10d}", 10 * day},
	} {
		if got := mustParse(t, smallest+tc.text+"\n").Archive.KeepWithin; got != tc.want {
			t.Errorf("%s: %s, want %s", tc.text, got, tc.want)
		}
	}
	for _, text := range []string{"archive: {keep_within: 59m}", "archive: {keep_within: 0s}", "archive: {keep_within: 36501d}"} {
		if _, err := parse("drd.yaml", []byte(smallest+text+"\n"), fixedEnv); err == nil || !strings.Contains(err.Error(), "archive.keep_within") {
			t.Errorf("%s: error %v", text, err)
		}
	}
}

// verifier is the least that the file of a verifier host can say.
const verifier = `cluster: prod
trust: {file: /etc/drd/allowed_signers}
targets: [{name: nas, dir: /mnt/nas}]
verify: {identity_file: /etc/drd/drill.key}
`

func TestVerifier(t *testing.T) {
	for _, more := range []string{
		"", "signing: {key_file: /etc/drd/signing.key}", "snapshot: {timezone: Europe/Berlin}", "state_dir: /srv/drd", "metrics: {listen: '127.0.0.1:1'}",
	} {
		c := mustParse(t, verifier+more)
		if !c.Verifier() || c.Verify != (Verify{IdentityFile: "/etc/drd/drill.key", CoverWithin: 30 * day, Fresh: FreshData}) {
			t.Errorf("with %q: verifier %t, %+v", more, c.Verifier(), c.Verify)
		}
		again := mustParse(t, string(c.Redacted()))
		if diff := cmp.Diff(c, again, cmpopts.IgnoreUnexported(Config{})); diff != "" {
			t.Errorf("with %q: shown as\n%s\n%s", more, c.Redacted(), diff)
		}
	}
	if mustParse(t, smallest+"verify: {schedule: '@daily'}").Verifier() {
		t.Error("a node that takes snapshots is said to be a verifier host")
	}
}

func TestScratch(t *testing.T) {
	for more, want := range map[string]string{
		"":                    "/var/lib/drd/scratch",
		"state_dir: /srv/drd": "/srv/drd/scratch",
		"verify: {scratch_dir: /mnt/fast/drills}": "/mnt/fast/drills",
	} {
		if got := mustParse(t, smallest+more).Scratch(); got != want {
			t.Errorf("%q: %s, want %s", more, got, want)
		}
	}
}

func TestDrillTicks(t *testing.T) {
	if ticks, err := mustParse(t, smallest).DrillTicks(); ticks != nil || err != nil {
		t.Errorf("ticks without a schedule: %v, %v", ticks, err)
	}
	c := mustParse(t, smallest+"snapshot: {timezone: Europe/Berlin}\nverify: {schedule: '30 3 * * *'}")
	ticks, err := c.DrillTicks()
	if err != nil {
		t.Fatal(err)
	}
	got := ticks.Next(time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)).UTC()
	if want := time.Date(2026, 11, 22, 2, 30, 0, 0, time.UTC); !got.Equal(want) {
		t.Errorf("the first tick is %s, want %s", got, want)
	}
}

func TestParseAccepts(t *testing.T) {
	for _, tc := range []struct{ name, more string }{
		{"recipients file alone", "seal: {recipients_file: /etc/drd/recipients}"},
		{"lowest stagger", "snapshot: {stagger: 0s}"},
		{"zero without unit is a size", "snapshot: {hash_members_below: 0}"},
		{"every", `snapshot: {schedule: "@every 90m"}`},
		{"loopback by name", "metrics: {listen: 'localhost:9877'}"},
		{"loopback in IPv6", "metrics: {listen: '[::1]:9877'}"},
		{"lock and class", "targets: [{name: a, s3: {bucket: b.c-d, region: r, storage_class: GLACIER_IR, object_lock: {mode: compliance, days: 36500}}}]"},
		{"encryption in flow style", "targets: [{name: a, s3: {bucket: bkt, region: r, sse: aws:kms, kms_key_id: arn:aws:kms:eu-central-1:1:key/2}}]"},
		{"two prefixes of one bucket", "targets: [{name: a, s3: {bucket: bkt, region: r, prefix: x}}, {name: b, s3: {bucket: bkt, region: r, prefix: y}}]"},
		{"plain http to etcd", "etcd: {endpoints: ['http://127.0.0.1:2379', 'http://127.0.0.1:2479']}"},
		{"windows line ends", "metrics: {listen: '127.0.0.1:1'}\r\n# end\r\n"},
		{"nothing fresh", "verify: {fresh: none}"},
		{"archive and verify", "archive: {enabled: true}\nverify: {schedule: '@weekly'}"},
		{"json", `retention: {"keep_within": "36h", "last": 3}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			replaced, _, _ := strings.Cut(tc.more, ":")
			var kept []string
			for line := range strings.Lines(smallest) {
				if !strings.HasPrefix(line, replaced+":") {
					kept = append(kept, line)
				}
			}
			mustParse(t, strings.Join(kept, "")+tc.more)
		})
	}
}

func TestMixedRecipientsAreRefused(t *testing.T) {
	_, hybrid, err := seal.GenerateIdentity(true)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(smallest, testRecipient, testRecipient+", "+hybrid, 1)
	_, err = parse("drd.yaml", []byte(text), fixedEnv)
	place := fmt.Sprintf("drd.yaml:3:%d: seal.recipients[1]: ", len("seal: {recipients: [")+len(testRecipient)+len(", ")+1)
	if err == nil || !strings.HasPrefix(err.Error(), place) {
		t.Errorf("got %v, want an error at %s", err, place)
	}
}

func TestVariables(t *testing.T) {
	t.Setenv("DRD_TEST_CLUSTER", "from-environment")
	c, err := Parse("drd.yaml", []byte(strings.Replace(smallest, "prod", "${DRD_TEST_CLUSTER}", 1)))
	if err != nil || c.Cluster != "from-environment" {
		t.Fatalf("got %+v, %v", c, err)
	}
	for _, tc := range []struct{ in, want, problem string }{
		{"plain", "plain", ""},
		{"a${CLUSTER}b$$c", "aprod-eastb$c", ""},
		{"$${CLUSTER}", "${CLUSTER}", ""},
		{"${DOLLAR}", "a$b${CLUSTER}", ""}, // once: what a variable holds is data
		{"$CLUSTER", "", "neither"},
		{"${CLUSTER", "", "neither"},
		{"${}", "", "neither"},
		{"${1A}", "", "neither"},
		{"${A B}", "", "neither"},
		{"end$", "", "neither"},
		{"${MISSING}", "", "${MISSING} is not set"},
	} {
		got, err := expand(tc.in, fixedEnv)
		switch {
		case tc.problem == "" && (err != nil || got != tc.want):
			t.Errorf("expand(%q) = %q, %v; want %q", tc.in, got, err, tc.want)
		case tc.problem != "" && (err == nil || !strings.Contains(err.Error(), tc.problem)):
			t.Errorf("expand(%q) = %q, %v; want an error with %q", tc.in, got, err, tc.problem)
		}
	}
}
