package preflight_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/drd-project/drd/internal/config"
	"github.com/drd-project/drd/internal/etcd"
	"github.com/drd-project/drd/internal/preflight"
	"github.com/drd-project/drd/internal/replicate"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/seal/sealtest"
	"github.com/drd-project/drd/internal/storage"
	"github.com/drd-project/drd/internal/storage/dir"
	"github.com/drd-project/drd/internal/storage/storagetest"
	"github.com/drd-project/drd/test/servers"
)

// patience is the DialTimeout of tests: how long a busy machine may take to answer.
const patience = time.Minute

// node is a configuration on which everything is right, but for the clock and the service of the test machine.
func node(t *testing.T, endpoint string) (preflight.Config, *storagetest.Faulty) {
	t.Helper()
	d, err := dir.Open(t.TempDir(), dir.Options{})
	if err != nil {
		t.Fatal(err)
	}
	bucket, keys := storagetest.NewFaulty(d), sealtest.New(t)
	return preflight.Config{
		Connect: func(ctx context.Context) (*etcd.Client, error) {
			return etcd.Connect(ctx, etcd.Config{Endpoints: []string{endpoint}, DialTimeout: patience})
		},
		Recipients: keys.Recipients, Signer: keys.Signer, Trust: keys.Trust, Keys: keys.Ring, StateDir: t.TempDir(),
		Targets: []replicate.Target{target(t, bucket)},
	}, bucket
}

func connectTo(e config.Etcd) func(ctx context.Context) (*etcd.Client, error) {
	return func(ctx context.Context) (*etcd.Client, error) {
		return etcd.Connect(ctx, etcd.Config{Endpoints: e.Endpoints, CAFile: e.CAFile, CertFile: e.CertFile, KeyFile: e.KeyFile, DialTimeout: patience})
	}
}

func target(t *testing.T, b storage.Bucket) replicate.Target {
	t.Helper()
	r, err := repo.Open(b, "prod")
	if err != nil {
		t.Fatal(err)
	}
	return replicate.Target{Name: "primary", Repo: r}
}

// found returns the checks of one name.
func found(checks []preflight.Check, name string) (out []preflight.Check) {
	for _, c := range checks {
		if c.Name == name {
			out = append(out, c)
		}
	}
	return out
}

func TestAllIsWell(t *testing.T) {
	cfg, _ := node(t, servers.StartEtcd(t, servers.EtcdConfig{}).Endpoint())
	for range 2 { // the second time the object of the write check is there already
		checks := preflight.Run(t.Context(), cfg)
		if preflight.Failed(checks) {
			t.Errorf("%+v", checks)
		}
		for _, name := range []string{"etcd", "etcd version", "etcd alarm", "etcd snapshot", "recipients", "identities", "signing key", "trust", "disk", "clock", "target primary", "target primary room", "target primary delete"} {
			if len(found(checks, name)) == 0 {
				t.Errorf("%s was not looked at", name)
			}
		}
	}
}

// TestAlarms raises both alarms on a real cluster, as etcd would.
func TestAlarms(t *testing.T) {
	server := servers.StartEtcd(t, servers.EtcdConfig{})
	cfg, _ := node(t, server.Endpoint())
	if of := found(preflight.Run(t.Context(), cfg), "etcd alarm"); len(of) != 1 || of[0].Status != preflight.OK {
		t.Fatalf("%+v", of)
	}
	maintenance := pb.NewMaintenanceClient(server.Client(t).ActiveConnection())
	for alarm, want := range map[pb.AlarmType]preflight.Status{pb.AlarmType_NOSPACE: preflight.Warn, pb.AlarmType_CORRUPT: preflight.Fail} {
		request := &pb.AlarmRequest{Action: pb.AlarmRequest_ACTIVATE, MemberID: 0xabc, Alarm: alarm}
		if _, err := maintenance.Alarm(t.Context(), request); err != nil {
			t.Fatal(err)
		}
		checks := preflight.Run(t.Context(), cfg)
		of := found(checks, "etcd alarm")
		if len(of) != 1 || of[0].Status != want || !strings.HasPrefix(of[0].Detail, alarm.String()+" on member abc") || len(of[0].Hints) != 1 {
			t.Errorf("%s: %+v", alarm, of)
		}
		for _, c := range found(checks, "etcd") {
			if c.Status != preflight.OK {
				t.Errorf("%s is said twice: %+v", alarm, c)
			}
		}
		request.Action = pb.AlarmRequest_DEACTIVATE
		if _, err := maintenance.Alarm(t.Context(), request); err != nil {
			t.Fatal(err)
		}
	}
}

// overwriting is a store without conditional writes.
type overwriting struct{ storage.Bucket }

func (o overwriting) Create(ctx context.Context, key string, r io.Reader) (storage.Object, error) {
	obj, err := o.Bucket.Create(ctx, key, r)
	if errors.Is(err, storage.ErrExists) {
		return obj, nil
	}
	return obj, err
}

// TestEachFailureIsFound: what is wrong is named, with a hint, and the other checks are made all the same.
func TestEachFailureIsFound(t *testing.T) {
	endpoint := servers.StartEtcd(t, servers.EtcdConfig{}).Endpoint()
	for name, c := range map[string]struct {
		change func(cfg *preflight.Config, b *storagetest.Faulty)
		check  string
		detail string
	}{
		"etcd down": {func(cfg *preflight.Config, _ *storagetest.Faulty) {
			cfg.Connect = func(ctx context.Context) (*etcd.Client, error) {
				return etcd.Connect(ctx, etcd.Config{Endpoints: []string{"http://127.0.0.1:1"}, DialTimeout: patience})
			}
		}, "etcd", "connection refused"},
		"own key not trusted": {func(cfg *preflight.Config, _ *storagetest.Faulty) {
			cfg.Trust = sealtest.New(t).Trust
		}, "signing key", "does not count here"},
		"no state directory": {func(cfg *preflight.Config, _ *storagetest.Faulty) { cfg.StateDir += "/nowhere" }, "disk", "no such file"},
		"target denies": {func(_ *preflight.Config, b *storagetest.Faulty) {
			b.FailCall(storagetest.OpCreate, 1, storage.ErrDenied)
		}, "target primary", "access denied"},
		"target overwrites": {func(cfg *preflight.Config, b *storagetest.Faulty) {
			cfg.Targets = []replicate.Target{target(t, overwriting{b})}
		}, "target primary", "overwrites existing objects"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg, bucket := node(t, endpoint)
			c.change(&cfg, bucket)
			checks := preflight.Run(t.Context(), cfg)
			of := found(checks, c.check)
			if len(of) != 1 || of[0].Status != preflight.Fail || !strings.Contains(of[0].Detail, c.detail) {
				t.Errorf("%+v", of)
			}
			failures := 0
			for _, one := range checks {
				if one.Status == preflight.Fail {
					failures++
				}
			}
			if failures != 1 || !preflight.Failed(checks) || len(checks) < 5 {
				t.Errorf("%d of %d checks failed: %+v", failures, len(checks), checks)
			}
		})
	}
}
