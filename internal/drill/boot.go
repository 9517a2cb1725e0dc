package drill

import (
	"context"
	"errors"
	"fmt"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/drd-project/drd/internal/proof"
	"github.com/drd-project/drd/internal/scratch"
)

// boot starts an etcd on what was restored, and reads from it as a client that wants the newest data.
func (a *attempt) boot(ctx context.Context) bool {
	return a.check(ctx, CheckBoot, func(c *proof.Check) error {
		if err := a.start(ctx, "run"); err != nil {
			return err
		}
		a.out.Etcd = a.etcd.Version()
		if a.etcd.Embedded() {
			a.out.Etcd += " (embedded)"
		}
		c.Found = a.out.Etcd
		return nil
	}) && a.checkAuth(ctx) && a.check(ctx, CheckLinearizable, func(c *proof.Check) error {
		err := a.checkLinearizable(ctx, c)
		if err == nil {
			a.out.RecoverySeconds = time.Since(a.begin).Seconds()
		}
		return err
	}) && a.check(ctx, CheckLeases, func(c *proof.Check) error {
		return a.checkLeases(ctx, c)
	}) && a.check(ctx, CheckAlarms, func(c *proof.Check) error {
		return a.checkAlarms(ctx, c)
	})
}

// start runs an etcd with its socket and log in a directory of the given name.
func (a *attempt) start(ctx context.Context, name string) error {
	dir, err := a.work.make(name)
	if err != nil {
		return err
	}
	a.booted = time.Now()
	a.etcd, err = a.d.cfg.Etcd.Start(ctx, dir, a.member())
	if err != nil {
		a.etcd = nil
		return err
	}
	if notes := a.etcd.Notes(); len(notes) > 0 {
		a.d.cfg.Log.Debug("the scratch etcd lacks protections that this machine does not grant", "notes", notes)
	}
	return nil
}

// stop ends the etcd that runs.
func (a *attempt) stop() error {
	e := a.etcd
	a.etcd = nil
	if err := e.Stop(); err != nil {
		return fmt.Errorf("stop etcd: %w", err)
	}
	return nil
}

// checkAuth sees etcd refuse whoever does not say who they are. Nobody has a password here, so that etcd is then started
// again with authentication switched off in the scratch copy: what is read afterwards is not subject to it.
func (a *attempt) checkAuth(ctx context.Context) bool {
	return a.check(ctx, CheckAuth, func(c *proof.Check) error {
		if !a.facts.AuthEnabled {
			return skipped("it was not enabled")
		}
		c.Expected = "reads without a user are refused"
		if !a.etcd.AuthEnabled() {
			return errors.New("authentication was enabled when the snapshot was taken, and is not after the restore")
		}
		_, err := a.get(ctx, firstKey())
		if err == nil {
			return errors.New("a read without a user was answered")
		}
		if !refused(err) {
			return fmt.Errorf("read without a user: %w", err)
		}
		c.Found = status.Convert(err).Message()
		if err := a.stop(); err != nil {
			return err
		}
		if err := scratch.DisableAuth(a.dataDir()); err != nil {
			return err
		}
		return a.start(ctx, "open")
	})
}

// refused reports whether an answer says that it takes a user: etcd's "user name is empty" is an invalid argument.
func refused(err error) bool {
	code := status.Code(err)
	return code == codes.InvalidArgument || code == codes.PermissionDenied || code == codes.Unauthenticated
}

// firstKey is the cheapest request that a store of any content answers.
func firstKey() *pb.RangeRequest {
	return &pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}, Limit: 1, KeysOnly: true}
}

// checkLinearizable reads through raft: it is answered once the restored member leads itself.
func (a *attempt) checkLinearizable(ctx context.Context, c *proof.Check) error {
	answer, err := a.get(ctx, firstKey())
	if err != nil {
		return fmt.Errorf("linearizable read: %w", err)
	}
	got := answer.GetHeader().GetRevision()
	c.Expected, c.Found = fmt.Sprintf("revision %d", a.facts.Revision), fmt.Sprintf("revision %d", got)
	if got < a.facts.Revision { // it is higher where a lease of a few seconds has run out already
		return fmt.Errorf("it was answered at revision %d, before %d", got, a.facts.Revision)
	}
	return nil
}

// checkAlarms expects none: those of the lost cluster were dropped by the restore, and a store that raises a new one is
// not fit to be used.
func (a *attempt) checkAlarms(ctx context.Context, c *proof.Check) error {
	var answer *pb.AlarmResponse
	err := a.ask(ctx, askTimeout, func(ctx context.Context) (err error) {
		answer, err = pb.NewMaintenanceClient(a.etcd.Conn()).Alarm(ctx, &pb.AlarmRequest{Action: pb.AlarmRequest_GET})
		return err
	})
	if err != nil {
		return fmt.Errorf("ask for alarms: %w", err)
	}
	if err := compare(c, 0, len(answer.GetAlarms())); err != nil {
		return fmt.Errorf("etcd raised %s", answer.GetAlarms()[0].GetAlarm())
	}
	return nil
}

func (a *attempt) shutdown(ctx context.Context) bool {
	return a.check(ctx, CheckShutdown, func(*proof.Check) error { return a.stop() })
}
