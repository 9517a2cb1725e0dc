package seal_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/drd-project/drd/internal/seal"
	"github.com/drd-project/drd/internal/seal/sealtest"
)

// memory remembers everything, and counts what it was asked for in vain.
type memory struct {
	good   map[[sha256.Size]byte]bool
	missed int
}

func (m *memory) Good(digest [sha256.Size]byte) bool {
	if !m.good[digest] {
		m.missed++
	}
	return m.good[digest]
}

func (m *memory) Learn(digest [sha256.Size]byte) { m.good[digest] = true }

// TestVerifyKnown: a good signature is checked once. Whatever is remembered, the answer is that of Verify, for each message,
// signature, time and trust.
func TestVerifyKnown(t *testing.T) {
	keys, stranger := sealtest.New(t), sealtest.New(t)
	now := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	line, err := os.ReadFile(keys.TrustFile)
	if err != nil {
		t.Fatal(err)
	}
	public, err := seal.ParseTrust(line, "all")
	if err != nil {
		t.Fatal(err)
	}
	ended, err := seal.ParseTrust(bytes.Replace(line, []byte(" "), []byte(` valid-before="20261101Z" `), 1), "ended")
	if err != nil {
		t.Fatal(err)
	}
	m := &memory{good: make(map[[sha256.Size]byte]bool)}
	messages := []string{"one", "two", ""}
	signatures := [][]byte{nil, []byte("none")}
	for _, message := range messages {
		for _, signer := range []*seal.Signer{keys.Signer, stranger.Signer} {
			signature, err := signer.Sign([]byte(message))
			if err != nil {
				t.Fatal(err)
			}
			signatures = append(signatures, signature)
		}
	}
	good := 0
	for round := range 3 {
		m.missed = 0
		good = 0
		for _, trust := range []*seal.Trust{public, keys.Trust, stranger.Trust, ended} {
			for _, message := range messages {
				for i, signature := range signatures {
					for _, at := range []time.Time{now, now.AddDate(0, -2, 0)} {
						want, wantErr := trust.Verify([]byte(message), signature, at)
						got, err := trust.VerifyKnown(m, []byte(message), signature, at)
						if got != want || !sameCause(err, wantErr) {
							t.Errorf("round %d: %q with signature %d: %+v, %v instead of %+v, %v", round, message, i, got, err, want, wantErr)
						}
						if err == nil {
							good++
						}
					}
				}
			}
		}
	}
	if len(m.good) != 2*len(messages) || good == 0 {
		t.Errorf("%d signatures are remembered, %d times one was good", len(m.good), good)
	}
	bad := 4 * 2 * len(messages) * (len(messages) - 1) // signatures of other messages by trusted keys: asked for each time, and never good
	if m.missed != bad {
		t.Errorf("asked %d times in vain for what is remembered, want %d", m.missed, bad)
	}
}

func sameCause(a, b error) bool {
	for _, cause := range []error{seal.ErrUnsigned, seal.ErrUnknownSigner, seal.ErrBadSignature, seal.ErrExpiredSigner} {
		if errors.Is(a, cause) != errors.Is(b, cause) {
			return false
		}
	}
	return (a == nil) == (b == nil)
}
