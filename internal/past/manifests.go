package past

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/drd-project/drd/internal/kube"
)

// Format is how extracted keys are written.
type Format string

// The formats.
const (
	YAML Format = "yaml" // documents for kubectl apply
	JSON Format = "json" // one List, for kubectl apply
	Raw  Format = "raw"  // a JSON document for each key, as etcd has it
)

// maxNamed bounds how many keys are named that could not be written.
const maxNamed = 20

// Report says what became of the keys that were extracted.
type Report struct {
	Written int64
	Secrets int64 // of them
	// MadeAgain are objects that were left out because their controller makes them, by who that is.
	MadeAgain  map[string]int64
	NotObjects int64 // keys that hold nothing which could be applied, such as the API server's own notes
	Encrypted  int64 // by the API server
	Broken     int64 // not decodable
	// Refused names the first of those that are encrypted or broken, with the reason.
	Refused []string
}

// Manifests collects what a Reader extracts and writes it in an order in which it can be applied: what others need first, and by
// key among equals. It keeps the objects in files without a name, one for each rank, so that memory is bounded, and nothing is left
// behind whatever happens. It must be closed.
type Manifests struct {
	Report
	format  Format
	owned   bool
	dir     string
	decoder *kube.Decoder
	ranks   []*spool
}

// spool is the objects of one rank.
type spool struct {
	f *os.File
	w *bufio.Writer
}

// NewManifests keeps its files in dir. With owned, what controllers make again is written too.
func NewManifests(dir string, format Format, owned bool) (*Manifests, error) {
	decoder, err := kube.NewDecoder()
	if err != nil {
		return nil, err
	}
	return &Manifests{
		Report: Report{MadeAgain: make(map[string]int64)}, format: format, owned: owned, dir: dir, decoder: decoder,
		ranks: make([]*spool, kube.Ranks()),
	}, nil
}

// Add takes one key. Only a failure to write is an error: what cannot be decoded is in the Report.
func (m *Manifests) Add(c *Change) error {
	if m.format == Raw {
		m.Written++
		return m.write(0, func(w io.Writer) error { return json.NewEncoder(w).Encode(rawOf(c)) })
	}
	if _, ok := kube.ParseKey(c.Key); !ok {
		m.NotObjects++
		return nil
	}
	o, err := m.decoder.Decode(c.Value)
	if err != nil {
		m.refuse(c.Key, err)
		return nil
	}
	if by := o.MadeAgain(); by != "" && !m.owned {
		m.MadeAgain[by]++
		return nil
	}
	o.Clean()
	content, err := m.encode(o)
	if err != nil {
		m.refuse(c.Key, kube.ErrUndecodable)
		return nil
	}
	m.Written++
	if o.Kind() == "Secret" && o.APIVersion() == "v1" {
		m.Secrets++
	}
	return m.write(o.Rank(), func(w io.Writer) error { _, err := w.Write(content); return err })
}

func (m *Manifests) refuse(key []byte, err error) {
	if errors.Is(err, kube.ErrEncrypted) {
		m.Encrypted++
	} else {
		m.Broken++
	}
	if len(m.Refused) < maxNamed {
		m.Refused = append(m.Refused, fmt.Sprintf("%s: %v", KeyText(key), err))
	}
}

func (m *Manifests) encode(o kube.Object) ([]byte, error) {
	if m.format == JSON {
		content, err := o.JSON()
		return append([]byte(",\n"), content...), err
	}
	content, err := o.YAML()
	return append([]byte("---\n"), content...), err
}

// raw is a key as etcd has it.
type raw struct {
	Key            []byte `json:"key_base64"`
	Value          []byte `json:"value_base64"`
	CreateRevision int64  `json:"create_revision"`
	Revision       int64  `json:"revision"`
	Version        int64  `json:"version"`
	Lease          string `json:"lease,omitempty"`
}

func rawOf(c *Change) raw {
	return raw{c.Key, c.Value, c.CreateRevision, c.Revision, c.Version, LeaseText(c.Lease)}
}

// LeaseText is a lease ID as etcdctl writes it, in hex; "" for none.
func LeaseText(id int64) string {
	if id == 0 {
		return ""
	}
	return fmt.Sprintf("%016x", uint64(id))
}

func (m *Manifests) write(rank int, f func(io.Writer) error) error {
	s := m.ranks[rank]
	if s == nil {
		file, err := nameless(m.dir)
		if err != nil {
			return fmt.Errorf("keep what was extracted: %w", err)
		}
		s = &spool{file, bufio.NewWriterSize(file, 64<<10)}
		m.ranks[rank] = s
	}
	if err := f(s.w); err != nil {
		return fmt.Errorf("keep what was extracted: %w", err)
	}
	return nil
}

// nameless makes a file that only this process can reach, and that is gone with it.
func nameless(dir string) (*os.File, error) {
	f, err := os.CreateTemp(dir, ".drd-extract-*")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// Write writes all that was added.
func (m *Manifests) Write(w io.Writer) error {
	out := bufio.NewWriterSize(w, 64<<10)
	if m.format == JSON {
		out.WriteString(`{"apiVersion":"v1","kind":"List","items":[`) // Flush has the error
	}
	first := true
	for _, s := range m.ranks {
		if s == nil {
			continue
		}
		if err := s.rewind(); err != nil {
			return fmt.Errorf("write what was extracted: %w", err)
		}
		if m.format == JSON && first { // each object brings the comma before it
			if _, err := s.f.Seek(1, io.SeekStart); err != nil {
				return fmt.Errorf("write what was extracted: %w", err)
			}
		}
		first = false
		if _, err := io.Copy(out, s.f); err != nil {
			return fmt.Errorf("write what was extracted: %w", err)
		}
	}
	if m.format == JSON {
		out.WriteString("\n]}\n") // as above
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("write what was extracted: %w", err)
	}
	return nil
}

func (s *spool) rewind() error {
	if err := s.w.Flush(); err != nil {
		return err
	}
	_, err := s.f.Seek(0, io.SeekStart)
	return err
}

// Close gives the room back.
func (m *Manifests) Close() error {
	var failed []error
	for _, s := range m.ranks {
		if s != nil {
			failed = append(failed, s.f.Close())
		}
	}
	return errors.Join(failed...)
}
