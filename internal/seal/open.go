package seal

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"filippo.io/age"
	"github.com/klauspost/compress/zstd"

	"github.com/drd-project/drd/internal/hint"
)

var (
	// ErrNoIdentity is wrapped when no given identity opens an object.
	ErrNoIdentity = errors.New("no identity matches")
	// ErrDamaged is wrapped when an object is not what was sealed: changed, cut short, or continued.
	ErrDamaged = errors.New("sealed object is damaged")
)

// decoderConcurrency is the number of zstd blocks in work at once. 1 decodes in the caller's
// goroutine, so nothing reads the source after Close; 2 was measured slower.
const decoderConcurrency = 1

// opened is the plaintext of an envelope. io.EOF from it means that every byte was authentic.
type opened struct {
	src   *source // sealed bytes
	plain *source // what the age layer let through
	frame *zstd.Decoder
	err   error // sticky: after a failure no more plaintext comes out
}

func (o *opened) Read(p []byte) (int, error) {
	if o.err != nil {
		return 0, o.err
	}
	n, err := o.frame.Read(p)
	if err == io.EOF { //nolint:errorlint // io.EOF is returned bare, by contract
		err = o.checkEnd()
	}
	if err != nil && err != io.EOF { //nolint:errorlint // as above
		err = fmt.Errorf("read sealed object: %w", o.src.blame(err))
	}
	o.err = err
	return n, err
}

// checkEnd returns io.EOF only if the age layer itself came to its authenticated end. The zstd decoder
// does not tell that from an age file cut short where a frame could begin: it takes any
// io.ErrUnexpectedEOF there for the end.
func (o *opened) checkEnd() error {
	if o.plain.err == nil { // the decoder stopped before the end, which today's version never does
		if n, _ := io.ReadFull(o.plain, make([]byte, 1)); n > 0 {
			return errors.New("data after the end of the zstd frame")
		}
	}
	if o.plain.err == io.EOF && o.plain.n == 0 { //nolint:errorlint // as in Read
		return errors.New("there is no zstd frame in it")
	}
	return o.plain.err
}

// Close frees the decoder. It does not close the source.
func (o *opened) Close() error {
	o.frame.Close()
	if o.err == nil {
		o.err = errors.New("read sealed object: reader is closed")
	}
	return nil
}

// source remembers how reading ended, so that a broken connection is never reported as a damaged
// object, nor a failure as an end.
type source struct {
	r   io.Reader
	n   int64 // bytes read
	err error // the last error, io.EOF too
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	s.n += int64(n)
	if err != nil {
		s.err = err
	}
	return n, err
}

func (s *source) failed() bool {
	return s.err != nil && s.err != io.EOF //nolint:errorlint // io.EOF is returned bare, by contract
}

// blame decides who is at fault for err: the source, if it failed, else the content.
func (s *source) blame(err error) error {
	if s.failed() {
		return s.err
	}
	return fmt.Errorf("%w: %w", ErrDamaged, err)
}

// decrypt opens the age layer.
func decrypt(src *source, ids []age.Identity) (*source, error) {
	keys := &anyOf{ids: ids}
	plain, err := age.Decrypt(src, keys)
	if err == nil {
		return &source{r: plain}, nil
	}
	return nil, fmt.Errorf("open sealed object: %w", keys.explain(src, err))
}

// anyOf tries identities in order, programs and people last, and remembers how that went.
type anyOf struct {
	ids      []age.Identity
	kinds    []string // stanza types of the header; nil until it was read
	external error    // failure of a plugin, which says nothing about the object
	keyed    bool     // a file key was used: it opens whatever it is given
}

func (a *anyOf) Unwrap(stanzas []*age.Stanza) ([]byte, error) {
	a.kinds = make([]string, 0, len(stanzas))
	for _, s := range stanzas {
		a.kinds = append(a.kinds, s.Type)
	}
	for _, id := range a.ordered() {
		key, err := id.Unwrap(stanzas)
		if errors.Is(err, age.ErrIncorrectIdentity) {
			continue
		}
		if _, external := id.(*pluginIdentity); external {
			a.external = err
		}
		_, a.keyed = id.(fileKeyIdentity)
		return key, err
	}
	return nil, age.ErrIncorrectIdentity
}

// ordered puts plugins last: they start programs and may ask somebody to touch a device.
func (a *anyOf) ordered() []age.Identity {
	isPlugin := func(id age.Identity) int {
		if _, ok := id.(*pluginIdentity); ok {
			return 1
		}
		return 0
	}
	ids := slices.Clone(a.ids)
	slices.SortStableFunc(ids, func(x, y age.Identity) int { return isPlugin(x) - isPlugin(y) })
	return ids
}

// explain turns an error of age into one of this package's kinds.
func (a *anyOf) explain(src *source, err error) error {
	var noMatch *age.NoIdentityMatchError
	switch {
	case a.external != nil:
		return a.external
	case errors.As(err, &noMatch):
		return a.noMatch()
	case a.keyed && !src.failed():
		return fmt.Errorf("%w, or the file key belongs to another object: %w", ErrDamaged, err)
	}
	return src.blame(err)
}

func (a *anyOf) noMatch() error {
	given := "no identity was given"
	if len(a.ids) > 0 {
		given = "given: " + strings.Join(describe(a.ids), ", ")
	}
	return hint.New(
		fmt.Errorf("%w: the object is sealed for %d recipient(s) (%s); %s", ErrNoIdentity, len(a.kinds), kindsOnce(a.kinds), given),
		"compare these fingerprints with the recipients in the object's manifest, and give the identity of one of them")
}

// kindsOnce lists the kinds of recipients in a header, which anyone can have written: a header may name
// a thousand.
func kindsOnce(kinds []string) string {
	const most = 4 // classic, post-quantum and two SSH types
	once := slices.Compact(slices.Sorted(slices.Values(kinds)))
	if len(once) > most {
		once = append(once[:most], "…")
	}
	return strings.Join(once, ", ")
}
