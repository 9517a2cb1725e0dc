package proof

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/seal/sealtest"
)

// whole is a record with everything in it, the one that docs/format.md shows.
func whole() *Record {
	captured := time.Date(2026, 11, 22, 0, 0, 0, 250_000_000, time.UTC)
	return &Record{
		Kind: RecordKind, Format: RecordFormat, ID: "20261122T033112Z-cp-1", Cluster: testCluster, Host: "cp-1", Trigger: TriggerSchedule,
		Target:  Target{Name: "primary", Location: "s3://backups/etcd in eu-central-1"},
		Started: testTime, Ended: testTime.Add(72 * time.Second),
		Drills: []Drill{
			{
				Snapshot: "20261122T000000Z-r48211-8e9e05c52164694d", ManifestSHA256: digestA, CapturedAt: captured, Revision: 48211,
				Level: LevelDrill, Outcome: Passed, OpenedWith: "retained file key", Started: testTime.Add(time.Second), Seconds: 9.25,
				RecoverySeconds: 7.5, ObjectBytes: 104857600, DBSize: 734003200, Etcd: "3.7.0 (embedded)",
				Checks: []Check{
					{Name: "hashkv", Outcome: Passed, Expected: "3011152455", Found: "3011152455", Seconds: 0.8},
					{Name: "auth", Outcome: Skipped, Detail: "authentication is off"},
				},
				Kubernetes: &Kubernetes{
					Resources: map[string]int64{"secrets": 41}, Encodings: map[string]int64{"k8s:enc:aescbc:v1:key1": 41}, Undecodable: 0,
					Missing: []string{"namespaces/kube-system"},
				},
				Warnings: []string{"namespaces/kube-system is missing"},
			},
			{
				Snapshot: "20261108T000000Z-r40100-8e9e05c52164694d", ManifestSHA256: digestB, CapturedAt: captured.AddDate(0, 0, -14), Revision: 40100,
				Level: LevelDrill, Outcome: Failed, Cause: "object: SHA-256 differs from what was recorded", OpenedWith: "",
				Started: testTime.Add(11 * time.Second), Seconds: 3,
				Checks: []Check{{Name: "object", Outcome: Failed, Expected: digestA, Found: digestB, Detail: "SHA-256 differs", Seconds: 2.5}},
			},
		},
		Coverage: &Coverage{Period: "720h0m0s", Restorable: 34, Drilled: 31, NoKey: 2},
		Drd:      repo.Build{Version: "0.4.0"},
	}
}

func TestSign(t *testing.T) {
	keys := sealtest.New(t)
	s, trust := keys.Signer, keys.Trust
	rec := whole()
	signed, err := Sign(rec, s)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(whole(), rec); diff != "" {
		t.Errorf("Sign changed what it was given:\n%s", diff)
	}
	if diff := cmp.Diff(rec, signed.Record); diff != "" {
		t.Errorf("read back is other than signed:\n%s", diff)
	}
	want, err := os.ReadFile("testdata/record.json")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(signed.Bytes)); diff != "" {
		t.Errorf("the format changed:\n%s", diff)
	}
	if _, err := trust.Verify(signed.Bytes, signed.Signature, testTime); err != nil {
		t.Error(err)
	}
	if _, err := trust.Verify(append(signed.Bytes, ' '), signed.Signature, testTime); err == nil {
		t.Error("the signature covers other bytes too")
	}
}

// TestKinds: under one key and one namespace, neither document can stand in for the other.
func TestKinds(t *testing.T) {
	record, err := os.ReadFile("testdata/record.json")
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := os.ReadFile("../repo/testdata/manifest.json")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := repo.DecodeManifest(manifest); err != nil {
		t.Fatal(err)
	}
	if _, err := repo.DecodeManifest(record); err == nil {
		t.Error("a drill record passes for a manifest")
	}
	_, err = Decode(manifest)
	wantError(t, err, "is not "+RecordKind)
}

