package restore

import (
	"context"
	"time"

	"github.com/drd-project/drd/internal/proof"
	"github.com/drd-project/drd/internal/seal"
)

const (
	// measuredRecords is how many of the newest drill records are read for a time: those of some days.
	measuredRecords = 16
	// measuredTimeout is how long the time of a restore may be looked for.
	measuredTimeout = 5 * time.Second
)

// Measured is a restore that was made for practice, and timed.
type Measured struct {
	Record  string    `json:"record"` // ID of the drill record
	Host    string    `json:"host"`
	At      time.Time `json:"at"`
	Seconds float64   `json:"seconds"` // from the first request to the target until the restored etcd answered
	DBSize  int64     `json:"db_size"` // bytes, of the database that was restored
	// Archived: segments were replayed in this time, too.
	Archived bool `json:"archived"`
}

// Measure looks up how long such a restore took when a drill made it from the same target, which makes the plan's own time. It is
// worth a few requests and never the restore itself: what cannot be found out in five seconds stays unknown. target names the place
// by its location; zero is that of the plan's source.
func (p *Plan) Measure(ctx context.Context, trust *seal.Trust, target proof.Target) {
	if trust == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, measuredTimeout)
	defer cancel()
	h, err := proof.Read(ctx, p.candidates[0].source.Repo, trust, proof.ReadOptions{Target: target, Limit: measuredRecords})
	if err != nil {
		return
	}
	if rec, d := h.Measured(p.Archive != nil); d != nil {
		p.estimate(Measured{
			Record: rec.ID, Host: rec.Host, At: d.Started, Seconds: d.RecoverySeconds, DBSize: d.DBSize, Archived: d.Level.Archive(),
		})
	}
}

// estimate makes the plan's own time out of a measured one: more data takes longer by as much; less is not taken to be faster,
// because a part of the time does not depend on it.
func (p *Plan) estimate(m Measured) {
	seconds := m.Seconds
	if m.DBSize > 0 && p.Snapshot.DBSize > m.DBSize {
		seconds *= float64(p.Snapshot.DBSize) / float64(m.DBSize)
	}
	p.Measured, p.EstimatedSeconds = &m, &seconds
}
