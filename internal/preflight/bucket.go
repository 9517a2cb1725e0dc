package preflight

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/drd-project/drd/internal/config"
	"github.com/drd-project/drd/internal/hello"
	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/replicate"
	"github.com/drd-project/drd/internal/s3"
	"github.com/drd-project/drd/internal/storage"
)

// bucketCheck looks at the settings of one S3 bucket: what protects backups there, and what would eat them.
type bucketCheck struct {
	bucket   *s3.Bucket // nil: the target is none
	settings *config.Config
	target   replicate.Target
	name     string // "target primary"
}

func (b bucketCheck) run(ctx context.Context, readOnly bool) []Check {
	checks := b.server(ctx)
	if readOnly { // what uploads go by is the nodes' affair, and to try a deletion may leave a trace
		return checks
	}
	lock, lockErr := b.bucket.Lock(ctx)
	checks = append(checks, b.checksum(ctx), b.objectLock(lock, lockErr), b.deletes(ctx, lock))
	return append(checks, b.lifecycle(ctx)...)
}

// configured is the section of the target; zero where the settings do not name it.
func (b bucketCheck) configured() config.S3 {
	for _, t := range b.settings.Targets {
		if t.Name == b.target.Name && t.S3 != nil {
			return *t.S3
		}
	}
	return config.S3{}
}

// server asks the store's address for its certificate and its time.
func (b bucketCheck) server(ctx context.Context) []Check {
	c := b.configured()
	address := c.Endpoint
	switch {
	case address != "":
	case c.Region == "":
		return nil
	case strings.HasPrefix(c.Region, "cn-"):
		address = "https://s3." + c.Region + ".amazonaws.com.cn"
	default:
		address = "https://s3." + c.Region + ".amazonaws.com"
	}
	a, err := hello.Ask(ctx, address, nil, http.ProxyFromEnvironment)
	if err != nil {
		return []Check{warn(b.name+" clock", fmt.Errorf("ask %s for its time: %w", address, err))}
	}
	var checks []Check
	if len(a.Certificates) > 0 {
		checks = append(checks, checkValidity("certificate "+b.name+" server", "that of "+address, a.Certificates[0], time.Now()))
	}
	ahead, err := a.Ahead(time.Now())
	if err != nil {
		return append(checks, warn(b.name+" clock", fmt.Errorf("ask %s for its time: %w", address, err)))
	}
	return append(checks, compareClocks(b.name+" clock", address, ahead))
}

// checksum says what proves an upload here: what the store keeps of it, or reading all of it.
func (b bucketCheck) checksum(ctx context.Context) Check {
	name := b.name + " checksum"
	object, err := b.bucket.Stat(ctx, b.target.Repo.Cluster()+"/write-check")
	switch {
	case err != nil:
		return warn(name, err)
	case object.SHA256 == "" && !b.target.ReadBack:
		return warn(name, hint.New(errors.New("the store returns no SHA-256 of what it stored, which read_back: checksum relies on"), "set read_back: full for this target"))
	case object.SHA256 == "":
		return ok(name, "the store returns no SHA-256 of what it stored; every object is read back and compared")
	case b.target.ReadBack:
		return ok(name, "the store confirms the SHA-256, and every object is read back and compared")
	}
	return ok(name, "the store confirms the SHA-256 of what it stored")
}

