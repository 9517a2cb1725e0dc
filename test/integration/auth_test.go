package integration

import (
	"fmt"
	"path/filepath"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/drd-project/drd/test/planted"
	"github.com/drd-project/drd/test/servers"
)

// TestAuthentication: a cluster with users is backed up by one with the root role, and everybody else is told what is missing.
func TestAuthentication(t *testing.T) {
	t.Parallel()
	e := servers.StartEtcd(t, servers.EtcdConfig{})
	client := e.Client(t)
	st := inDirectory(t)
	passwords := map[string]string{"root": planted.Secret(), "reader": planted.Secret()}
	s := newSite(t, ofEtcd(e), st)
	for _, p := range passwords {
		s.secrets = append(s.secrets, p)
	}
	load(t, e, "app/", s.value)
	enableAuth(t, client, passwords)

	s.fails(1, "snapshot").wants(t, "no user was given", "hint: set etcd.username and etcd.password_file")
	for _, c := range []struct{ user, password, want, hint string }{
		{"root", "wrong", "permission denied", "hint: check etcd.username and the content of"},
		{"nobody", "wrong", "permission denied", "hint: check etcd.username and the content of"},
		{"reader", passwords["reader"], "permission denied", "hint: snapshots and hashes need the root role"},
	} {
		s.logIn(e, c.user, c.password)
		s.fails(1, "snapshot").wants(t, c.want, c.hint)
		s.fails(1, "check").shows(t, "failed", c.want)
	}
	if found := st.objects(t); len(found) != 1 || found[cluster+"/write-check"] == nil { // drd check leaves it
		t.Errorf("somebody without rights brought %d objects to the target", len(found))
	}
	s.logIn(e, "root", passwords["root"])
	if m := s.snapshot(); !m.AuthEnabled {
		t.Error("the manifest does not say that authentication is on")
	}
	m := s.newMember("m")
	s.must(append([]string{"restore", "--yes", "--identity", s.identity()}, m.flags()...)...).wants(t, "authentication is on")
	wantUsers(t, m, e.Version(), s, passwords)
}

func enableAuth(t *testing.T, client *clientv3.Client, passwords map[string]string) {
	t.Helper()
	ctx := t.Context()
	for user, password := range passwords {
		if _, err := client.UserAdd(ctx, user, password); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := client.RoleAdd(ctx, "root"); err != nil {
		t.Fatal(err)
	}
	if _, err := client.UserGrantRole(ctx, "root", "root"); err != nil {
		t.Fatal(err)
	}
	if _, err := client.AuthEnable(ctx); err != nil {
		t.Fatal(err)
	}
}

// logIn changes the configuration to this user.
func (s *site) logIn(e *servers.Etcd, user, password string) {
	s.t.Helper()
	path := filepath.Join(s.dir, "password")
	writeFile(s.t, path, password+"\n")
	s.write(ofEtcd(e) + fmt.Sprintf(", username: %s, password_file: %q", user, path))
}

// wantUsers wants a restored member to know its users.
func wantUsers(t *testing.T, m member, version string, s *site, passwords map[string]string) {
	t.Helper()
	e := m.start(t, version)
	if _, err := e.Client(t).Get(t.Context(), "app/0001"); err == nil {
		t.Error("the restored member lets everybody read")
	}
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{e.Endpoint()}, Username: "root", Password: passwords["root"]})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	got, err := client.Get(t.Context(), "app/0001")
	if err != nil || got.Count != 1 || string(got.Kvs[0].Value) != s.value+" changed" {
		t.Errorf("root reads %v, %v", got, err)
	}
}
