package restore

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

// TestEstimate: twice the data takes twice the time, less data no less; and the line says whom to believe.
func TestEstimate(t *testing.T) {
	at := time.Date(2026, 11, 22, 3, 30, 12, 0, time.UTC)
	for name, c := range map[string]struct {
		size    int64
		archive *Archive
		replay  bool // the measured drill replayed segments
		want    string
	}{
		"as big":      {2 << 30, nil, false, "about 41s until etcd answers: a drill on cp-1 took 41s for 2.0 GiB at 2026-11-22T03:30:12Z"},
		"twice":       {4 << 30, nil, false, "about 1m21s until etcd answers: a drill on cp-1 took 41s for 2.0 GiB at 2026-11-22T03:30:12Z"},
		"half":        {1 << 30, nil, false, "about 41s until etcd answers: a drill on cp-1 took 41s for 2.0 GiB at 2026-11-22T03:30:12Z"},
		"with replay": {2 << 30, &Archive{Segments: 3}, true, "about 41s until etcd answers: a drill on cp-1 took 41s for 2.0 GiB at 2026-11-22T03:30:12Z"},
		"replay is not measured": {2 << 30, &Archive{Segments: 3}, false,
			"about 41s until etcd answers, and the replay of the archive: a drill on cp-1 took 41s for 2.0 GiB at 2026-11-22T03:30:12Z"},
	} {
		t.Run(name, func(t *testing.T) {
			p := &Plan{Snapshot: Point{DBSize: c.size}, Archive: c.archive}
			p.estimate(Measured{Record: "r", Host: "cp-1", At: at, Seconds: 40.5, DBSize: 2 << 30, Archived: c.replay})
			var out bytes.Buffer
			if err := p.WriteText(&out); err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(out.String(), "  "+c.want+"\n") {
				t.Errorf("%s\nhas not the line %q", &out, c.want)
			}
		})
	}
}
