package repo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/drd-project/drd/internal/seal"
	"github.com/drd-project/drd/internal/storage"
	"github.com/drd-project/drd/internal/storage/dir"
	"github.com/drd-project/drd/internal/storage/storagetest"
)

const archivePage = "../../docs/archive.md"

// sampleSegment is a valid segment for a payload.
func sampleSegment(first, last int64, payload []byte) *Segment {
	s := &Segment{
		Kind: SegmentKind, Format: SegmentFormat, Cluster: testCluster,
		EtcdClusterID: "cdf818194e3a8c32", Timeline: "00000000000000a1",
		Member: Member{ID: "8e9e05c52164694d", Name: "node-1"},
		First:  first, Last: last, Events: (last - first + 1) * 2,
		From: testTime, To: testTime.Add(5*time.Second + 250*time.Millisecond),
		CompactRevision:    48000,
		Checkpoints:        []Checkpoint{{Revision: 48000, CompactRevision: 47000, Hash: 3011152455, Member: "8e9e05c52164694d"}},
		LastRevisionSHA256: strings.Repeat("cd", 32),
		ClockSkewNote:      "the wall clock was 3 s behind times already recorded, which were held",
		Plain:              SegmentPlain{SHA256: strings.Repeat("ab", 32), Size: 2048},
		Object: Object{
			SHA256: Digest(payload), Size: int64(len(payload)),
			Envelope: "age-v1", Recipients: []string{"SHA256:6FyqkGZ0pJ9pJ3mJv0oY2pXK5d4bTlvH5n6G9T3WkXw"},
		},
		Previous: strings.Repeat("ef", 32), Base: "20261122T095500Z-r48100-8e9e05c52164694d",
		Drd: Build{Version: "0.5.0"},
	}
	s.Object.Name = s.Name().String() + ".zst.age"
	return s
}

