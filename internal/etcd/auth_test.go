package etcd_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/drd-project/drd/internal/etcd"
	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/test/servers"
)

const (
	rootPassword  = "Planted0Secret horse"
	plainPassword = "Planted0Secret staple"
)

// enableAuth gives the cluster a root user, and a plain one that may read every key and is no root.
func enableAuth(t *testing.T, member *servers.Etcd) {
	t.Helper()
	admin := member.Client(t)
	steps := []func() error{
		func() error { _, err := admin.UserAdd(t.Context(), "root", rootPassword); return err },
		func() error { _, err := admin.UserGrantRole(t.Context(), "root", "root"); return err },
		func() error { _, err := admin.RoleAdd(t.Context(), "reader"); return err },
		func() error {
			_, err := admin.RoleGrantPermission(t.Context(), "reader", "\x00", "\x00", 0)
			return err
		},
		func() error { _, err := admin.UserAdd(t.Context(), "plain", plainPassword); return err },
		func() error { _, err := admin.UserGrantRole(t.Context(), "plain", "reader"); return err },
		func() error { _, err := admin.AuthEnable(t.Context()); return err },
	}
	if _, err := admin.RoleAdd(t.Context(), "root"); err != nil {
		t.Fatal(err)
	}
	for i, step := range steps {
		if err := step(); err != nil {
			t.Fatalf("step %d: %v", i, err)
		}
	}
}

func withUser(t *testing.T, cfg etcd.Config, user, password string) etcd.Config {
	t.Helper()
	cfg.Username, cfg.PasswordFile = user, passwordFile(t, password+"\n", 0o600)
	return cfg
}

func passwordFile(t *testing.T, text string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	return path
}

// reads asks for what a backup needs, the way a backup does.
func reads(t *testing.T, c *etcd.Client) error {
	t.Helper()
	if _, err := c.HashKV(t.Context(), "", 0); err != nil {
		return err
	}
	stream, err := c.SnapshotStream(t.Context())
	if err != nil {
		return err
	}
	for {
		if _, err := stream.Recv(); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

func TestUsers(t *testing.T) {
	for _, version := range allVersions {
		t.Run(version, func(t *testing.T) {
			t.Parallel() // it waits more than it works
			member := servers.StartEtcd(t, servers.EtcdConfig{Version: version, Args: []string{"--auth-token-ttl", "5"}})
			fill(t, member, 20, 100)
			enableAuth(t, member)
			cfg := configOf(member)

			t.Run("root", func(t *testing.T) {
				c := connect(t, withUser(t, cfg, "root", rootPassword))
				if err := reads(t, c); err != nil {
					t.Error(err)
				}
				time.Sleep(7500 * time.Millisecond) // the token lives 5 s, and a second until etcd looks
				if err := reads(t, c); err != nil {
					t.Errorf("after the token expired: %v", err)
				}
			})
			t.Run("plain", func(t *testing.T) {
				err := reads(t, connect(t, withUser(t, cfg, "plain", plainPassword)))
				refused(t, err, `permission denied for user "plain"`, "etcdctl user grant-role plain root")
			})
			t.Run("wrong password", func(t *testing.T) {
				_, err := etcd.Connect(t.Context(), withUser(t, cfg, "root", plainPassword))
				refused(t, err, `user "root" does not exist or its password is wrong`, "etcd.username")
			})
			t.Run("no user", func(t *testing.T) {
				c, err := etcd.Connect(t.Context(), cfg)
				if err == nil { // etcd before 3.7 tells its status to anyone
					defer func() { _ = c.Close() }()
					err = reads(t, c)
				}
				refused(t, err, "the cluster has users and no user was given", "etcd.username and etcd.password_file")
			})
		})
	}
}

func refused(t *testing.T, err error, says, advice string) {
	t.Helper()
	if !errors.Is(err, etcd.ErrPermission) {
		t.Fatalf("got %v, want ErrPermission", err)
	}
	checkError(t, failure{is: etcd.ErrPermission, says: []string{says}, hint: advice}, err)
	for _, secret := range []string{rootPassword, plainPassword} {
		if text := err.Error() + strings.Join(hint.Of(err), ""); strings.Contains(text, secret) {
			t.Errorf("the error tells the password: %s", text)
		}
	}
}

// With mutual TLS the common name of a certificate is a user that needs no password.
func TestUserOfTheCertificate(t *testing.T) {
	ca := servers.NewCA(t)
	member := servers.StartEtcd(t, servers.EtcdConfig{ClientTLS: ca})
	enableAuth(t, member)
	as := func(user string) *etcd.Client {
		cfg := configOf(member)
		cfg.CertFile, cfg.KeyFile = ca.Issue(t, user)
		return connect(t, cfg)
	}
	if err := reads(t, as("root")); err != nil {
		t.Error(err)
	}
	refused(t, reads(t, as("plain")), "permission denied for the user named by the client certificate", "grant-role USER root")
}

// A password on a cluster without users is not an error: etcd's own tools ignore it too.
func TestUserWhereThereAreNone(t *testing.T) {
	member := servers.StartEtcd(t, servers.EtcdConfig{})
	if err := reads(t, connect(t, withUser(t, configOf(member), "root", rootPassword))); err != nil {
		t.Error(err)
	}
}

// A login goes through raft. Without a quorum it fails, and must not be taken for an unreachable member.
func TestLoginWithoutQuorum(t *testing.T) {
	for _, version := range []string{"3.5", "3.7"} {
		t.Run(version, func(t *testing.T) {
			members := servers.StartEtcdCluster(t, version, 3, steady)
			enableAuth(t, members[0])
			cfg := withUser(t, configOf(members[0]), "root", rootPassword)
			before := connect(t, cfg)
			members[1].Stop()
			members[2].Stop()
			if err := reads(t, before); err != nil {
				t.Errorf("a login from before is of no use: %v", err)
			}
			cfg.DialTimeout = 5 * time.Second
			_, err := etcd.Connect(t.Context(), cfg)
			checkError(t, failure{is: etcd.ErrNoQuorum, says: []string{members[0].Endpoint() + ": the cluster has no quorum"}, hint: "etcd"}, err)
		})
	}
}

func TestUnusablePasswordFiles(t *testing.T) {
	absent := filepath.Join(t.TempDir(), "absent")
	open := passwordFile(t, "secret", 0o640)
	empty := passwordFile(t, "\n", 0o600)
	for _, tc := range []failure{
		{"absent", etcd.Config{Username: "root", PasswordFile: absent}, os.ErrNotExist, []string{`password of user "root"`, absent}, ""},
		{"open to the group", etcd.Config{Username: "root", PasswordFile: open}, nil, []string{open, "mode 0640"}, "chmod 0600 " + open},
		{"empty", etcd.Config{Username: "root", PasswordFile: empty}, nil, []string{empty + " is empty"}, ""},
		{"no user", etcd.Config{PasswordFile: empty}, nil, []string{"need each other"}, ""},
		{"no file", etcd.Config{Username: "root"}, nil, []string{"need each other"}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.cfg.Endpoints = []string{"http://127.0.0.1:1"}
			check(t, tc)
		})
	}
}