func TestDecodeRefuses(t *testing.T) {
	good, err := os.ReadFile("testdata/record.json")
	if err != nil {
		t.Fatal(err)
	}
	edit := func(old, with string) []byte {
		if bytes.Count(good, []byte(old)) < 1 {
			t.Fatalf("the record has no %q", old)
		}
		return bytes.Replace(good, []byte(old), []byte(with), 1)
	}
	many := func(n int, of string) string { return "[" + strings.Repeat(of+",", n-1) + of + "]" }
	check := `{"name":"x","outcome":"passed","seconds":0}`
	for name, c := range map[string]struct {
		b    []byte
		want string
	}{
		"too large":   {append(bytes.Clone(good), bytes.Repeat([]byte(" "), repo.MaxDrillRecord)...), "larger than"},
		"not UTF-8":   {edit(`"cp-1"`, "\"cp-\xff\""), "not UTF-8"},
		"a key twice": {edit(`"format": 1,`, `"format": 1, "Format": 1,`), "occurs twice"},
		"trailing":    {append(bytes.Clone(good), '{'), "not JSON"},
		"other kind":  {edit(RecordKind, "drd-manifest"), "kind"},
		"no format":   {edit(`"format": 1,`, ``), "format is missing"},
		"other host":  {edit(`"host": "cp-1"`, `"host": "cp-2"`), "is not of host"},
		"no ID":       {edit(`"20261122T033112Z-cp-1"`, `"../../x"`), "is not the ID of a drill record"},
		"other time":  {edit(`"20261122T033112Z-cp-1"`, `"20251122T033112Z-cp-1"`), "its time is not that of the end of the run"},
		"later time":  {edit(`"20261122T033112Z-cp-1"`, `"20261122T043112Z-cp-1"`), "its time is not that of the end of the run"},
		"old ID":      {edit(`"20261122T033112Z-cp-1"`, `"20261122T032500Z-cp-1"`), "its time is not that of the end of the run"},
		"long run":    {edit(`"started": "2026-11-22T03:30:00Z"`, `"started": "2026-11-01T03:30:00Z"`), "before the end"},
		"cluster":     {edit(`"prod-east"`, `"../etc"`), "cluster"},
		"trigger":     {edit(`"schedule"`, `"nobody"`), "trigger"},
		"target":      {edit(`"primary"`, `""`), "target"},
		"terminal":    {edit(`s3://backups`, `s3://\u001b[2J`), "target"},
		"long text":   {edit(`SHA-256 differs from`, strings.Repeat("x", maxText+1)), "one printable line"},
		"two lines":   {edit(`SHA-256 differs from`, `a\nb`), "one printable line"},
		"not UTC":     {edit(`"started": "2026-11-22T03:30:00Z"`, `"started": "2026-11-22T04:30:00+01:00"`), "UTC"},
		"ended early": {edit(`"ended": "2026-11-22T03:31:12Z"`, `"ended": "2026-11-22T03:29:59Z"`), "ended is before"},
		"no drills":   {edit(`"drills": [`, `"drills": [], "rest": [`), "drills: 0"},
		"snapshot":    {edit(`20261122T000000Z-r48211-8e9e05c52164694d`, `yesterday`), "drills[0].snapshot"},
		"level":       {edit(`"level": "drill"`, `"level": "all"`), "level"},
		"outcome": {edit(`"outcome": "failed",
      "cause"`, `"outcome": "skipped",
      "cause"`), "outcome"},
		"failed, no cause":   {edit(`"cause": "object: SHA-256 differs from what was recorded"`, `"cause": ""`), "cause"},
		"passed on nothing":  {edit(`"manifest_sha256": "`+digestA, `"manifest_sha256": "`), "manifest_sha256"},
		"digest":             {edit(`"manifest_sha256": "a1`, `"manifest_sha256": "A1`), "manifest_sha256"},
		"failed and passed":  {edit(`"outcome": "skipped"`, `"outcome": "failed"`), "failed in a drill that passed"},
		"negative":           {edit(`"object_bytes": 104857600`, `"object_bytes": -1`), "negative"},
		"seconds":            {edit(`"seconds": 9.25`, `"seconds": -9.25`), "seconds"},
		"centuries":          {edit(`"seconds": 9.25`, `"seconds": 1e300`), "seconds"},
		"no name":            {edit(`"name": "hashkv"`, `"name": ""`), "name: empty"},
		"too many checks":    {edit(`"checks": [`, `"checks": `+many(maxChecks+1, check)+`, "rest": [`), "more than 100 checks"},
		"too many drills":    {edit(`"drills": [`, `"drills": `+many(maxDrills+1, "{}")+`, "rest": [`), "drills: 101"},
		"negative census":    {edit(`"secrets": 41`, `"secrets": -1`), "counted negative"},
		"census to terminal": {edit(`"secrets": 41`, `"\u202e": 1`), "one printable line"},
		"coverage":           {edit(`"drilled": 31`, `"drilled": 35`), "contradict"},
		"period":             {edit(`"720h0m0s"`, `"a month"`), "period"},
		"wrong type":         {edit(`"revision": 48211`, `"revision": "48211"`), "revision"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Decode(c.b)
			wantError(t, err, c.want)
			if len(err.Error()) > 4000 {
				t.Errorf("the error has %d bytes", len(err.Error()))
			}
		})
	}
	_, err = Decode(edit("\"format\": 1,\n  \"id\": \"20261122T033112Z-cp-1\"", `"format": 2, "id": 7`))
	if !errors.Is(err, ErrNewerFormat) {
		t.Errorf("a later format: %v", err)
	}
	if _, err := Decode(edit(`"format": 1,`, `"format": 1, "of later": {"x": [1]},`)); err != nil {
		t.Errorf("an unknown field: %v", err)
	}
}

