package daemon

import (
	"net/http"
	"strings"
	"time"
)

// probeTimeout is how long a part of the daemon without a loop may take to answer a question that costs nothing.
const probeTimeout = 5 * time.Second

// health answers whether the daemon is alive: by the same signs as the watchdog of the service manager, where there is none.
type health struct {
	late  func() []string // loops that should have been heard of
	probe func()
	one   chan struct{} // holds the probe under way: one that hangs must not have others wait behind it
}

func newHealth(p *pulse, probe func()) *health {
	return &health{late: p.late, probe: probe, one: make(chan struct{}, 1)}
}

func (h *health) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	late := h.late()
	if !h.answers(r) {
		late = append(late, "replication")
	}
	if len(late) > 0 {
		plain(w, http.StatusServiceUnavailable, "hanging: "+strings.Join(late, ", "))
		return
	}
	plain(w, http.StatusOK, "alive")
}

// answers asks the probe. A request that ends first is told nothing anyway.
func (h *health) answers(r *http.Request) bool {
	limit := time.NewTimer(probeTimeout)
	defer limit.Stop()
	select {
	case h.one <- struct{}{}:
	case <-limit.C:
		return false
	case <-r.Context().Done():
		return false
	}
	done := make(chan struct{})
	go func() { // ends with the probe: that it does is what is asked
		defer func() { <-h.one; close(done) }()
		h.probe()
	}()
	select {
	case <-done:
		return true
	case <-limit.C:
	case <-r.Context().Done():
	}
	return false
}
