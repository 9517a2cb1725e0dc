package repo

import "testing"

func TestParseKey(t *testing.T) {
	r := open(t, newMemory())
	id := at(0, 48211, memberA)
	for key, want := range map[string]string{
		r.ManifestKey(id):                                       "manifest.json",
		r.SignatureKey(id):                                      "manifest.json.sig",
		r.PayloadKey(id, "snapshot.db.zst.age"):                 "snapshot.db.zst.age",
		r.PayloadKey(id, "notes.txt"):                           "",
		r.PayloadKey(id, "a/manifest.json"):                     "",
		r.Prefix() + id.String():                                "",
		r.Prefix() + "x/manifest.json":                          "",
		"other/snapshots/" + id.String() + "/manifest.json":     "",
		testCluster + "/kits/" + id.String() + "/manifest.json": "",
		id.String() + "/manifest.json":                          "",
		"":                                                      "",
	} {
		got, name, ok := r.ParseKey(key)
		if ok != (want != "") || ok && (name != want || got.Compare(id) != 0) {
			t.Errorf("%q is %s, %q, %v", key, got, name, ok)
		}
	}
}
