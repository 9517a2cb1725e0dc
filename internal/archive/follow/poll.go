package follow

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/drd-project/drd/internal/etcd"
)

const (
	// lookInterval is how often the member is asked where it is, from its memory. The archive tells of silence as precisely.
	lookInterval = time.Second
	// compactInterval is how often its compact revision is asked for: two cheap questions.
	compactInterval = 15 * time.Second
	// pollTimeout bounds the questions of one poll.
	pollTimeout = 20 * time.Second
)

// look is where the member said that it is.
type look struct {
	status etcd.Status
	asked  time.Time // on this process's clock
}

// What Changed is told.
const (
	changedUsers   = "users and roles"
	changedMembers = "members"
)

// outer is what a snapshot holds and no watch tells.
type outer struct {
	users    uint64   // AuthRevision
	hasUsers bool     // users is known
	mute     bool     // the member does not tell it
	members  []string // one line each; nil: not known
}

// watchMember asks the member, now and every second, where it is.
func (f *Follower) watchMember(ctx context.Context, member *etcd.Client, looks chan<- look) {
	tick := time.NewTicker(min(lookInterval, f.cfg.FlushInterval))
	defer tick.Stop()
	var compacted time.Time
	for ctx.Err() == nil {
		asked := time.Now()
		if status, err := member.Status(ctx); err == nil {
			select {
			case looks <- look{status, asked}:
			case <-ctx.Done():
			}
		}
		if time.Since(compacted) > compactInterval {
			compacted = time.Now()
			if compact, err := member.CompactRevision(ctx, f.compacted.Load()); err == nil {
				f.compacted.Store(compact)
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

// poll asks the member, now and every so often, for what no watch tells. What it cannot tell now it is asked next time: when
// the member is in trouble, the watch finds out.
func (f *Follower) poll(ctx context.Context, member *etcd.Client) {
	tick := time.NewTicker(f.cfg.Poll)
	defer tick.Stop()
	for ctx.Err() == nil {
		limited, cancel := context.WithTimeout(ctx, pollTimeout)
		f.lookOutside(limited, member)
		f.lookForLeases(limited, member)
		cancel()
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

// lookOutside compares users and members with what they were.
func (f *Follower) lookOutside(ctx context.Context, member *etcd.Client) {
	if all, err := member.Members(ctx); err == nil {
		now := make([]string, 0, len(all))
		for _, m := range all {
			now = append(now, fmt.Sprintf("%x %q %q %t", m.ID, m.Name, m.PeerURLs, m.IsLearner))
		}
		slices.Sort(now)
		if f.outer.members != nil && !slices.Equal(now, f.outer.members) {
			f.changed(changedMembers)
		}
		f.outer.members = now
	}
	if f.outer.mute {
		return
	}
	switch users, err := member.AuthRevision(ctx); {
	case errors.Is(err, etcd.ErrUnsupported) || errors.Is(err, etcd.ErrPermission):
		f.outer.mute = true
		f.cfg.Log.Info("changes of users and roles are not noticed between snapshots", "reason", err)
	case err == nil:
		if f.outer.hasUsers && users != f.outer.users {
			f.changed(changedUsers)
		}
		f.outer.users, f.outer.hasUsers = users, true
	}
}

func (f *Follower) changed(what string) {
	f.cfg.Log.Info("the cluster changed in a way that only a snapshot holds", "changed", what)
	if f.cfg.Changed != nil {
		f.cfg.Changed(what)
	}
}

// lookForLeases learns of leases before a change names them, while they live, and which are gone.
func (f *Follower) lookForLeases(ctx context.Context, member *etcd.Client) {
	alive, err := member.Leases(ctx)
	if err != nil {
		return
	}
	f.leases.keep(alive)
	var ahead []int64
	for _, id := range alive {
		if _, known := f.leases.ttl(id); !known && len(ahead) < maxAhead {
			ahead = append(ahead, id)
		}
	}
	_, _ = f.askLeases(ctx, member, ahead) // a change that names one asks again, and must have an answer
}
