package archive

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"pgregory.net/rapid"

	"github.com/drd-project/drd/internal/mvcc"
)

const second0 = 1_795_000_000 // a time like those in real segments

// put and del are entries as etcd stores them.
func put(main, sub int64, key, value string, lease int64) mvcc.Entry {
	return mvcc.FromEvent(&mvccpb.Event{Kv: &mvccpb.KeyValue{
		Key: []byte(key), Value: []byte(value), CreateRevision: main, ModRevision: main, Version: 1, Lease: lease,
	}}, sub)
}

func del(main, sub int64, key string) mvcc.Entry {
	return mvcc.FromEvent(&mvccpb.Event{Type: mvccpb.Event_DELETE, Kv: &mvccpb.KeyValue{Key: []byte(key), ModRevision: main}}, sub)
}

func readAll(content io.Reader) (records []Record, err error) {
	r := NewReader(content)
	for {
		record, err := r.Next()
		if err == io.EOF { //nolint:errorlint // the end is io.EOF itself
			return records, nil
		}
		if err != nil {
			return records, err
		}
		record.Entry.Value = bytes.Clone(record.Entry.Value)
		records = append(records, record)
	}
}

// What a writer takes comes out of a reader, whatever is written in whatever order.
func TestStreamRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		first := rapid.OneOf(rapid.Int64Range(1, 5), rapid.Int64Range(1, math.MaxInt64-1000)).Draw(t, "first")
		var content bytes.Buffer
		w := NewWriter(&content, first)
		w.Stamp(time.Unix(second0, 0))
		main, sub := first, int64(0)
		var entries []mvcc.Entry
		leases := map[int64]int64{}
		for range rapid.IntRange(0, 60).Draw(t, "steps") {
			switch rapid.IntRange(0, 9).Draw(t, "step") {
			case 0:
				w.Stamp(time.Unix(second0+rapid.Int64Range(-10, 30).Draw(t, "second"), 0))
			case 1:
				w.LateStamp(time.Unix(second0+rapid.Int64Range(-10, 30).Draw(t, "second"), 0))
			case 2:
				id, ttl := rapid.Int64Range(1, 5).Draw(t, "lease"), rapid.Int64Range(0, 3).Draw(t, "ttl")
				leases[id] = ttl
				w.Lease(id, ttl)
			default:
				if len(entries) > 0 && rapid.Bool().Draw(t, "next") {
					main, sub = main+1, 0
				}
				e := drawEntry(t, main, sub, leases)
				if err := w.Append(e); err != nil {
					t.Fatal(err)
				}
				entries = append(entries, e)
				sub++
			}
		}
		summary, err := w.Close()
		if err != nil {
			t.Fatal(err)
		}
		checkRead(t, content.Bytes(), summary, entries)
	})
}

func drawEntry(t *rapid.T, main, sub int64, leases map[int64]int64) mvcc.Entry {
	key := "k" + rapid.StringN(0, 8, 40).Draw(t, "key")
	if rapid.IntRange(0, 3).Draw(t, "delete") == 0 {
		return del(main, sub, key)
	}
	lease := int64(0)
	for id := range leases {
		lease = max(lease, id)
	}
	return put(main, sub, key, strings.Repeat("v", rapid.SampledFrom([]int{0, 1, 40, 127, 128, 5000, 150_000}).Draw(t, "size")), lease)
}