// TestSignCleans: what a run collected quotes servers, and must not keep the record from being written.
func TestSignCleans(t *testing.T) {
	s := sealtest.New(t).Signer
	rec := whole()
	rec.Started, rec.Ended = rec.Started.In(time.FixedZone("CET", 3600)), rec.Started.Add(-time.Minute)
	d := &rec.Drills[1]
	d.Cause = "first line\nsecond \x1b[2J" + strings.Repeat("ä", maxText)
	d.Checks[0].Detail = "a\tb"
	d.Seconds = 1.00000049
	d.Warnings = make([]string, 150)
	rec.Drills[0].Kubernetes.Resources = map[string]int64{}
	for i := range 1500 {
		rec.Drills[0].Kubernetes.Resources[fmt.Sprintf("r%04d", i)] = 2
	}
	signed, err := Sign(rec, s)
	if err != nil {
		t.Fatal(err)
	}
	got := signed.Record
	if !got.Ended.Equal(testTime) || got.Started.Location() != time.UTC {
		t.Errorf("started %s, ended %s", got.Started, got.Ended)
	}
	if c := got.Drills[1].Cause; !strings.HasPrefix(c, "first line; second ?[2Jää") || len(c) > maxText {
		t.Errorf("cause %q", c)
	}
	if got.Drills[1].Checks[0].Detail != "a?b" || got.Drills[1].Seconds != 1 || len(got.Drills[1].Warnings) != maxWarnings {
		t.Errorf("%+v", got.Drills[1])
	}
	if r := got.Drills[0].Kubernetes.Resources; len(r) != maxCounted || r[otherNames] != 2*501 {
		t.Errorf("%d resources, %d others", len(r), r[otherNames])
	}
	if len(d.Warnings) != 150 || !strings.Contains(d.Cause, "\n") {
		t.Error("Sign changed what it was given")
	}
}

func TestSplit(t *testing.T) {
	s := sealtest.New(t).Signer
	rec := whole()
	if got := Split(rec); len(got) != 1 || got[0] != rec {
		t.Errorf("a small record became %d", len(got))
	}
	big := rec.Drills[0]
	big.Kubernetes = &Kubernetes{Resources: map[string]int64{}}
	for i := range maxCounted {
		big.Kubernetes.Resources[fmt.Sprintf("resource-with-a-long-name-%060d", i)] = 1
	}
	rec.Drills = nil
	for range 7 {
		rec.Drills = append(rec.Drills, big)
	}
	if _, err := Sign(rec, s); !errors.Is(err, ErrTooLarge) {
		t.Fatalf("too large a record: %v", err)
	}
	parts, drills := Split(rec), 0
	for i, p := range parts {
		signed, err := Sign(p, s)
		if err != nil {
			t.Fatal(err)
		}
		drills += len(signed.Record.Drills)
		if (p.Coverage != nil) != (i == len(parts)-1) {
			t.Errorf("part %d: coverage %v", i, p.Coverage)
		}
	}
	if drills != 7 || len(parts) < 3 {
		t.Errorf("%d drills in %d parts", drills, len(parts))
	}
	for i := range maxCounted {
		big.Kubernetes.Resources[fmt.Sprintf("%0400d", i)] = 1
		delete(big.Kubernetes.Resources, fmt.Sprintf("resource-with-a-long-name-%060d", i))
	}
	rec.Drills = []Drill{big}
	parts = Split(rec)
	if signed, err := Sign(parts[0], s); err != nil || signed.Record.Drills[0].Kubernetes != nil || rec.Drills[0].Kubernetes == nil {
		t.Errorf("one large drill: %v", err)
	}
}

func FuzzDecode(f *testing.F) {
	good, err := os.ReadFile("testdata/record.json")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"kind":"drd-drill-record","format":1}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		rec, err := Decode(b)
		if err != nil {
			return
		}
		again, err := json.Marshal(rec)
		if err != nil {
			t.Fatal(err)
		}
		if len(again) > repo.MaxDrillRecord {
			return // other escapes than those that were read
		}
		read, err := Decode(again)
		if err != nil {
			t.Fatalf("what was accepted is refused when it is written again: %v", err)
		}
		if diff := cmp.Diff(rec, read); diff != "" {
			t.Error(diff)
		}
	})
}
