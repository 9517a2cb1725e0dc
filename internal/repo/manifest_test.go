package repo

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// full is a manifest with every field set; testdata/manifest.json is its form and the example of
// docs/format.md.
func full() *Manifest {
	m := sample(at(0, 48211, memberA), []byte("payload"))
	slot := testTime
	m.TimelineParent = "b67c90a1e4f05d38"
	m.Timeline = "5f0d3c2ab19e7746"
	m.Member.Name = "cp-1"
	m.Slot = &slot
	m.CompactRevision, m.HashKV.CompactRevision = 45000, 45000
	m.RaftIndex = 61822
	leader := "fd422379fda50e48"
	m.Leader = &leader
	m.Compared = []Comparison{
		{Member: "b1f4c9e07a6d2253", Hash: 1864247072, Revision: 45000, CompactRevision: 42000, Result: ResultEqual},
		{Member: "fd422379fda50e48", Endpoint: "https://10.0.0.3:2379", Result: ResultNotCompared, Reason: "connection refused"},
	}
	m.Alarms = []string{"NOSPACE"}
	m.Leases = 3
	m.AuthEnabled = true
	m.Drd.FIPSModule = "v1.0.0"
	m.Previous = strings.Repeat("0c", 32)
	m.Audit = &Audit{Host: "cp-1", Sequence: 318, SHA256: "9c56cc51b374c3ba189210d5b6d4bf57790d351c96c47c02190ecf1e430635ab"}
	m.Distro = map[string]string{"name": "kubeadm", "version": "v1.37.2"}
	return m
}

func TestManifestForm(t *testing.T) {
	want, err := os.ReadFile("testdata/manifest.json")
	if err != nil {
		t.Fatal(err)
	}
	got, err := EncodeJSON(full())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("the form of a manifest changed; what is stored must stay readable (-want +got):\n%s", diff)
	}
}