// objectLock compares what the configuration asks for with what the bucket has.
func (b bucketCheck) objectLock(lock s3.Lock, err error) Check {
	name := b.name + " object lock"
	want, by := b.retention(lock)
	if errors.Is(err, storage.ErrDenied) {
		unknown := errors.New("not known: the credentials may not ask (s3:GetBucketObjectLockConfiguration)")
		if want.Mode == "" {
			return ok(name, "%s", unknown)
		}
		return warn(name, hint.New(fmt.Errorf("object_lock is asked for; what the bucket has is %w", unknown), "grant s3:GetBucketObjectLockConfiguration"))
	}
	if err != nil {
		return warn(name, err)
	}
	switch {
	case !lock.Enabled && want.Mode != "":
		return fail(name, hint.New(errors.New("object_lock is asked for, and the bucket has none: every upload will be refused"), "create the bucket with Object Lock, or leave out object_lock"))
	case !lock.Enabled:
		return ok(name, "none: what may delete here, and what keeps versions, decides")
	case want.Mode == "":
		return warn(name, hint.New(errors.New("the bucket has Object Lock without any retention, and that protects nothing"), "set object_lock: {mode: governance, days: 30} for this target, or a default retention of the bucket"))
	}
	kept := keptFor(b.settings.Retention)
	if kept > 0 && want.Days > kept {
		return warn(name, hint.New(fmt.Errorf("%s, %d days (%s), is longer than the %d days that retention keeps snapshots: what it drops stays locked, and costs storage", want.Mode, want.Days, by, kept),
			"lower the days of object_lock, or keep snapshots as long"))
	}
	if want.Mode == config.LockGovernance {
		return ok(name, "governance for %d days (%s): not for who has s3:BypassGovernanceRetention", want.Days, by)
	}
	return ok(name, "%s for %d days (%s)", want.Mode, want.Days, by)
}

// retention is what new objects get, and who says so; zero: none, whether the bucket has Object Lock or not.
func (b bucketCheck) retention(lock s3.Lock) (config.ObjectLock, string) {
	if want := b.configured().ObjectLock; want.Mode != "" {
		return want, "object_lock of the configuration"
	}
	return config.ObjectLock{Mode: lock.Default.Mode, Days: lock.Default.Days}, "the bucket's default"
}

// deletes tries what somebody who takes this node could delete. The one trace may be a delete marker.
func (b bucketCheck) deletes(ctx context.Context, lock s3.Lock) Check {
	name := b.name + " delete"
	may, err := b.bucket.MayDelete(ctx, b.target.Repo.Cluster()+"/delete-check")
	if err != nil {
		return warn(name, err)
	}
	retention, _ := b.retention(lock)
	versioned, err := b.bucket.Versioned(ctx)
	if err != nil {
		versioned = lock.Enabled || retention.Mode != "" // which implies versions; else the worse is taken for true
	}
	return judgeDeletes(name, may, versioned, retention, b.settings.Retention != (config.Retention{}))
}

// judgeDeletes says what follows. prunes: this node is to delete what retention drops.
func judgeDeletes(name string, may s3.Deletes, versioned bool, retention config.ObjectLock, prunes bool) Check {
	const take = "take s3:DeleteObjectVersion from them; pruning does not need it"
	switch {
	case !may.Objects && prunes:
		return warn(name, hint.New(errors.New("the credentials may not delete, and retention asks this node to"), "grant s3:DeleteObject here, or leave out retention on this node and prune elsewhere"))
	case !may.Objects && !may.Versions:
		return ok(name, "the credentials cannot delete: who takes this node cannot destroy the backups here")
	case versioned && !may.Versions:
		return ok(name, "the credentials may hide objects and not destroy them: the bucket keeps versions")
	case versioned && retention.Mode == config.LockCompliance:
		return ok(name, "the credentials may delete versions, and the store lets nobody do so for %d days from their upload; after that, who takes this node can", retention.Days)
	case versioned && retention.Mode != "":
		return warn(name, hint.New(fmt.Errorf("the credentials may delete versions: %s keeps them for %d days from that, unless the credentials also have s3:BypassGovernanceRetention, which cannot be tried",
			retention.Mode, retention.Days), take))
	case versioned:
		return warn(name, hint.New(errors.New("the credentials may delete versions for good, and no retention holds any: who takes this node can destroy the backups here"), take))
	case prunes:
		return ok(name, "the credentials may delete, as retention needs: keep a copy where this node cannot, too")
	}
	return warn(name, hint.New(errors.New("the credentials may delete, and nothing on this node needs that: who takes the node can destroy the backups here"),
		"take s3:DeleteObject from them (docs/s3.md), or switch on versions and Object Lock"))
}