func checkRead(t *rapid.T, content []byte, summary Summary, want []mvcc.Entry) {
	records, err := readAll(bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	var got []mvcc.Entry
	last := int64(0)
	for i, r := range records {
		switch r.Kind {
		case KindEntry:
			got = append(got, r.Entry)
		case KindStamp:
			if r.Stamp.Time.Unix() <= last || records[i+1].Kind != KindEntry || records[i+1].Entry.Sub != 0 {
				t.Fatalf("stamp %v after %d, before %v", r.Stamp, last, records[i+1])
			}
			last = r.Stamp.Time.Unix()
		}
	}
	if !slices.EqualFunc(want, got, sameEntry) {
		t.Fatalf("%d entries were read, and differ from the %d that were written", len(got), len(want))
	}
	if summary.Size != int64(len(content)) || summary.Entries != int64(len(want)) {
		t.Fatalf("summary %+v of %d bytes", summary, len(content))
	}
	if n := len(want); n > 0 && (summary.Last != want[n-1].Main || summary.LastRevisionSHA256 != revisionSHA256(lastRevision(want))) {
		t.Fatalf("summary %+v", summary)
	}
}

func sameEntry(a, b mvcc.Entry) bool {
	return a.Position == b.Position && bytes.Equal(a.Value, b.Value)
}

func lastRevision(entries []mvcc.Entry) []mvcc.Entry {
	from := len(entries) - 1
	for from > 0 && entries[from-1].Main == entries[from].Main {
		from--
	}
	return entries[from:]
}

// stream is the content that a script writes.
func stream(tb testing.TB, first int64, script func(w *Writer)) []byte {
	tb.Helper()
	var content bytes.Buffer
	w := NewWriter(&content, first)
	script(w)
	if _, err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return content.Bytes()
}

func appendAll(tb testing.TB, w *Writer, entries ...mvcc.Entry) {
	tb.Helper()
	for _, e := range entries {
		if err := w.Append(e); err != nil {
			tb.Fatal(err)
		}
	}
}

func sampleStream(tb testing.TB) []byte {
	return stream(tb, 7, func(w *Writer) {
		w.Stamp(time.Unix(second0, 0))
		w.Lease(3, 60)
		appendAll(tb, w, put(7, 0, "a", "x", 3), del(7, 1, "b"))
		w.LateStamp(time.Unix(second0+5, 0))
		appendAll(tb, w, put(8, 0, "c", "", 0))
	})
}

// docs/archive.md shows these bytes: what they say does not change within version 1.
func TestStreamBytes(t *testing.T) {
	got := sampleStream(t)
	want := "DRDSEG1\n\x07" + // first revision
		"\x30\x03\x3c" + // lease 3, 60 s
		"\x20\xc0\x8d\xf6\xd7\x06" + // stamp
		"\x12\x0e" + string(put(7, 0, "a", "x", 3).Value) +
		"\x11\x03" + string(del(7, 1, "b").Value) +
		"\x21\x05" +
		"\x12\x09" + string(put(8, 0, "c", "", 0).Value) +
		"\x7f\x03"
	if string(got) != want {
		t.Errorf("stream\n%q, want\n%q", got, want)
	}
}

// Cut short anywhere, continued, or with any one byte changed, a stream is refused or says the same kind of thing: it never ends
// well with fewer entries.
func TestStreamDamage(t *testing.T) {
	whole := sampleStream(t)
	for n := range whole {
		if records, err := readAll(bytes.NewReader(whole[:n])); !errors.Is(err, ErrMalformed) {
			t.Errorf("cut after %d bytes: %d records, %v", n, len(records), err)
		}
	}
	if _, err := readAll(bytes.NewReader(append(bytes.Clone(whole), 0))); !errors.Is(err, ErrMalformed) {
		t.Errorf("continued: %v", err)
	}
	broken := errors.New("connection lost")
	_, err := readAll(io.MultiReader(bytes.NewReader(whole[:20]), errorReader{broken}))
	if !errors.Is(err, broken) || errors.Is(err, ErrMalformed) {
		t.Errorf("a reader that fails is the stream's fault: %v", err)
	}
}

type errorReader struct{ err error }

func (r errorReader) Read([]byte) (int, error) { return 0, r.err }

func TestReaderRefuses(t *testing.T) {
	const begin = "DRDSEG1\n\x07"
	value := string(put(7, 0, "a", "", 0).Value)
	entry := "\x12" + string(rune(len(value))) + value
	for name, content := range map[string]string{
		"nothing":                     "",
		"another mark":                "DRDSEG2\n\x07\x7f\x00",
		"revision zero":               "DRDSEG1\n\x00\x7f\x00",
		"a number with a zero":        "DRDSEG1\n\x87\x00\x7f\x00",
		"a number beyond 63 bits":     "DRDSEG1\n\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x7f\x00",
		"an unknown record":           begin + "\x40\x7f\x00",
		"no end":                      begin,
		"a wrong count":               begin + "\x7f\x01",
		"an entry before any stamp":   begin + entry + "\x7f\x01",
		"a stamp that is not later":   begin + "\x20\x01" + entry + "\x20\x00\x7f\x01",
		"a stamp beyond all years":    begin + "\x20\xff\xff\xff\xff\xff\xff\x7f" + entry + "\x7f\x01",
		"two stamps":                  begin + "\x20\x01\x20\x01" + entry + "\x7f\x01",
		"a stamp of nothing":          begin + "\x20\x01\x7f\x00",
		"a lease after a stamp":       begin + "\x20\x01\x30\x01\x01" + entry + "\x7f\x01",
		"lease zero":                  begin + "\x30\x00\x01\x7f\x00",
		"a lease twice":               begin + "\x30\x01\x01\x30\x01\x01\x7f\x00",
		"more of no revision":         begin + "\x20\x01\x10" + entry[1:] + "\x7f\x01",
		"a stamp within a revision":   begin + "\x20\x01" + entry + "\x20\x01\x10" + entry[1:] + "\x7f\x02",
		"a value of another revision": begin + "\x20\x01" + entry + entry + "\x7f\x02",
		"a value that is none":        begin + "\x20\x01\x12\x01\xff\x7f\x01",
		"a change of no key":          begin + "\x20\x01\x12\x00\x7f\x01",
		"a tombstone with a version":  begin + "\x20\x01\x13" + entry[1:] + "\x7f\x01",
		"a value too large":           begin + "\x20\x01\x12\x81\x80\x80\x08",
		"a lease that was not told":   begin + "\x20\x01\x12" + string(rune(len(put(7, 0, "a", "", 9).Value))) + string(put(7, 0, "a", "", 9).Value) + "\x7f\x01",
		"beyond the last revision":    "DRDSEG1\n\xff\xff\xff\xff\xff\xff\xff\xff\x7f\x20\x01" + lastEntry() + lastEntry() + "\x7f\x02",
	} {
		t.Run(name, func(t *testing.T) {
			records, err := readAll(strings.NewReader(content))
			if !errors.Is(err, ErrMalformed) {
				t.Errorf("%d records, %v", len(records), err)
			}
		})
	}
}

func lastEntry() string {
	value := put(math.MaxInt64, 0, "a", "", 0).Value
	return "\x12" + string(rune(len(value))) + string(value)
}

func TestWriterRefuses(t *testing.T) {
	at := func(w *Writer) { w.Stamp(time.Unix(second0, 0)) }
	for name, tc := range map[string]struct {
		first  int64
		script func(w *Writer) error
		want   string
	}{
		"revision zero":            {0, func(w *Writer) error { at(w); return w.Append(put(0, 0, "a", "", 0)) }, "below 1"},
		"a gap at the start":       {7, func(w *Writer) error { at(w); return w.Append(put(8, 0, "a", "", 0)) }, "gap"},
		"the revision before":      {7, func(w *Writer) error { at(w); return w.Append(put(6, 1, "a", "", 0)) }, "gap"},
		"the middle of a revision": {7, func(w *Writer) error { at(w); return w.Append(put(7, 1, "a", "", 0)) }, "gap"},
		"no stamp":                 {7, func(w *Writer) error { return w.Append(put(7, 0, "a", "", 0)) }, "before any stamp"},
		"a stamp out of range":     {7, func(w *Writer) error { w.Stamp(time.Time{}); return w.Append(put(7, 0, "a", "", 0)) }, "out of range"},
		"an unknown lease":         {7, func(w *Writer) error { at(w); return w.Append(put(7, 0, "a", "", 9)) }, "lease 9"},
		"no key":                   {7, func(w *Writer) error { at(w); return w.Append(mvcc.Entry{Position: mvcc.Position{Main: 7}}) }, "no key"},
		"a negative lease":         {7, func(w *Writer) error { w.Lease(-1, 1); at(w); return w.Append(put(7, 0, "a", "", 0)) }, "lease -1"},
		"a value too large": {7, func(w *Writer) error {
			at(w)
			return w.Append(put(7, 0, "a", strings.Repeat("v", MaxValue), 0))
		}, "at most"},
		"anything after the end": {7, func(w *Writer) error {
			if _, err := w.Close(); err != nil {
				t.Fatal(err)
			}
			at(w)
			return w.Append(put(7, 0, "a", "", 0))
		}, "closed"},
	} {
		t.Run(name, func(t *testing.T) {
			w := NewWriter(io.Discard, tc.first)
			if err := tc.script(w); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("Append: %v, want %q", err, tc.want)
			}
			if _, err := w.Close(); err == nil {
				t.Error("Close says that all is well")
			}
		})
	}
	full := errors.New("disk full")
	w := NewWriter(writerFunc(func([]byte) (int, error) { return 0, full }), 7)
	at(w)
	for i := range int64(100) {
		_ = w.Append(put(7+i, 0, "a", strings.Repeat("v", 10_000), 0)) // Close tells
	}
	if _, err := w.Close(); !errors.Is(err, full) {
		t.Errorf("a disk that is full: %v", err)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestStamps(t *testing.T) {
	type call struct {
		second int64
		late   bool
	}
	for name, tc := range map[string]struct {
		before []call // stamps before the first revision
		after  []call // between the first and the second
		want   []string
	}{
		"one a second":                        {[]call{{0, false}}, []call{{0, false}}, []string{"0"}},
		"each second":                         {[]call{{0, false}}, []call{{1, false}}, []string{"0", "1"}},
		"only the newest counts":              {[]call{{0, false}, {3, false}}, []call{{4, false}, {9, false}}, []string{"3", "9"}},
		"the clock goes back":                 {[]call{{5, false}}, []call{{2, false}}, []string{"5"}},
		"it goes back before it is written":   {[]call{{5, false}, {2, false}}, nil, []string{"5"}},
		"late":                                {[]call{{5, true}}, []call{{6, false}}, []string{"5 late", "6"}},
		"late in the same second":             {[]call{{5, false}}, []call{{5, true}}, []string{"5", "6 late"}},
		"late still":                          {[]call{{5, true}}, []call{{5, true}}, []string{"5 late"}},
		"in time in the second of a late one": {[]call{{5, true}}, []call{{5, false}}, []string{"5 late"}},
		"the archive is in time again":        {[]call{{5, true}, {6, false}}, nil, []string{"6"}},
	} {
		t.Run(name, func(t *testing.T) {
			content := stream(t, 7, func(w *Writer) {
				for i, calls := range [][]call{tc.before, tc.after} {
					for _, c := range calls {
						w.stamp(Stamp{Time: time.Unix(second0+c.second, 999), Late: c.late})
					}
					appendAll(t, w, put(7+int64(i), 0, "a", "", 0))
				}
			})
			records, err := readAll(bytes.NewReader(content))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, r := range records {
				if r.Kind == KindStamp {
					text := fmt.Sprint(r.Stamp.Time.Unix() - second0)
					if r.Stamp.Late {
						text += " late"
					}
					got = append(got, text)
				}
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("stamps (-want +got):\n%s", diff)
			}
		})
	}
}

// revisionSHA256 is the hash of the changes of one revision, given in order, as it stands in a segment's manifest: it tells
// whether a member still has the revision with which an archive ended. "" of none.
func revisionSHA256(changes []mvcc.Entry) string {
	var h revisionHash
	for i, e := range changes {
		if e.Sub != int64(i) || e.Main != changes[0].Main {
			return ""
		}
		h.add(e)
	}
	if h.sum == nil {
		return ""
	}
	return h.hex()
}

func TestRevisionSHA256(t *testing.T) {
	a, b := put(7, 0, "a", "x", 0), put(7, 1, "b", "y", 0)
	seen := map[string]bool{}
	for _, changes := range [][]mvcc.Entry{{a}, {a, b}, {put(7, 0, "a", "y", 0)}, {del(7, 0, "a")}, {put(8, 0, "a", "x", 0)}} {
		sum := revisionSHA256(changes)
		if len(sum) != 64 || seen[sum] {
			t.Errorf("%v: %q", changes, sum)
		}
		seen[sum] = true
	}
	for _, wrong := range [][]mvcc.Entry{nil, {b}, {a, a}, {a, put(8, 1, "b", "", 0)}} {
		if sum := revisionSHA256(wrong); sum != "" {
			t.Errorf("%v: %q", wrong, sum)
		}
	}
}

// Whatever a reader accepts, a writer writes, byte for byte: there is one form only.
func FuzzReader(f *testing.F) {
	f.Add(sampleStream(f))
	f.Add([]byte("DRDSEG1\n\x07\x7f\x00"))
	f.Add([]byte("DRDSEG1\n\x01\x30\x01\x00\x20\x01\x12\x09\n\x01a\x10\x01\x18\x01 \x01\x7f\x01"))
	f.Fuzz(func(t *testing.T, content []byte) {
		records, err := readAll(bytes.NewReader(content))
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatalf("an error of nobody: %v", err)
			}
			return
		}
		var again bytes.Buffer
		w := NewWriter(&again, NewReader(bytes.NewReader(content)).First())
		for _, r := range records {
			switch r.Kind {
			case KindEntry:
				if err := w.Append(r.Entry); err != nil {
					t.Fatal(err)
				}
			case KindStamp:
				w.stamp(r.Stamp)
			case KindLease:
				w.Lease(r.Lease.ID, r.Lease.TTL)
			}
		}
		if _, err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(again.Bytes(), content) {
			t.Fatalf("written again it is\n%q, read was\n%q", again.Bytes(), content)
		}
	})
}
