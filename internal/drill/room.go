package drill

import (
	"fmt"

	"github.com/drd-project/drd/internal/disk"
	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/restore"
	"github.com/drd-project/drd/internal/snapshot"
)

const (
	// leastSpare is what etcd's own files may grow by during a drill, in bytes.
	leastSpare = 1 << 30
	// spareShare of a file system stays free: below a tenth kubelet begins to evict, by its default nodefs.available<10%.
	spareShare = 10
)

// leaveRoom refuses a drill that would take the room which the production etcd or the next snapshot needs: a drill can wait.
func (a *attempt) leaveRoom(plan *restore.Plan) error {
	if a.d.cfg.TakeLastRoom {
		return nil
	}
	for _, s := range plan.Space {
		size, err := disk.Total(s.Path)
		if err != nil {
			return err
		}
		spare := max(leastSpare, size/spareShare) + snapshot.Room(plan.Snapshot.DBSize)
		if s.Free < s.Needed+spare {
			err := fmt.Errorf("not enough disk space in %s for a drill beside etcd and its next snapshot: %s needed, of which %s must stay free; %s free",
				s.Path, disk.Size(s.Needed+spare), disk.Size(spare), disk.Size(s.Free))
			return hint.New(err, "free %s there, or set verify.scratch_dir to a directory on another file system", disk.Size(s.Needed+spare-s.Free))
		}
	}
	return nil
}
