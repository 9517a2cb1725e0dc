package preflight

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/drd-project/drd/internal/disk"
	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/replicate"
	"github.com/drd-project/drd/internal/s3"
	"github.com/drd-project/drd/internal/storage"
	"github.com/drd-project/drd/internal/storage/dir"
)

func checkTarget(ctx context.Context, cfg Config, t replicate.Target, dbSize int64) []Check {
	name := "target " + t.Name
	ctx, cancel := context.WithTimeout(ctx, targetTimeout)
	defer cancel()
	bucket := bucketCheck{bucket: bucketOf(t.Repo.Bucket()), settings: cfg.Settings, target: t, name: name}
	location := t.Repo.Bucket().Location()
	path, err := dir.ParseURL(location)
	isDir := err == nil
	if isDir {
		if err := mounted(path, "/etc/fstab", "/proc/self/mountinfo"); err != nil {
			return []Check{fail(name, err)} // before anything is written there
		}
	}
	does, probe := "lists, stores and refuses to overwrite", t.Repo.Probe
	if cfg.ReadOnly {
		does, probe = "lists", func(ctx context.Context) error { return lists(ctx, t) }
	}
	checks := []Check{ok(name, "%s %s", location, does)}
	switch err := probe(ctx); {
	case errors.Is(err, storage.ErrLeft):
		checks = []Check{warn(name, err)}
	case err != nil:
		return append([]Check{fail(name, err)}, bucket.server(ctx)...) // which may be why
	}
	if isDir && !cfg.ReadOnly { // an object store has no end
		checks = append(checks, checkRoom(name+" room", path, dbSize), ok(name+" delete", "%s", whoDeletes(path, cfg.StateDir)))
	}
	if bucket.bucket != nil {
		checks = append(checks, bucket.run(ctx, cfg.ReadOnly)...)
	}
	return checks
}

// whoDeletes says what a directory does not protect from.
func whoDeletes(path, stateDir string) string {
	const always = "a directory: whoever is root on this node can delete; keep a copy where that is not so, too"
	var target, state unix.Stat_t
	if unix.Stat(path, &target) == nil && unix.Stat(stateDir, &state) == nil && target.Dev == state.Dev {
		return always + ". It is on the same file system as state_dir: what takes that disk takes the copies, too"
	}
	return always
}

// lists asks a target for the first of its snapshots; that there is none is no error.
func lists(ctx context.Context, t replicate.Target) error {
	for _, err := range t.Repo.Bucket().List(ctx, t.Repo.Cluster()+"/snapshots/") {
		return err
	}
	return nil
}

// bucketOf is the S3 bucket below the decorators, or nil.
func bucketOf(b storage.Bucket) *s3.Bucket {
	for {
		if bucket, found := b.(*s3.Bucket); found {
			return bucket
		}
		outer, wraps := b.(interface{ Unwrap() storage.Bucket })
		if !wraps {
			return nil
		}
		b = outer.Unwrap()
	}
}

// checkRoom compares the room in a target's directory with the database, in bytes; 0 when its size is not known. A sealed
// snapshot is hardly ever larger than the database, and mostly a good deal smaller: less room is no failure yet.
func checkRoom(name, path string, dbSize int64) Check {
	free, err := disk.Free(path)
	if err != nil {
		return warn(name, err)
	}
	if free < dbSize {
		return warn(name, hint.New(fmt.Errorf("only %s free in %s: a snapshot of a database of %s may not fit", disk.Size(free), path, disk.Size(dbSize)),
			"free space there; drd prune --dry-run shows what the retention policy would remove"))
	}
	return ok(name, "%s free in %s", disk.Size(free), path)
}
