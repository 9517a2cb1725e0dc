package preflight

import (
	"context"
	"fmt"

	"github.com/drd-project/drd/internal/disk"
	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/replicate"
	"github.com/drd-project/drd/internal/storage/dir"
)

func checkTarget(ctx context.Context, t replicate.Target, dbSize int64) []Check {
	name := "target " + t.Name
	ctx, cancel := context.WithTimeout(ctx, targetTimeout)
	defer cancel()
	if err := t.Repo.Probe(ctx); err != nil {
		return []Check{fail(name, err)}
	}
	location := t.Repo.Bucket().Location()
	checks := []Check{ok(name, "%s lists, stores and refuses to overwrite", location)}
	if path, err := dir.ParseURL(location); err == nil { // an object store has no end
		checks = append(checks, checkRoom(name+" room", path, dbSize))
	}
	return checks
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
