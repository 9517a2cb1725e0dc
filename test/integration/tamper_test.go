package integration

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/drd-project/drd/test/servers"
)

// objects are the objects of a target, by key; a test falsifies a copy of them.
type objects map[string][]byte

// damage is something that happens to a target, or is done to it.
type damage struct {
	name    string
	do      func(o objects, a attack)
	state   string // that drd list shows
	problem string // that drd list shows
	refusal string // that drd restore gives
}

// attack is what somebody has who can write to the bucket: two snapshots, and a signing key of their own.
type attack struct {
	payload, manifest, signature string // keys of the snapshot to be falsified
	other                        string // ID of another snapshot, newer
	sign                         func(data []byte) []byte
}

func damages() []damage {
	return []damage{
		{"payload-flipped", func(o objects, a attack) { o[a.payload] = flipped(o[a.payload]) }, "ok", "", "content differs from what was recorded"},
		{"payload-truncated", func(o objects, a attack) { o[a.payload] = o[a.payload][:len(o[a.payload])-1] }, "payload-size", "recorded are", "payload-size"},
		{"payload-missing", func(o objects, a attack) { delete(o, a.payload) }, "payload-missing", "is missing", "payload-missing"},
		{"manifest-edited", func(o objects, a attack) {
			o[a.manifest] = bytes.Replace(o[a.manifest], []byte(`"raft_term": `), []byte(`"raft_term": 1`), 1)
		}, "bad-signature", "signature", "bad-signature"},
		{"manifest-cut", func(o objects, a attack) { o[a.manifest] = o[a.manifest][:100] }, "bad-signature", "signature", "bad-signature"},
		{"manifest-missing", func(o objects, a attack) { delete(o, a.manifest) }, "incomplete", "no manifest", "incomplete"},
		{"signature-missing", func(o objects, a attack) { delete(o, a.signature) }, "unsigned", "not signed", "unsigned"},
		{"signature-of-another-key", func(o objects, a attack) { o[a.signature] = a.sign(o[a.manifest]) }, "unknown-signer", "", "unknown-signer"},
		{"signature-of-other-content", func(o objects, a attack) { o[a.signature] = o[objectOf(a.other, "manifest.json.sig")] }, "bad-signature", "", "bad-signature"},
		{"everything-signed-anew", func(o objects, a attack) {
			o[a.manifest] = bytes.Replace(o[a.manifest], []byte(`"raft_term": `), []byte(`"raft_term": 1`), 1)
			o[a.signature] = a.sign(o[a.manifest])
		}, "unknown-signer", "", "unknown-signer"},
		{"manifest-of-another-snapshot", func(o objects, a attack) {
			o[a.manifest], o[a.signature] = o[objectOf(a.other, "manifest.json")], o[objectOf(a.other, "manifest.json.sig")]
		}, "bad-manifest", "manifest is of snapshot", "bad-manifest"},
	}
}

func flipped(data []byte) []byte {
	data = bytes.Clone(data)
	data[len(data)/2] ^= 1
	return data
}

// TestTampering: whatever is done to a snapshot in the bucket, drd list names it or drd restore finds it, and nothing of
// it ever stands where a restore ends.
func TestTampering(t *testing.T) {
	t.Parallel()
	e := servers.StartEtcd(t, servers.EtcdConfig{})
	minio := servers.StartMinIO(t).S3
	st := newBucket(t, minio, "genuine")
	s := newSite(t, ofEtcd(e), st)
	load(t, e, "app/", s.value)
	victim := s.snapshot()
	write(t, e.Client(t), "more/", s.value, 5)
	a := attack{
		payload: objectOf(victim.ID, victim.Object.Name), manifest: objectOf(victim.ID, "manifest.json"),
		signature: objectOf(victim.ID, "manifest.json.sig"), other: s.snapshot().ID, sign: strangersKey(t, s),
	}
	genuine := st.objects(t)
	for _, d := range damages() {
		t.Run(d.name, func(t *testing.T) {
			falsified := objects{}
			for key, content := range genuine {
				falsified[key] = content
			}
			d.do(falsified, a)
			copied := newBucket(t, minio, "with-"+d.name)
			for key, content := range falsified {
				copied.put(t, key, content)
			}
			refused(t, s.in(t), copied, victim.ID, d)
		})
	}
}