// What was written before leader and learner were recorded reads as ever, and does not claim that there was no leader.
func TestManifestWithoutLeader(t *testing.T) {
	b, err := os.ReadFile("testdata/manifest-without-leader.json")
	if err != nil {
		t.Fatal(err)
	}
	got, err := DecodeManifest(b)
	if err != nil {
		t.Fatal(err)
	}
	want := full()
	want.Leader, want.Audit = nil, nil
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// What was written before the audit log was recorded reads as ever, and is rendered as it was, byte for byte.
func TestManifestWithoutAudit(t *testing.T) {
	b, err := os.ReadFile("testdata/manifest-without-audit.json")
	if err != nil {
		t.Fatal(err)
	}
	got, err := DecodeManifest(b)
	if err != nil {
		t.Fatal(err)
	}
	want := full()
	want.Audit = nil
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	again, err := EncodeJSON(got)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(b), string(again)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestManifestRoundTrip(t *testing.T) {
	alone := sample(at(0, 2, memberB), []byte("x"))
	alone.Leader, alone.Learner = new(string), true
	for name, m := range map[string]*Manifest{"full": full(), "least": sample(at(0, 1, memberB), []byte("x")), "cut off": alone} {
		b, err := EncodeJSON(m)
		if err != nil {
			t.Fatal(err)
		}
		got, err := DecodeManifest(b)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(m, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestValidate(t *testing.T) {
	if err := full().Validate(); err != nil {
		t.Fatal(err)
	}
	local := time.FixedZone("CET", 3600)
	for _, c := range []struct {
		want   string
		change func(*Manifest)
	}{
		{"format: 2", func(m *Manifest) { m.Format = 2 }},
		{"is not a snapshot ID", func(m *Manifest) { m.ID = "latest" }},
		{"id: time", func(m *Manifest) { m.CaptureStart = m.CaptureStart.Add(-time.Second) }},
		{"id: revision", func(m *Manifest) { m.Revision++ }},
		{"id: member", func(m *Manifest) { m.Member.ID = "1" }},
		{"cluster name", func(m *Manifest) { m.Cluster = "../other" }},
		{"etcd_cluster_id", func(m *Manifest) { m.EtcdClusterID = "0abc" }},
		{"etcd_cluster_id", func(m *Manifest) { m.EtcdClusterID = "" }},
		{"timeline:", func(m *Manifest) { m.Timeline = "" }},
		{"timeline_parent:", func(m *Manifest) { m.TimelineParent = "x" }},
		{"timeline_parent: equals", func(m *Manifest) { m.TimelineParent = m.Timeline }},
		{"previous", func(m *Manifest) { m.Previous = "x" }},
		{"UTC", func(m *Manifest) { m.CaptureStart = m.CaptureStart.In(local) }},
		{"UTC", func(m *Manifest) { m.CaptureEnd = m.CaptureEnd.In(local) }},
		{"slot", func(m *Manifest) { *m.Slot = m.Slot.In(local) }},
		{"slot", func(m *Manifest) { *m.Slot = time.Time{} }},
		{"capture_end is before", func(m *Manifest) { m.CaptureEnd = m.CaptureStart.Add(-1) }},
		{"compact_revision", func(m *Manifest) { m.CompactRevision = -2 }},
		{"compact_revision", func(m *Manifest) { m.CompactRevision = m.Revision + 1 }},
		{"hashkv", func(m *Manifest) { m.HashKV.Revision-- }},
		{"hashkv", func(m *Manifest) { m.HashKV.CompactRevision = -1 }},
		{"keys", func(m *Manifest) { m.Keys = -1 }},
		{"keys", func(m *Manifest) { m.Keys = m.Revisions + 1 }},
		{"leases", func(m *Manifest) { m.Leases = -1 }},
		{"leader", func(m *Manifest) { *m.Leader = "0" }},
		{"compared: 65 entries, at most 64", func(m *Manifest) { m.Compared = make([]Comparison, 65) }},
		{"object.recipients: 257 entries, at most 256", func(m *Manifest) { m.Object.Recipients = make([]string, 257) }},
		{"alarms: 65 entries, at most 64", func(m *Manifest) { m.Alarms = make([]string, 65) }},
		{"distro: 65 entries, at most 64", func(m *Manifest) {
			for i := range 63 {
				m.Distro[strconv.Itoa(i)] = ""
			}
		}},
		{"compared[1]", func(m *Manifest) { m.Compared[1].Reason = "" }},
		{"compared[0].result", func(m *Manifest) { m.Compared[0].Result = "same" }},
		{"compared[0].member", func(m *Manifest) { m.Compared[0].Member = "" }},
		{"db_size", func(m *Manifest) { m.DBSize, m.Plain.Size = 0, 32 }},
		{"plain.size", func(m *Manifest) { m.Plain.Size = m.DBSize }},
		{"plain.sha256", func(m *Manifest) { m.Plain.SHA256 = strings.Repeat("AB", 32) }},
		{"object.sha256", func(m *Manifest) { m.Object.SHA256 = "" }},
		{"object.size", func(m *Manifest) { m.Object.Size = 0 }},
		{"object.name", func(m *Manifest) { m.Object.Name = "manifest.json" }},
		{"object.name", func(m *Manifest) { m.Object.Name = "snapshot.db/../../x" }},
		{"object.name", func(m *Manifest) { m.Object.Name = "snapshot.db" }}, // plain text is never stored
		{"object.envelope", func(m *Manifest) { m.Object.Envelope = "" }},
		{"object.recipients", func(m *Manifest) { m.Object.Recipients = nil }},
		{"audit.host: \"\\x1b", func(m *Manifest) { m.Audit.Host = "\x1b[2J" }},
		{"audit.host: 256 bytes", func(m *Manifest) { m.Audit.Host = strings.Repeat("x", 256) }},
		{"audit.sequence: 0", func(m *Manifest) { m.Audit.Sequence = 0 }},
		{"audit.sha256", func(m *Manifest) { m.Audit.SHA256 = strings.ToUpper(m.Audit.SHA256) }},
		{"audit.sequence: 0", func(m *Manifest) { *m.Audit = Audit{} }},
		{"drd.version", func(m *Manifest) { m.Drd.Version = "" }},
		{"member.name", func(m *Manifest) { m.Member.Name = "\x1b[2J" }},
		{"alarms", func(m *Manifest) { m.Alarms[0] = "a\nb" }},
		{"compared:", func(m *Manifest) { m.Compared[0].Endpoint = "\u202e" }},
		{"distro", func(m *Manifest) { m.Distro["x"] = "\x00" }},
		{"distro", func(m *Manifest) { m.Distro["\x00"] = "x" }},
	} {
		m := full()
		c.change(m)
		err := m.Validate()
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("Validate() = %v, want %q in it", err, c.want)
		}
	}
}

func TestAuditHost(t *testing.T) {
	for name, want := range map[string]string{"": "", "cp-1.example.com": "cp-1.example.com", "a\x1b\nb\xff": "a?; b?", strings.Repeat("ä", 200): strings.Repeat("ä", 126) + "…"} {
		if got := AuditHost(name); got != want {
			t.Errorf("AuditHost(%q) = %q, want %q", name, got, want)
		}
		m := full()
		m.Audit.Host = AuditHost(name)
		if err := m.Validate(); err != nil {
			t.Error(err)
		}
	}
}

func TestValidateBoundsItsError(t *testing.T) {
	m := full()
	m.Timeline = strings.Repeat("x", 100_000)
	m.Compared = make([]Comparison, 10_000)
	wantError(t, m.Validate(), "timeline", "more")
	if n := len(m.Validate().Error()); n > 2000 {
		t.Errorf("the error has %d bytes", n)
	}
}

// edit replaces text in the JSON form of a valid manifest.
func edit(t *testing.T, from, to string) []byte {
	t.Helper()
	b, err := EncodeJSON(full())
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(b, []byte(from)) {
		t.Fatalf("no %q in the manifest", from)
	}
	return bytes.Replace(b, []byte(from), []byte(to), 1)
}

func TestDecodeManifestRefuses(t *testing.T) {
	for _, c := range []struct {
		name string
		b    []byte
		want string
	}{
		{"nothing", nil, "not JSON"},
		{"null", []byte("null"), "format is missing"},
		{"list", []byte("[]"), "cannot unmarshal"},
		{"half", []byte(`{"format": 1`), "not JSON"},
		{"two", append(edit(t, "{", "{"), "{}"...), "not JSON"},
		{"no format", edit(t, `"format": 1,`, ""), "format is missing"},
		{"text for number", edit(t, `"revision": 48211`, `"revision": "48211"`), "cannot unmarshal"},
		{"fraction", edit(t, `"revision": 48211`, `"revision": 48211.5`), "cannot unmarshal"},
		{"too large a number", edit(t, `"revision": 48211`, `"revision": 9223372036854775808`), "cannot unmarshal"},
		{"null revision", edit(t, `"revision": 48211`, `"revision": null`), "revision"},
		{"same key twice", edit(t, `"revision": 48211`, `"revision": 48211, "revision": 48211`), "occurs twice"},
		{"same key in other case", edit(t, `"revision": 48211`, `"revision": 48211, "Revision": 1`), "occurs twice"},
		{"same key folded", edit(t, `"keys": 7`, `"keys": 7, "`+"\u212a"+`eys": 7`), "occurs twice"},
		{"same key inside", edit(t, `"name": "cp-1"`, `"name": "cp-1", "name": "cp-2"`), "occurs twice"},
		{"audit twice", edit(t, `"audit": {`, `"audit": null, "audit": {`), "occurs twice"},
		{"local time", edit(t, `10:00:03Z`, `11:00:03+01:00`), "UTC"},
		{"not UTF-8", edit(t, `cp-1`, "cp\xff"), "UTF-8"},
		{"deep", []byte(strings.Repeat("[", maxManifest)), "not JSON"},
		{"huge", bytes.Repeat([]byte(" "), maxManifest+1), "larger than"},
	} {
		m, err := DecodeManifest(c.b)
		if err == nil {
			t.Errorf("%s: %+v, want an error", c.name, m)
			continue
		}
		wantError(t, err, c.want)
	}
}

func TestDecodeManifestOfLaterFormat(t *testing.T) {
	_, err := DecodeManifest([]byte(`{"format": 2, "id": {"now": "an object"}}`))
	if !errors.Is(err, ErrNewerFormat) {
		t.Errorf("error is %v", err)
	}
	wantError(t, err, "format 2", "upgrade drd")
}

func TestDecodeManifestIgnoresUnknownFields(t *testing.T) {
	got, err := DecodeManifest(edit(t, `"format": 1,`, `"format": 1, "weather": {"sky": ["blue"]},`))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(full(), got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestSign(t *testing.T) {
	s, trust := signer(t)
	m := full()
	signed, err := Sign(m, s)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := trust.Verify(signed.Bytes, signed.Signature, m.CaptureStart); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(m, signed.Manifest); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if want := Digest(signed.Bytes); signed.Digest() != want {
		t.Errorf("Digest() = %s, want %s", signed.Digest(), want)
	}
	if !json.Valid(signed.Bytes) || !bytes.HasSuffix(signed.Bytes, []byte("}\n")) {
		t.Errorf("not JSON with a newline at its end: %s", signed.Bytes)
	}
}

func TestSignRefuses(t *testing.T) {
	s, _ := signer(t)
	m := full()
	m.Revision = 1
	_, err := Sign(m, s)
	wantError(t, err, "sign "+m.ID, "revision")

	m = full()
	m.Distro["kernel"] = strings.Repeat("x", maxManifest)
	_, err = Sign(m, s)
	wantError(t, err, "larger than")
}

func FuzzDecodeManifest(f *testing.F) {
	for _, m := range []*Manifest{full(), sample(at(0, 1, memberB), []byte("x"))} {
		b, err := EncodeJSON(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte(`{"format": 2}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := DecodeManifest(b)
		if err != nil {
			return
		}
		if err := m.Validate(); err != nil {
			t.Fatalf("decoded and not valid: %v", err)
		}
		again, err := EncodeJSON(m)
		if err != nil {
			t.Fatalf("decoded and not encoded: %v", err)
		}
		if len(again) > maxManifest {
			return // indentation made it so
		}
		got, err := DecodeManifest(again)
		if err != nil {
			t.Fatalf("encoded and not decoded: %v", err)
		}
		if diff := cmp.Diff(m, got); diff != "" {
			t.Fatalf("(-first +second):\n%s", diff)
		}
	})
}
