package repo

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/seal"
	"github.com/drd-project/drd/internal/storage"
)

// State says in one word what a look at a snapshot's objects found. It is shown to people and
// stands in JSON output.
type State string

// The states of an entry, in the order in which they are looked for: an entry has the first one that applies.
const (
	// StateIncomplete: there is no manifest. An upload in progress, or litter.
	StateIncomplete State = "incomplete"
	// StateUnread: there is a manifest, and nobody read it: the look was at the newest snapshots only.
	StateUnread State = "unread"
	// StateUnreadable: the store did not hand out manifest or signature. Nothing is known about them;
	// this is not a finding of damage.
	StateUnreadable State = "unreadable"
	// StateUnsigned: there is a manifest and no signature.
	StateUnsigned State = "unsigned"
	// StateBadSignature: the signature does not belong to the manifest.
	StateBadSignature State = "bad-signature"
	// StateUnknownSigner: the signing key is not trusted.
	StateUnknownSigner State = "unknown-signer"
	// StateExpiredSigner: the signing key was not valid when the capture began.
	StateExpiredSigner State = "expired-signer"
	// StateNewerFormat: the manifest is of a later format than this drd reads.
	StateNewerFormat State = "newer-format"
	// StateBadManifest: the manifest cannot be one of this snapshot: too large, malformed, contradictory, or
	// that of another snapshot or cluster.
	StateBadManifest State = "bad-manifest"
	// StatePayloadMissing: the sealed object is not there.
	StatePayloadMissing State = "payload-missing"
	// StatePayloadSize: the sealed object has another size than the manifest records.
	StatePayloadSize State = "payload-size"
	// StateUnverified: all is there, and nobody asked for the signature to be checked.
	StateUnverified State = "unverified"
	// StateOK: all is there, the signature is good and trusted. The payload's content was not read.
	StateOK State = "ok"
)

// Entry is one snapshot as it was found.
type Entry struct {
	ID    ID
	State State
	// Problem is all that is wrong, on one printable line of at most 300 bytes; nil for StateOK, StateUnverified and
	// StateUnread. Of the errors it tells, those of seal and storage that callers ask for are found with errors.Is.
	Problem  error
	Manifest *Manifest      // nil when it was not read, or cannot be believed
	Digest   string         // hex SHA-256 of the manifest's bytes, "" when they were not read
	Signer   seal.Signed    // zero unless the signature is good
	Payload  storage.Object // as listed, without a manifest the first one; zero when it is not there
	Modified time.Time      // of the manifest, else of the newest object, by the store's clock

	claimed *place // what a manifest without a trusted signature says of the history; nil when it says nothing
}

// Restorable reports whether a restore may use the entry: manifest and payload are there and the
// signature is good. With insecure, signatures do not count; that finds only what was looked at without trust, for
// a look with trust does not keep the manifests that it refuses.
func (e *Entry) Restorable(insecure bool) bool {
	if e.Manifest == nil || e.payloadProblem() != nil {
		return false
	}
	return insecure || e.State == StateOK
}

// payloadProblem compares what was listed with the manifest.
func (e *Entry) payloadProblem() error {
	switch {
	case e.Payload.Key == "":
		return fmt.Errorf("payload %s is missing", e.Manifest.Object.Name)
	case e.Payload.Size != e.Manifest.Object.Size:
		return fmt.Errorf("payload has %d bytes, recorded are %d", e.Payload.Size, e.Manifest.Object.Size)
	}
	return nil
}

// fail records a problem. The first one names the state.
func (e *Entry) fail(state State, problem error) {
	if e.State == "" {
		e.State, e.Problem = state, Describe(problem)
		return
	}
	e.Problem = Describe(e.Problem, problem)
}

// judgeManifest decodes and checks a manifest's bytes and reports whether they describe this entry.
func (e *Entry) judgeManifest(b []byte, cluster string, known seal.Known) bool {
	m, err := decodeKnown(known, b, DecodeManifest, decodeManifest)
	switch {
	case errors.Is(err, ErrNewerFormat):
		e.fail(StateNewerFormat, err)
	case err != nil:
		e.fail(StateBadManifest, err)
	case m.Cluster != cluster:
		e.fail(StateBadManifest, fmt.Errorf("manifest is of cluster %s", m.Cluster))
	case m.ID != e.ID.String():
		e.fail(StateBadManifest, fmt.Errorf("manifest is of snapshot %s", m.ID))
	default:
		e.Manifest = m
		return true
	}
	return false
}

// judgeSignature checks the signature over a manifest's bytes. A key counts as valid when it was at the start of the
// capture, of which the ID has the seconds.
func (e *Entry) judgeSignature(b, signature []byte, trust *seal.Trust, known seal.Known) {
	signer, err := trust.VerifyKnown(known, b, signature, e.ID.Time)
	switch {
	case err == nil:
		e.Signer = signer
	case errors.Is(err, seal.ErrUnsigned):
		e.failUnsigned()
	case errors.Is(err, seal.ErrUnknownSigner):
		e.fail(StateUnknownSigner, err)
	case errors.Is(err, seal.ErrExpiredSigner):
		e.fail(StateExpiredSigner, err)
	default:
		e.fail(StateBadSignature, err)
	}
}

// keepClaim keeps what a manifest without a trusted signature says of the history, and nothing else of it: no restore
// uses it, but a node that trusts other keys must not start a timeline of its own for that.
func (e *Entry) keepClaim(b []byte, cluster string) {
	if e.State != StateUnknownSigner && e.State != StateExpiredSigner && e.State != StateUnreadable {
		return
	}
	p := new(place)
	if err := json.Unmarshal(b, p); err == nil && p.valid(e.ID, cluster) {
		e.claimed = p
	}
}

func (e *Entry) failUnsigned() {
	e.fail(StateUnsigned, hint.New(errors.New("manifest is not signed"),
		"a drd that works always signs: ask who wrote this before you use it"))
}

func (e *Entry) judgePayload() {
	if err := e.payloadProblem(); err != nil {
		state := StatePayloadSize
		if e.Payload.Key == "" {
			state = StatePayloadMissing
		}
		e.fail(state, err)
	}
}