func signSegment(t *testing.T, s *Segment, by *seal.Signer) *SignedSegment {
	t.Helper()
	signed, err := SignSegment(s, by)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

func TestSegmentRoundTrip(t *testing.T) {
	by, trust := signer(t)
	for name, s := range map[string]*Segment{
		"full":    sampleSegment(48212, 48230, []byte("payload")),
		"silence": sampleSegment(48212, 48211, []byte("payload")),
		"first":   sampleSegment(1, 0, []byte("payload")),
	} {
		t.Run(name, func(t *testing.T) {
			if s.Silence() {
				s.Events, s.LastRevisionSHA256 = 0, ""
			}
			signed := signSegment(t, s, by)
			if diff := cmp.Diff(s, signed.Segment); diff != "" {
				t.Errorf("read back differs:\n%s", diff)
			}
			manifest, signature := SplitSegmentRecord(signed.Record())
			if !bytes.Equal(manifest, signed.Bytes) || !bytes.Equal(signature, signed.Signature) {
				t.Error("the record falls apart in another place")
			}
			if _, err := trust.Verify(manifest, signature, s.To); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestSegmentValidate(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*Segment)
		want   string
	}{
		"another kind":           {func(s *Segment) { s.Kind = "drd-drill-record" }, "kind"},
		"another format":         {func(s *Segment) { s.Format = 2 }, "format"},
		"cluster":                {func(s *Segment) { s.Cluster = "../x" }, "cluster"},
		"etcd cluster":           {func(s *Segment) { s.EtcdClusterID = "0x1" }, "etcd_cluster_id"},
		"timeline":               {func(s *Segment) { s.Timeline = "a1" }, "timeline"},
		"member":                 {func(s *Segment) { s.Member.ID = "" }, "member.id"},
		"revision zero":          {func(s *Segment) { s.First = 0 }, "first"},
		"last before first":      {func(s *Segment) { s.Last = s.First - 2 }, "last"},
		"too few events":         {func(s *Segment) { s.Events = 1 }, "events"},
		"events in a silence":    {func(s *Segment) { s.Last = s.First - 1 }, "events"},
		"no times":               {func(s *Segment) { s.From = time.Time{} }, "from and to"},
		"local time":             {func(s *Segment) { s.To = s.To.In(time.FixedZone("", 3600)) }, "not times in UTC"},
		"time goes back":         {func(s *Segment) { s.To = s.From.Add(-1) }, "to is before from"},
		"compact revision":       {func(s *Segment) { s.CompactRevision = -2 }, "compact_revision"},
		"checkpoint":             {func(s *Segment) { s.Checkpoints[0].CompactRevision = 48001 }, "checkpoints[0]"},
		"checkpoint's member":    {func(s *Segment) { s.Checkpoints[0].Member = "x" }, "checkpoints[0].member"},
		"many checkpoints":       {func(s *Segment) { s.Checkpoints = make([]Checkpoint, 65) }, "65 entries"},
		"no hash at the end":     {func(s *Segment) { s.LastRevisionSHA256 = "" }, "last_revision_sha256"},
		"unprintable note":       {func(s *Segment) { s.ClockSkewNote = "\x1b[2J" }, "unprintable"},
		"long note":              {func(s *Segment) { s.ClockSkewNote = strings.Repeat("x", 201) }, "clock_skew_note"},
		"plain":                  {func(s *Segment) { s.Plain.Size = 3 }, "plain.size"},
		"object of another hash": {func(s *Segment) { s.Object.SHA256 = strings.Repeat("0", 64) }, "object.name"},
		"object elsewhere":       {func(s *Segment) { s.Object.Name = "../" + s.Object.Name }, "object.name"},
		"object like the record": {func(s *Segment) { s.Object.Name = s.Name().String() + ".signed" }, "object.name"},
		"no hash of the object":  {func(s *Segment) { s.Object.SHA256 = "" }, "object.sha256"},
		"recipients":             {func(s *Segment) { s.Object.Recipients = nil }, "recipients"},
		"previous":               {func(s *Segment) { s.Previous = "x" }, "previous"},
		"base":                   {func(s *Segment) { s.Base = "x" }, "base"},
		"drd":                    {func(s *Segment) { s.Drd.Version = "" }, "drd.version"},
		"merged of one":          {func(s *Segment) { s.Merged = merged(1) }, "merged.segments: 1"},
		"merged of too many":     {func(s *Segment) { s.Merged = merged(MaxMerged + 1) }, "merged.segments: 2001 entries"},
		"merged of a name":       {func(s *Segment) { s.Merged = merged(2); s.Merged.Segments[1] = "ABCDEF01" }, "merged.segments[1]"},
		"merged up to nothing":   {func(s *Segment) { s.Merged = merged(2); s.Merged.Last = "" }, "merged.last"},
	} {
		t.Run(name, func(t *testing.T) {
			s := sampleSegment(48212, 48230, []byte("payload"))
			tc.change(s)
			wantError(t, s.Validate(), "segment: ", tc.want)
			by, _ := signer(t)
			if _, err := SignSegment(s, by); err == nil {
				t.Error("it was signed")
			}
		})
	}
}

// A signed document of one kind must not pass for one of another.
func TestSegmentIsNothingElse(t *testing.T) {
	by, _ := signer(t)
	segment := signSegment(t, sampleSegment(48212, 48230, []byte("payload")), by)
	if _, err := DecodeManifest(segment.Bytes); err == nil {
		t.Error("a segment is a manifest")
	}
	manifest, err := Sign(sample(at(0, 7, memberA), []byte("payload")), by)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := DecodeSegment(manifest.Bytes); err == nil {
		t.Error("a manifest is a segment")
	}
	drill := bytes.Replace(segment.Bytes, []byte(SegmentKind), []byte("drd-drill-record"), 1)
	if _, err := DecodeSegment(drill); err == nil {
		t.Error("a drill record is a segment")
	}
	newer := bytes.Replace(segment.Bytes, []byte(`"format": 1`), []byte(`"format": 2, "new": "x"`), 1)
	if _, err := DecodeSegment(newer); !errors.Is(err, ErrNewerFormat) {
		t.Errorf("a later format: %v", err)
	}
	twice := bytes.Replace(segment.Bytes, []byte(`"format": 1`), []byte(`"format": 1, "First": 3`), 1)
	if _, err := DecodeSegment(twice); err == nil {
		t.Error("a key twice")
	}
}

func TestSegmentKeys(t *testing.T) {
	r := open(t, mustDir(t))
	s := sampleSegment(48212, 48230, []byte("payload"))
	record, payload := r.SegmentRecordKey(s.Name()), r.SegmentPayloadKey(s)
	if want := "prod-east/archive/00000000000000a1/0000000000000048212-0000000000000048230-239f59ed"; record != want+".signed" || payload != want+".zst.age" {
		t.Errorf("keys %s and %s", record, payload)
	}
	for _, key := range []string{record, payload} {
		n, isRecord, ok := r.ParseSegmentKey(key)
		if !ok || isRecord != (key == record) || n != s.Name() {
			t.Errorf("%s is read as %+v, %v, %v", key, n, isRecord, ok)
		}
		if err := storage.CheckKey(key); err != nil {
			t.Error(err)
		}
	}
	max := SegmentName{Timeline: s.Timeline, First: 1<<63 - 1, Last: 1<<63 - 1, Hash: "00000000"}
	if n, _, ok := r.ParseSegmentKey(r.SegmentRecordKey(max)); !ok || n != max {
		t.Errorf("the highest revision: %+v, %v", n, ok)
	}
	for _, bad := range []string{
		"other/archive/00000000000000a1/0000000000000048212-0000000000000048230-239f59ed.signed",
		"prod-east/archive/a1/0000000000000048212-0000000000000048230-239f59ed.signed",
		"prod-east/archive/00000000000000a1/48212-48230-239f59ed.signed",
		"prod-east/archive/00000000000000a1/0000000000000048212-0000000000000048210-239f59ed.signed",
		"prod-east/archive/00000000000000a1/0000000000000000000-0000000000000000000-239f59ed.signed",
		"prod-east/archive/00000000000000a1/9999999999999999999-9999999999999999999-239f59ed.signed",
		"prod-east/archive/00000000000000a1/0000000000000048212-0000000000000048230-239F59ED.signed",
		"prod-east/archive/00000000000000a1/0000000000000048212-0000000000000048230-239f59ed.age",
		"prod-east/archive/00000000000000a1/0000000000000048212-0000000000000048230-239f59ed",
		"prod-east/archive/00000000000000a1/x/0000000000000048212-0000000000000048230-239f59ed.signed",
	} {
		if n, _, ok := r.ParseSegmentKey(bad); ok {
			t.Errorf("%s is segment %+v", bad, n)
		}
	}
}

func mustDir(t *testing.T) *dir.Bucket {
	t.Helper()
	b, err := dir.Open(t.TempDir(), dir.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestPutSegment(t *testing.T) {
	by, trust := signer(t)
	faulty := storagetest.NewFaulty(mustDir(t))
	r := open(t, faulty)
	payload := []byte("payload")
	signed := signSegment(t, sampleSegment(48212, 48230, payload), by)
	faulty.FailCall(storagetest.OpCreate, 2, nil) // the record: what is there then is no segment
	if err := r.PutSegment(t.Context(), signed, source(payload)); err == nil {
		t.Fatal("a fault was not reported")
	}
	list, err := r.ListSegments(t.Context(), SegmentQuery{}, trust)
	if err != nil || len(list.Entries) != 1 || list.Entries[0].State != StateIncomplete || list.Entries[0].Usable(true) {
		t.Fatalf("half written: %+v, %v", list, err)
	}
	for range 2 { // again is the same, and the payload is not needed any more
		if err := r.PutSegment(t.Context(), signed, func() (io.ReadCloser, error) { return nil, errors.New("gone") }); err != nil {
			t.Fatal(err)
		}
	}
	src, err := r.SegmentPayload(t.Context(), signed.Segment)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(src)
	if err != nil || !bytes.Equal(got, payload) || src.Close() != nil {
		t.Errorf("read %q, %v", got, err)
	}
	other := signSegment(t, sampleSegment(48212, 48230, payload), by)
	other.Signature = append(other.Signature, '\n')
	if err := r.PutSegment(t.Context(), other, source(payload)); !errors.Is(err, ErrConflict) {
		t.Errorf("another record under the key: %v", err)
	}
	for name, change := range map[string]func(*SignedSegment){
		"no signature":       func(s *SignedSegment) { s.Signature = nil },
		"another signature":  func(s *SignedSegment) { s.Signature = []byte("x") },
		"another cluster":    func(s *SignedSegment) { s.Bytes = bytes.Replace(s.Bytes, []byte(testCluster), []byte("other"), 1) },
		"no manifest at all": func(s *SignedSegment) { s.Bytes = []byte("{}\n") },
	} {
		bad := *signed
		if change(&bad); r.PutSegment(t.Context(), &bad, source(payload)) == nil {
			t.Errorf("%s was stored", name)
		}
	}
	c, err := r.Catalogue(t.Context(), trust)
	if err != nil || len(c.Entries)+c.ForeignCount != 0 {
		t.Errorf("segments are among the snapshots: %+v, %v", c, err)
	}
}

// One look names everything that is broken, and none of it hides the rest.
// fleeting is a store from which somebody removes each record as soon as it is written.
type fleeting struct{ storage.Bucket }

func (f fleeting) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	if strings.HasSuffix(key, segmentRecord) {
		return nil, fmt.Errorf("open %s: %w", key, storage.ErrNotExist)
	}
	return f.Bucket.Open(ctx, key, offset, length)
}

// TestSegmentVanishes: what somebody removed after it was stored is told from what was never stored.
func TestSegmentVanishes(t *testing.T) {
	by, _ := signer(t)
	payload := []byte("payload")
	err := open(t, fleeting{mustDir(t)}).PutSegment(t.Context(), signSegment(t, sampleSegment(48212, 48230, payload), by), source(payload))
	if !errors.Is(err, ErrVanished) || !errors.Is(err, storage.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

func TestListSegmentsStates(t *testing.T) {
	by, trust := signer(t)
	stranger, _ := signer(t)
	root := t.TempDir()
	b, err := dir.Open(root, dir.Options{})
	if err != nil {
		t.Fatal(err)
	}
	faulty := storagetest.NewFaulty(b)
	r := open(t, faulty)
	want := map[int64]State{}
	write := func(first int64, state State, signed *SignedSegment, payload []byte, change func(record []byte) []byte) {
		t.Helper()
		want[first] = state
		if payload != nil {
			if _, err := b.Create(t.Context(), r.SegmentPayloadKey(signed.Segment), bytes.NewReader(payload)); err != nil {
				t.Fatal(err)
			}
		}
		record := signed.Record()
		if change != nil {
			record = change(record)
		}
		if record == nil {
			return
		}
		if _, err := b.Create(t.Context(), r.SegmentRecordKey(signed.Segment.Name()), bytes.NewReader(record)); err != nil {
			t.Fatal(err)
		}
	}
	at := func(first int64) *SignedSegment {
		return signSegment(t, sampleSegment(first, first+9, []byte("payload")), by)
	}
	good := []byte("payload")
	write(100, StateOK, at(100), good, nil)
	write(200, StateIncomplete, at(200), good, func([]byte) []byte { return nil })
	write(300, StateUnsigned, at(300), good, func(b []byte) []byte { m, _ := SplitSegmentRecord(b); return m })
	write(400, StateBadSignature, at(400), good, func(b []byte) []byte { return bytes.Replace(b, []byte("node-1"), []byte("node-2"), 1) })
	write(500, StateUnknownSigner, signSegment(t, sampleSegment(500, 509, good), stranger), good, nil)
	write(600, StatePayloadMissing, at(600), nil, nil)
	write(700, StatePayloadSize, at(700), []byte("payload and more"), nil)
	write(800, StateBadManifest, at(800), good, func([]byte) []byte { return bytes.Repeat([]byte("x"), 200<<10) })
	swapped := sampleSegment(900, 909, good)
	swapped.Timeline = "00000000000000b2"
	moved := signSegment(t, swapped, by)
	swapped.Timeline = "00000000000000a1" // signed for the other timeline, and lies in this one
	moved.Segment = swapped
	write(900, StateBadManifest, moved, good, nil)
	for _, key := range []string{"note.txt", "00000000000000a1/readme.md", "00000000000000a1/0000000000000000100-0000000000000000109-239f59ed.aaa.bbb"} {
		if _, err := b.Create(t.Context(), r.SegmentsPrefix("")+key, bytes.NewReader(good)); err != nil {
			t.Fatal(err)
		}
	}
	list, err := r.ListSegments(t.Context(), SegmentQuery{}, trust)
	if err != nil {
		t.Fatal(err)
	}
	got := map[int64]State{}
	for _, e := range list.Entries {
		got[e.Name.First] = e.State
		if e.Usable(true) != (e.State == StateOK) || (e.Problem == nil) != (e.State == StateOK) {
			t.Errorf("%s: %s, %v", e.Name, e.State, e.Problem)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" || list.ForeignCount != 3 {
		t.Errorf("%d foreign; states (-want +got):\n%s", list.ForeignCount, diff)
	}
	faulty.FailCall(storagetest.OpList, 1, nil)
	if _, err := r.ListSegments(t.Context(), SegmentQuery{}, trust); err == nil {
		t.Error("a listing that failed is no error")
	}
	if err := os.Remove(filepath.Join(root, filepath.FromSlash(r.SegmentPayloadKey(at(100).Segment)))); err != nil {
		t.Fatal(err)
	}
	list, err = r.ListSegments(t.Context(), SegmentQuery{Timeline: "00000000000000a1"}, trust)
	if err != nil || list.Entries[0].State != StatePayloadMissing || list.Entries[0].Payload.Key != "" {
		t.Errorf("a planted object passes for the payload: %+v, %v", list.Entries[0], err)
	}
}

func TestListSegmentsQueries(t *testing.T) {
	by, trust := signer(t)
	r := open(t, mustDir(t))
	for i := range int64(20) {
		payload := fmt.Appendf(nil, "payload %d", i)
		s := sampleSegment(1+i*10, 10+i*10, payload)
		s.Timeline = fmt.Sprintf("00000000000000a%d", i%2)
		if err := r.PutSegment(t.Context(), signSegment(t, s, by), source(payload)); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct {
		q            SegmentQuery
		listed, read int
	}{
		{SegmentQuery{}, 20, 20},
		{SegmentQuery{Timeline: "00000000000000a1"}, 10, 10},
		{SegmentQuery{After: 99}, 11, 11},
		{SegmentQuery{After: 100}, 10, 10},
		{SegmentQuery{UpTo: 100}, 10, 10},
		{SegmentQuery{After: 50, UpTo: 101}, 6, 6},
		{SegmentQuery{Limit: 3}, 20, 3},
		{SegmentQuery{Timeline: "00000000000000a1", From: 111, UpTo: 115}, 1, 1},
		{SegmentQuery{Timeline: "00000000000000a1", From: 105, UpTo: 150}, 2, 2}, // 111 and 131, but not 151
		{SegmentQuery{Timeline: "00000000000000a1", From: 90, UpTo: 5_000_000_000_000_000_000}, 10, 10},
		{SegmentQuery{Timeline: "00000000000000a1", From: 190, UpTo: 1 << 40, After: 199}, 1, 1},
		{SegmentQuery{Timeline: "00000000000000a1", From: 201, UpTo: 210}, 0, 0},
	} {
		list, err := r.ListSegments(t.Context(), tc.q, trust)
		if err != nil {
			t.Fatal(err)
		}
		read := 0
		for _, e := range list.Entries {
			if e.State == StateOK {
				read++
			} else if e.State != StateUnread || e.Name.Last > 170 {
				t.Errorf("%+v: %s is %s", tc.q, e.Name, e.State)
			}
		}
		if len(list.Entries) != tc.listed || read != tc.read {
			t.Errorf("%+v: %d listed, %d read", tc.q, len(list.Entries), read)
		}
	}
	list, err := r.ListSegments(t.Context(), SegmentQuery{}, nil)
	if err != nil || list.Entries[0].State != StateUnverified || !list.Entries[0].Usable(true) || list.Entries[0].Usable(false) {
		t.Errorf("without trust: %+v, %v", list.Entries[0], err)
	}
	if _, err := r.ListSegments(t.Context(), SegmentQuery{Timeline: "../snapshots"}, trust); err == nil {
		t.Error("a timeline that is none")
	}
}

// TestNewestSilence: of a quiet cluster's silences, the one that was stored last is among the few that are read.
func TestNewestSilence(t *testing.T) {
	by, trust := signer(t)
	root := t.TempDir()
	b, err := dir.Open(root, dir.Options{})
	if err != nil {
		t.Fatal(err)
	}
	r := open(t, b)
	now := time.Now()
	for i := range 30 {
		payload := fmt.Appendf(nil, "payload %d", i)
		s := sampleSegment(101, 100, payload)
		if i == 0 { // what happened before
			s = sampleSegment(1, 100, payload)
		} else {
			s.Events = 0
		}
		s.To = s.From.Add(time.Duration(i) * time.Minute)
		if err := r.PutSegment(t.Context(), signSegment(t, s, by), source(payload)); err != nil {
			t.Fatal(err)
		}
		at := now.Add(time.Duration(i-100) * time.Minute)
		if err := os.Chtimes(filepath.Join(root, filepath.FromSlash(r.SegmentRecordKey(s.Name()))), at, at); err != nil {
			t.Fatal(err)
		}
	}
	list, err := r.ListSegments(t.Context(), SegmentQuery{Limit: 3}, trust)
	if err != nil {
		t.Fatal(err)
	}
	var read []string
	for _, e := range list.Entries {
		if e.State == StateOK {
			read = append(read, e.Segment.To.Sub(e.Segment.From).String())
		}
	}
	lately, err := r.ListSegments(t.Context(), SegmentQuery{Since: now.Add(-80*time.Minute + 30*time.Second)}, trust)
	if err != nil || len(lately.Entries) != 9 || lately.Older != 21 {
		t.Errorf("lately came %d, and %d before, %v", len(lately.Entries), lately.Older, err)
	}
	slices.Sort(read)
	if want := []string{"27m0s", "28m0s", "29m0s"}; !slices.Equal(read, want) {
		t.Errorf("read were those of %q, want %q", read, want)
	}
}

// TestPlantedSegments: what somebody puts before the newest segments does not hide them.
func TestPlantedSegments(t *testing.T) {
	by, trust := signer(t)
	root := t.TempDir()
	b, err := dir.Open(root, dir.Options{})
	if err != nil {
		t.Fatal(err)
	}
	r := open(t, b)
	timeline := ""
	for i := range 3 {
		payload := fmt.Appendf(nil, "payload %d", i)
		s := sampleSegment(int64(10*i+1), int64(10*i+10), payload)
		timeline = s.Timeline
		if err := r.PutSegment(t.Context(), signSegment(t, s, by), source(payload)); err != nil {
			t.Fatal(err)
		}
	}
	home := filepath.Join(root, filepath.FromSlash(r.SegmentsPrefix(timeline)))
	for i := range 150 {
		name := fmt.Sprintf("%019d-%019d-%08x%s", 4, int64(math.MaxInt64), i, segmentRecord)
		if err := os.WriteFile(filepath.Join(home, name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	list, err := r.ListSegments(t.Context(), SegmentQuery{Limit: 2}, trust)
	if err != nil {
		t.Fatal(err)
	}
	states := make(map[State]int)
	for _, e := range list.Entries {
		states[e.State]++
	}
	if states[StateOK] != 2 || states[StateUnread] != 1 || len(list.Entries) != 153 {
		t.Errorf("found %v", states)
	}
}

func TestSegmentKeyOfAnExpiredSigner(t *testing.T) {
	by, _ := signer(t)
	trust, err := seal.ParseTrust([]byte("node-1 valid-before=\"20261122100003Z\" "+authorized(t, by)), "trust")
	if err != nil {
		t.Fatal(err)
	}
	r := open(t, mustDir(t))
	s := sampleSegment(48212, 48230, []byte("payload")) // ends two seconds later
	if err := r.PutSegment(t.Context(), signSegment(t, s, by), source([]byte("payload"))); err != nil {
		t.Fatal(err)
	}
	list, err := r.ListSegments(t.Context(), SegmentQuery{}, trust)
	if err != nil || list.Entries[0].State != StateExpiredSigner || list.Entries[0].Segment != nil {
		t.Errorf("%+v, %v", list.Entries[0], err)
	}
}

func TestArchivePageNamesEveryField(t *testing.T) {
	page, err := os.ReadFile(archivePage)
	if err != nil {
		t.Fatal(err)
	}
	for _, field := range fieldsOf(reflect.TypeFor[Segment](), "") {
		if !strings.Contains(string(page), field+"`") {
			t.Errorf("%s does not name field %s", archivePage, field)
		}
	}
}

// The manifest of format 1 never changes: what was written once is read for ever, and written the same.
func TestSegmentGolden(t *testing.T) {
	want, err := os.ReadFile("testdata/segment.json")
	if err != nil {
		t.Fatal(err)
	}
	by, _ := signer(t)
	signed := signSegment(t, sampleSegment(48212, 48230, []byte("payload")), by)
	if diff := cmp.Diff(string(want), string(signed.Bytes)); diff != "" {
		t.Errorf("testdata/segment.json (-want +got):\n%s", diff)
	}
	page, err := os.ReadFile(archivePage)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(page), "```json\n"+string(want)+"```\n") {
		t.Errorf("%s does not show testdata/segment.json", archivePage)
	}
}
