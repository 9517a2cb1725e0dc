// Package unlock is what travels to the machine that has the identity, when the identity must not come near the machine that
// is restored: the header of one sealed object, and what it is said to be of.
//
// The header is all that it takes to recover the key of that object, and whoever holds the identity should know what they
// hand out. So the signed manifest of the snapshot travels with it. The signature proves that such a snapshot was taken by
// whom it names. It does not prove that the header is the one of its object: the manifest has the hash of the whole
// object, which is not here. Somebody who writes the request can put another header in, and gets that object's key.
package unlock

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/seal"
)

const (
	// Kind is what every request says it is.
	Kind = "drd-unlock-request"
	// Format is the format that this drd writes, and the only one it reads.
	Format = 1
	// Max bounds a request in bytes: base64 makes four of three of a header of at most 2 MiB and a manifest.
	Max = 3 << 20
)

// Request asks for the key of one object. Its JSON form is the file.
type Request struct {
	Kind   string `json:"kind"`
	Format int    `json:"format"`

	// These repeat the manifest, for people. Parse refuses a request that contradicts itself.
	Cluster      string    `json:"cluster"`
	Snapshot     string    `json:"snapshot"` // its ID
	CapturedAt   time.Time `json:"captured_at"`
	ObjectSHA256 string    `json:"object_sha256"`

	Manifest  []byte `json:"manifest"`  // exact bytes
	Signature string `json:"signature"` // armored; "": there is none
	Header    []byte `json:"header"`    // of the sealed object

	manifest *repo.Manifest
}

// New makes a request of the exact bytes of a manifest, the signature over them and the header of its object.
func New(manifest, signature, header []byte) (*Request, error) {
	m, err := repo.DecodeManifest(manifest)
	if err != nil {
		return nil, fmt.Errorf("make unlock request: %w", err)
	}
	return &Request{
		Kind: Kind, Format: Format, Cluster: m.Cluster, Snapshot: m.ID, CapturedAt: m.CaptureStart, ObjectSHA256: m.Object.SHA256,
		Manifest: manifest, Signature: string(signature), Header: header, manifest: m,
	}, nil
}

// Encode renders the file.
func (r *Request) Encode() ([]byte, error) {
	b, err := repo.EncodeJSON(r)
	if err != nil {
		return nil, fmt.Errorf("render unlock request: %w", err)
	}
	return b, nil
}

// Looks reports whether a file that begins so is meant to be a request, and not a header by itself.
func Looks(begin []byte) bool { return bytes.HasPrefix(begin, []byte("{")) }

// Parse reads a file and checks that it does not contradict itself. It says nothing of the signature.
func Parse(b []byte) (*Request, error) {
	if err := repo.CheckJSON(b, Max); err != nil {
		return nil, fmt.Errorf("unlock request: %w", err)
	}
	r := new(Request)
	if err := json.Unmarshal(b, r); err != nil {
		return nil, fmt.Errorf("unlock request: %w", err)
	}
	if r.Kind != Kind || r.Format != Format {
		return nil, hint.New(fmt.Errorf("unlock request: kind %.40q, format %d: this drd reads %s, format %d", r.Kind, r.Format, Kind, Format),
			"use the version of drd that wrote it")
	}
	m, err := repo.DecodeManifest(r.Manifest)
	if err != nil {
		return nil, fmt.Errorf("unlock request: %w", err)
	}
	if r.Cluster != m.Cluster || r.Snapshot != m.ID || !r.CapturedAt.Equal(m.CaptureStart) || r.ObjectSHA256 != m.Object.SHA256 {
		return nil, errors.New("unlock request: what it says of the snapshot is not what the manifest in it says")
	}
	header, err := seal.Header(bytes.NewReader(r.Header))
	if err != nil {
		return nil, fmt.Errorf("unlock request: %w", err)
	}
	r.Header, r.manifest = header, m
	return r, nil
}

// About is the manifest.
func (r *Request) About() *repo.Manifest { return r.manifest }

// Verify says who signed the manifest, by a key that was valid when the capture began. Its errors are those of
// seal.Trust.Verify.
func (r *Request) Verify(trust *seal.Trust) (seal.Signed, error) {
	id, err := repo.ParseID(r.manifest.ID)
	if err != nil {
		return seal.Signed{}, fmt.Errorf("unlock request: %w", err)
	}
	signer, err := trust.Verify(r.Manifest, []byte(r.Signature), id.Time)
	if err != nil {
		return seal.Signed{}, fmt.Errorf("unlock request: manifest of %s: %w", r.Snapshot, err)
	}
	return signer, nil
}
