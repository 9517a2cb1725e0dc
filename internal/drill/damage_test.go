package drill_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/klauspost/compress/zstd"
	bolt "go.etcd.io/bbolt"

	"github.com/drd-project/drd/internal/drill"
	"github.com/drd-project/drd/internal/proof"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/seal/sealtest"
)

// scene is one snapshot that is about to be damaged, and what else there is to do it with.
type scene struct {
	*place
	source source
	plain  []byte // with its trailer
	backup *backup
}

// reseal replaces the plaintext, and makes the manifest say of it what can be said without looking into it.
func (s *scene) reseal(t *testing.T, plain []byte) {
	t.Helper()
	old := s.backup.manifest
	s.backup = s.backupOf(t, plain, s.source.Facts, captureTime)
	s.backup.manifest.Previous = old.Previous
}

// withTrailer appends the trailer that fits a store.
func withTrailer(store []byte) []byte {
	sum := sha256.Sum256(store)
	return append(slices.Clone(store), sum[:]...)
}

// rewritten returns the snapshot with a change made through bbolt: sound in every page, and with a trailer that fits.
func (s *scene) rewritten(t *testing.T, change func(tx *bolt.Tx) error) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "db")
	if err := os.WriteFile(path, s.plain[:len(s.plain)-sha256.Size], 0o600); err != nil {
		t.Fatal(err)
	}
	db, err := bolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Update(change); err != nil {
		t.Fatal(err)
	}
	var store bytes.Buffer // as etcd makes a snapshot: the file may be longer than what is in it
	err = db.View(func(tx *bolt.Tx) error {
		_, err := tx.WriteTo(&store)
		return err
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	s.source.Facts.DBSize = int64(store.Len())
	return withTrailer(store.Bytes())
}

// spoil changes a stored object behind the repository's back.
func (s *scene) spoil(t *testing.T, name string, change func(content []byte) []byte) {
	t.Helper()
	path := filepath.Join(s.path, cluster, "snapshots", s.backup.manifest.ID, name)
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if content = change(content); content == nil {
		err = os.Remove(path)
	} else {
		err = os.WriteFile(path, content, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func flip(at int) func([]byte) []byte {
	return func(b []byte) []byte {
		b = slices.Clone(b)
		b[(at+len(b))%len(b)] ^= 1
		return b
	}
}

const (
	payloadName   = "snapshot.db.zst.age"
	manifestName  = "manifest.json"
	signatureName = "manifest.json.sig"
)

// damage is a way to spoil a backup. before changes it before it is uploaded, after what was uploaded.
type damage struct {
	check         string // that must find it
	cause         string // in the cause
	before, after func(t *testing.T, s *scene)
}

// stored is damage to what was uploaded whole.
func stored(check, cause, object string, change func([]byte) []byte) damage {
	return damage{check: check, cause: cause, after: func(t *testing.T, s *scene) { s.spoil(t, object, change) }}
}

// lie is a manifest that was signed by its node and is wrong.
func lie(check, cause string, change func(m *repo.Manifest)) damage {
	return damage{check: check, cause: cause, before: func(_ *testing.T, s *scene) { change(s.backup.manifest) }}
}

// inObject is damage that was there before the object was hashed and signed.
func inObject(check, cause string, change func(object []byte) []byte) damage {
	return damage{check: check, cause: cause, before: func(_ *testing.T, s *scene) { s.backup.setObject(change(s.backup.object)) }}
}

// otherStanza changes a letter of the wrapped key into another one that base64 has.
func otherStanza(object []byte) []byte {
	b := slices.Clone(object)
	at := bytes.Index(b, []byte("\n-> X25519")) + 60
	if b[at] == 'A' {
		b[at] = 'B'
	} else {
		b[at] = 'A'
	}
	return b
}

// inPlain is damage to the plaintext that was there before it was sealed, its trailer too.
func inPlain(check, cause string, change func(t *testing.T, s *scene) []byte) damage {
	return damage{check: check, cause: cause, before: func(t *testing.T, s *scene) { s.reseal(t, change(t, s)) }}
}

// headerEnd is where the age header ends and its payload begins.
func headerEnd(object []byte) int {
	mac := bytes.Index(object, []byte("\n--- "))
	return mac + 1 + bytes.IndexByte(object[mac+1:], '\n') + 1
}

var damages = map[string]damage{
	"object: bit flip":           stored(drill.CheckObject, "SHA-256 is", payloadName, flip(-1000)),
	"object: bit flip in header": stored(drill.CheckObject, "SHA-256 is", payloadName, flip(60)),
	"object: last bit":           stored(drill.CheckObject, "SHA-256 is", payloadName, flip(-1)),
	"object: truncated":          stored(drill.CheckObject, "bytes, recorded are", payloadName, func(b []byte) []byte { return b[:len(b)-1] }),
	"object: empty":              stored(drill.CheckObject, "0 bytes, recorded are", payloadName, func([]byte) []byte { return []byte{} }),
	"object: longer":             stored(drill.CheckObject, "bytes, recorded are", payloadName, func(b []byte) []byte { return append(b, 0) }),
	"object: missing":            stored(drill.CheckObject, "is missing", payloadName, func([]byte) []byte { return nil }),
	"manifest: missing": {check: drill.CheckManifest, cause: "no manifest", after: func(t *testing.T, s *scene) {
		s.config.Now = tomorrow
		s.spoil(t, manifestName, func([]byte) []byte { return nil })
	}},
	"manifest: bit flip":            stored(drill.CheckSignature, "did not sign this content", manifestName, flip(200)),
	"signature: missing":            stored(drill.CheckSignature, "not signed", signatureName, func([]byte) []byte { return nil }),
	"signature: bit flip":           stored(drill.CheckSignature, "bad signature", signatureName, flip(-60)),
	"envelope: recipient's stanza":  inObject(drill.CheckEnvelope, "no identity matches", otherStanza),
	"envelope: header's mac":        inObject(drill.CheckEnvelope, "damaged", func(b []byte) []byte { return flip(headerEnd(b) - 10)(b) }),
	"envelope: bit flip in content": inObject(drill.CheckEnvelope, "damaged", func(b []byte) []byte { return flip(headerEnd(b) + 100)(b) }),
	"envelope: cut short":           inObject(drill.CheckEnvelope, "damaged", func(b []byte) []byte { return b[:len(b)-1000] }),
	"manifest: wrong revision": lie(drill.CheckRevision, "expected 363, found 3", func(m *repo.Manifest) {
		m.Revision, m.HashKV.Revision, m.ID = 363, 363, repo.ID{Time: captureTime, Revision: 363, Member: memberID}.String()
	}),
	"manifest: wrong compact revision": lie(drill.CheckCompactRevision, "expected 181, found 180", func(m *repo.Manifest) {
		m.CompactRevision, m.HashKV.CompactRevision = 181, 181
	}),
	"manifest: wrong count": lie(drill.CheckKeys, "keys", func(m *repo.Manifest) { m.Keys-- }),
	"manifest: wrong hash":  lie(drill.CheckHashKV, "expected", func(m *repo.Manifest) { m.HashKV.Hash ^= 1 }),
	"manifest: wrong hash of the plaintext": lie(drill.CheckTrailer, "its trailer says", func(m *repo.Manifest) {
		m.Plain.SHA256 = strings.Repeat("0", 64)
	}),
	"manifest: wrong size of the plaintext": lie(drill.CheckTrailer, "bytes of plaintext instead of", func(m *repo.Manifest) {
		m.DBSize, m.Plain.Size = m.DBSize-4096, m.Plain.Size-4096
	}),
	"members: another hash from a live member": lie(drill.CheckMembers, "have other content", func(m *repo.Manifest) {
		m.Compared = []repo.Comparison{{Member: "1", Hash: 7, Revision: m.Revision, CompactRevision: m.CompactRevision, Result: repo.ResultDiffers}}
	}),
	"foreign signer": {check: drill.CheckSignature, cause: "unknown signer", before: func(t *testing.T, s *scene) { s.backup.signer = sealtest.New(t).Signer }},
	"zstd: bit flip in the frame": {check: drill.CheckEnvelope, cause: "damaged", before: func(t *testing.T, s *scene) {
		s.backup.setObject(s.encrypt(t, flipped(t, compress(t, s.plain), s.plain)))
	}},
	"zstd: no frame": {check: drill.CheckEnvelope, cause: "damaged", before: func(t *testing.T, s *scene) {
		s.backup.setObject(s.encrypt(t, s.plain))
	}},
	"trailer: bit flip":      inPlain(drill.CheckTrailer, "sha-256 of the store", func(_ *testing.T, s *scene) []byte { return flip(-1)(s.plain) }),
	"trailer: of other data": inPlain(drill.CheckTrailer, "sha-256 of the store", func(_ *testing.T, s *scene) []byte { return flip(-33)(s.plain) }),
	"bbolt: page headers": inPlain(drill.CheckStructure, "damaged", func(_ *testing.T, s *scene) []byte {
		store := slices.Clone(s.plain[:len(s.plain)-sha256.Size])
		for i := 2 * 4096; i < len(store); i += 4096 {
			copy(store[i:], bytes.Repeat([]byte{0xff}, 16))
		}
		return withTrailer(store)
	}),
	"bbolt: meta pages": inPlain(drill.CheckStructure, "damaged", func(_ *testing.T, s *scene) []byte {
		store := slices.Clone(s.plain[:len(s.plain)-sha256.Size])
		store[16], store[4096+16] = store[16]^1, store[4096+16]^1
		return withTrailer(store)
	}),
	"key bucket: bit flip in a value": inPlain(drill.CheckHashKV, "expected", func(t *testing.T, s *scene) []byte {
		return s.rewritten(t, func(tx *bolt.Tx) error {
			k, v := tx.Bucket([]byte("key")).Cursor().Last()
			return tx.Bucket([]byte("key")).Put(bytes.Clone(k), flip(-1)(v))
		})
	}),
	"key bucket: an entry is gone": inPlain(drill.CheckKeys, "revisions", func(t *testing.T, s *scene) []byte {
		return s.rewritten(t, func(tx *bolt.Tx) error {
			k, _ := tx.Bucket([]byte("key")).Cursor().First()
			return tx.Bucket([]byte("key")).Delete(bytes.Clone(k))
		})
	}),
	"meta bucket: bit flip": inPlain(drill.CheckCompactRevision, "expected 180, found 181", func(t *testing.T, s *scene) []byte {
		return s.rewritten(t, func(tx *bolt.Tx) error {
			meta := tx.Bucket([]byte("meta"))
			return meta.Put([]byte("finishedCompactRev"), flip(7)(meta.Get([]byte("finishedCompactRev"))))
		})
	}),
	"lease bucket: garbage": inPlain(drill.CheckRestore, "lease record", func(t *testing.T, s *scene) []byte {
		return s.rewritten(t, func(tx *bolt.Tx) error {
			k, _ := tx.Bucket([]byte("lease")).Cursor().First()
			return tx.Bucket([]byte("lease")).Put(bytes.Clone(k), []byte("garbage"))
		})
	}),
	"auth bucket: garbage": {check: drill.CheckBoot, cause: "gave up", before: func(t *testing.T, s *scene) {
		s.source = capture(t, "3.7", "auth", withAuth)
		s.plain = plainOf(t, s.source)
		s.reseal(t, s.rewritten(t, func(tx *bolt.Tx) error { return tx.Bucket([]byte("authUsers")).Put([]byte("root"), []byte("garbage")) }))
	}},
	"swapped: object of another snapshot": {check: drill.CheckObject, cause: "", after: func(t *testing.T, s *scene) {
		other := s.another(t, func(*repo.Manifest) {})
		s.spoil(t, payloadName, func([]byte) []byte { return other[payloadName] })
	}},
	"swapped: whole older snapshot under a newer name": {check: drill.CheckManifest, cause: "manifest is of snapshot", after: func(t *testing.T, s *scene) {
		for name, content := range s.another(t, func(*repo.Manifest) {}) {
			s.spoil(t, name, func([]byte) []byte { return content })
		}
	}},
	"swapped: whole snapshot of another cluster": {check: drill.CheckManifest, cause: "manifest is of cluster staging", after: func(t *testing.T, s *scene) {
		s.foreign(t, "staging")
	}},
	"forged: an object by somebody with the public key": {check: drill.CheckObject, cause: "SHA-256 is", after: func(t *testing.T, s *scene) {
		forged := s.encrypt(t, compress(t, s.plain))
		s.spoil(t, payloadName, func(b []byte) []byte { return sameLength(t, forged, b) })
	}},
	"forged: a snapshot by somebody with the public key": {check: drill.CheckSignature, cause: "unknown signer", before: func(t *testing.T, s *scene) {
		s.backup.setObject(s.encrypt(t, compress(t, s.plain)))
		s.backup.signer = sealtest.New(t).Signer
	}},
}

func compress(t *testing.T, plain []byte) []byte {
	t.Helper()
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderCRC(true))
	if err != nil {
		t.Fatal(err)
	}
	return enc.EncodeAll(plain, nil)
}

// flipped inverts a bit of a frame that the content depends on. Not every one is such: within a run of equal bytes it is all the same where
// they are copied from.
func flipped(t *testing.T, frame, content []byte) []byte {
	t.Helper()
	dec, err := zstd.NewReader(nil, zstd.IgnoreChecksum(true))
	if err != nil {
		t.Fatal(err)
	}
	defer dec.Close()
	for at := 100; at < len(frame); at++ {
		damaged := flip(-at)(frame)
		if got, err := dec.DecodeAll(damaged, nil); err != nil || !bytes.Equal(got, content) {
			return damaged
		}
	}
	t.Fatal("no bit of the frame counts")
	return nil
}

// encrypt makes an object of the content, as everybody can who has the public key.
func (p *place) encrypt(t *testing.T, content []byte) []byte {
	t.Helper()
	keys, err := os.Open(p.keys.RecipientsFile)
	if err != nil {
		t.Fatal(err)
	}
	defer keys.Close()
	to, err := age.ParseRecipients(keys)
	if err != nil {
		t.Fatal(err)
	}
	var sealed bytes.Buffer
	w, err := age.Encrypt(&sealed, to...)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return sealed.Bytes()
}

// sameLength gives content the length of another object: a size that is wrong is found without reading it.
func sameLength(t *testing.T, content, like []byte) []byte {
	t.Helper()
	if len(content) < len(like) {
		return append(slices.Clone(content), make([]byte, len(like)-len(content))...)
	}
	return content[:len(like)]
}

// another uploads an older genuine snapshot, and returns its objects.
func (s *scene) another(t *testing.T, change func(*repo.Manifest)) map[string][]byte {
	t.Helper()
	b := s.backupOf(t, s.plain, s.source.Facts, captureTime.Add(-24*time.Hour))
	change(b.manifest)
	s.put(t, b)
	objects := make(map[string][]byte)
	for _, name := range []string{payloadName, manifestName, signatureName} {
		content, err := os.ReadFile(filepath.Join(s.path, cluster, "snapshots", b.manifest.ID, name))
		if err != nil {
			t.Fatal(err)
		}
		objects[name] = content
	}
	return objects
}

// foreign puts a snapshot of another cluster, signed by a node that is trusted here too, in the place of ours.
func (s *scene) foreign(t *testing.T, name string) {
	t.Helper()
	b := s.backupOf(t, s.plain, s.source.Facts, captureTime)
	b.manifest.Cluster = name
	signed, err := repo.Sign(b.manifest, b.signer)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{payloadName: b.object, manifestName: signed.Bytes, signatureName: signed.Signature} {
		s.spoil(t, name, func([]byte) []byte { return content })
	}
}

// TestDamage: every kind of damage fails the drill, in the layer that it is in, and no later one is tried.
func TestDamage(t *testing.T) {
	src := ordinary(t, "3.7")
	plain := plainOf(t, src)
	for name, d := range damages {
		t.Run(name, func(t *testing.T) {
			s := &scene{place: newPlace(t), source: src, plain: plain}
			s.backup = s.backupOf(t, plain, src.Facts, captureTime)
			if d.before != nil {
				d.before(t, s)
			}
			id := s.put(t, s.backup)
			if d.after != nil {
				d.after(t, s)
			}
			level := proof.LevelData
			if d.check == drill.CheckRestore || d.check == drill.CheckBoot {
				level = proof.LevelDrill
			}
			got := s.drill(t, id, level, nil, nil)
			if got.Outcome != proof.Failed || !strings.HasPrefix(got.Cause, d.check+": ") || !strings.Contains(got.Cause, d.cause) {
				t.Errorf("outcome %s, cause %q; want %s to fail with %q", got.Outcome, got.Cause, d.check, d.cause)
			}
			wantEnded(t, got, d.check, proof.Failed)
		})
	}
}

// wantEnded checks that one check ended the drill: those before it passed or did not apply, and none was made after it.
func wantEnded(t *testing.T, d proof.Drill, check string, outcome proof.Outcome) {
	t.Helper()
	reached := true
	for _, c := range d.Checks {
		switch {
		case c.Name == check:
			reached = false
			if c.Outcome != outcome || c.Detail == "" {
				t.Errorf("%s is %s, detail %q", c.Name, c.Outcome, c.Detail)
			}
		case c.Name == drill.CheckWipe:
			if c.Outcome != proof.Passed && c.Outcome != proof.Skipped {
				t.Errorf("wipe: %s, %s", c.Outcome, c.Detail)
			}
		case reached && c.Outcome != proof.Passed && c.Outcome != proof.Skipped, !reached && c.Detail != "not reached":
			t.Errorf("%s is %s: %q", c.Name, c.Outcome, c.Detail)
		}
	}
	if reached {
		t.Errorf("%s was never made", check)
	}
}

// TestAccepted: the damage of the other tests is what they find, not the way in which they make it.
func TestAccepted(t *testing.T) {
	src := ordinary(t, "3.7")
	s := &scene{place: newPlace(t), source: src, plain: plainOf(t, src)}
	s.backup = s.backupOf(t, s.plain, src.Facts, captureTime)
	s.backup.setObject(s.encrypt(t, compress(t, s.plain)))
	sum := sha256.Sum256(s.plain[:len(s.plain)-sha256.Size])
	if got := hex.EncodeToString(sum[:]); got != s.backup.manifest.Plain.SHA256 {
		t.Fatalf("trailer %s, plaintext %s", s.backup.manifest.Plain.SHA256, got)
	}
	wantPassed(t, s.drill(t, s.put(t, s.backup), proof.LevelData, nil, nil), drill.CheckChain, drill.CheckMembers)
}
