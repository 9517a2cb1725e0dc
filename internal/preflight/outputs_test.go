package preflight

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/drd-project/drd/internal/config"
	"github.com/drd-project/drd/internal/hint"
)

// TestOutputs: what keeps the daemon from starting fails, what only keeps it from telling is a warning.
func TestOutputs(t *testing.T) {
	here := t.TempDir()
	taken := hint.New(fmt.Errorf("serve metrics: %w", syscall.EADDRINUSE), "another program listens there")
	broken := hint.New(errors.New("read the web configuration: not YAML"), "mend it")
	for name, c := range map[string]struct {
		metrics           config.Metrics
		listen, heartbeat error
		running           bool
		want              string // "status: name: part of the detail", joined with ", "
	}{
		"nothing asked for": {},
		"all is well": {config.Metrics{Listen: "a:1", HeartbeatURLFile: "/url", Textfile: here + "/drd.prom"}, nil, nil, false,
			"ok: metrics listen: a:1 is free, ok: metrics heartbeat: /url holds a URL, ok: metrics textfile: has its directory"},
		"service runs":           {config.Metrics{Listen: "a:1"}, taken, nil, true, "ok: metrics listen: when the service runs"},
		"taken":                  {config.Metrics{Listen: "a:1"}, taken, nil, false, "warning: metrics listen: it will not start: serve metrics: address already in use"},
		"web configuration":      {config.Metrics{Listen: "a:1"}, broken, nil, true, "failed: metrics listen: drd daemon does not start: read the web configuration"},
		"no URL":                 {config.Metrics{HeartbeatURLFile: "/url"}, nil, broken, true, "warning: metrics heartbeat: none is sent"},
		"no directory":           {config.Metrics{Textfile: filepath.Join(here, "x", "drd.prom")}, nil, nil, true, "warning: metrics textfile: its directory is not there"},
		"a file for a directory": {config.Metrics{Textfile: "/proc/version/drd.prom"}, nil, nil, true, "warning: metrics textfile: its directory is not there"},
	} {
		t.Run(name, func(t *testing.T) {
			outputs := Outputs{Listen: func(context.Context) error { return c.listen }, Heartbeat: func() error { return c.heartbeat }}
			checks := checkOutputs(t.Context(), outputs, c.metrics, c.running)
			want := strings.Split(c.want, ", ")
			if c.want == "" {
				want = nil
			}
			if len(checks) != len(want) {
				t.Fatalf("%+v, want %q", checks, want)
			}
			for i, one := range want {
				parts := strings.SplitN(one, ": ", 3)
				if checks[i].Name != parts[1] {
					t.Errorf("%+v, want %s", checks[i], one)
				}
				wants(t, checks[i], Status(parts[0]), parts[2])
			}
		})
	}
}