// refused wants a damage to be named and the snapshot not to be restored.
func refused(t *testing.T, s *site, st store, id string, d damage) {
	t.Helper()
	listed := s.list(0, s.elsewhere(st)...)
	if len(listed) != 2 || listed[0].ID != id || listed[1].State != "ok" {
		t.Fatalf("listed: %+v", listed)
	}
	if victim := listed[0]; victim.State != d.state || (d.state == "ok") != (victim.Problem == "") || !bytes.Contains([]byte(victim.Problem), []byte(d.problem)) {
		t.Errorf("listed as %s (%s), want %s (%s)", victim.State, victim.Problem, d.state, d.problem)
	}
	file, m := filepath.Join(t.TempDir(), "snapshot.db"), s.newMember(d.name)
	for _, destination := range [][]string{{"--output", file}, m.flags()} {
		s.fails(1, slices.Concat([]string{"restore", "--yes", "--id", id, "--identity", s.identity()}, s.elsewhere(st), destination)...).wants(t, d.refusal)
	}
	wantNothing(t, file)
	wantNothing(t, m.dir)
	wantNoScratch(t, filepath.Dir(file))
	wantNoScratch(t, s.dir)
}

// wantNoScratch wants no working directory of a restore in dir.
func wantNoScratch(t *testing.T, dir string) {
	t.Helper()
	if found := scratchIn(t, dir); len(found) != 0 {
		t.Errorf("a restore left %q", found)
	}
}

func scratchIn(t *testing.T, dir string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, ".drd-restore-*"))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// strangersKey signs as drd does, with a key that nobody trusts.
func strangersKey(t *testing.T, s *site) func([]byte) []byte {
	t.Helper()
	dir := t.TempDir()
	s.must("keygen", "--only", "signing", "--dir", dir, "--name", "node-1")
	return func(data []byte) []byte {
		cmd := exec.CommandContext(t.Context(), servers.Tool(t, "ssh-keygen"), "-Y", "sign", "-n", "drd", "-f", filepath.Join(dir, "signing.key"))
		cmd.Stdin = bytes.NewReader(data)
		signature, err := cmd.Output()
		if err != nil {
			t.Fatalf("sign with ssh-keygen: %v", err)
		}
		return signature
	}
}

// TestDamagedCopy: the copy of the other target is used, and the one that is damaged is named.
func TestDamagedCopy(t *testing.T) {
	t.Parallel()
	e := servers.StartEtcd(t, servers.EtcdConfig{})
	first, second := inDirectory(t), inDirectory(t)
	s := newSite(t, ofEtcd(e), first, second)
	load(t, e, "app/", s.value)
	lost := contentOf(t, e)
	m := s.snapshot()
	payload := objectOf(m.ID, m.Object.Name)
	first.put(t, payload, flipped(first.objects(t)[payload]))

	restored := s.newMember("m")
	r := s.must(slices.Concat([]string{"restore", "--yes", "--json", "--identity", s.identity()}, restored.flags())...)
	if doc := decode[restoreDocument](t, r); doc.Source.Name != "t2" || len(doc.Notices) != 1 {
		t.Errorf("it was not the other copy: %v", r)
	}
	r.wants(t, "drd: note: fetch from t1: ", "going on with t2")
	wantContent(t, restored.start(t, e.Version()), lost)

	second.put(t, payload, second.objects(t)[payload][:1000])
	out := s.path("snapshot.db")
	s.fails(1, "restore", "--yes", "--identity", s.identity(), "--output", out).wants(t, "fetch from t1: ", "content differs from what was recorded", "t2: its copy of")
	wantNothing(t, out)
}

func writeFile(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}
