package daemon

import (
	"bytes"
	"log/slog"
	"net/http"
	"strings"

	"github.com/drd-project/drd/internal/daemon/page"
	"github.com/drd-project/drd/internal/metrics"
	"github.com/drd-project/drd/internal/repo"
)

// routes are all that the daemon's server answers. No request causes one to a target.
func routes(m *metrics.Metrics, b *board, alive *health, version string, log *slog.Logger) (http.Handler, error) {
	html, err := page.New()
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", m.Handler(log))
	mux.Handle("GET /healthz", alive)
	mux.HandleFunc("GET /readyz", b.serveReady)
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		view := page.View{Refused: b.refused(), Version: version}
		view.Report, view.Targets = b.judge()
		var text bytes.Buffer
		if err := html.WriteHTML(&text, view); err != nil {
			log.Error("the status page cannot be shown", "error", err)
			http.Error(w, "the status page cannot be shown: see the log", http.StatusInternalServerError)
			return
		}
		page.Secure(w.Header())
		_, _ = text.WriteTo(w) // a client that went away is no error
	})
	return mux, nil
}

// serveReady says whether every target can restore to a recent instant, and whether that is proved, as drd status does. With 503 the
// reasons follow, one on a line.
func (b *board) serveReady(w http.ResponseWriter, _ *http.Request) {
	r := b.report()
	if r.Safe() {
		plain(w, http.StatusOK, "ready")
		return
	}
	var reasons []string
	for _, p := range r.Problems {
		reasons = append(reasons, repo.Printable(p.Text))
	}
	plain(w, http.StatusServiceUnavailable, "not ready: "+strings.Join(reasons, "\n"))
}

func plain(w http.ResponseWriter, code int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	_, _ = w.Write([]byte(text + "\n")) // a client that went away is no error
}
