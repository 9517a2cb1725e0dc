package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"regexp"
	"syscall"
	"time"

	"github.com/prometheus/exporter-toolkit/web"

	"github.com/drd-project/drd/internal/hint"
)

const (
	// headerTimeout and answerTimeout keep slow clients from holding connections; a scrape takes milliseconds.
	headerTimeout = 10 * time.Second
	answerTimeout = 30 * time.Second
	idleTimeout   = 2 * time.Minute // longer than Prometheus waits between scrapes
	// closeTimeout is how long the daemon's end waits for a scrape under way.
	closeTimeout = 5 * time.Second
)

// server is the HTTP side. Its address is bound before the daemon says that it is ready.
type server struct {
	listener  net.Listener
	http      *http.Server
	webConfig string
	log       *slog.Logger
}

func listen(ctx context.Context, cfg Config, answers http.Handler) (*server, error) {
	if err := web.Validate(cfg.WebConfigFile); err != nil {
		return nil, hint.New(fmt.Errorf("read the web configuration %s: %s", cfg.WebConfigFile, withoutValues(err)),
			"it is in the format of Prometheus' web configuration: https://prometheus.io/docs/prometheus/latest/configuration/https/")
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", cfg.Listen)
	if err != nil {
		return nil, listenError(fmt.Errorf("serve metrics: %w", err), cfg.Listen)
	}
	s := &server{listener: l, webConfig: cfg.WebConfigFile, log: cfg.Log}
	s.http = &http.Server{
		Handler:           answers,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       headerTimeout,
		WriteTimeout:      answerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    16 << 10, // a scrape sends a few hundred bytes
		ErrorLog:          slog.NewLogLogger(cfg.Log.Handler(), slog.LevelDebug),
	}
	return s, nil
}

// quoted is a value as the YAML library repeats it in its errors.
var quoted = regexp.MustCompile("`[^`]*`")

// withoutValues is the text of an error about a file that holds passwords.
func withoutValues(err error) string { return quoted.ReplaceAllString(err.Error(), "a value") }

func listenError(err error, address string) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return hint.New(err, "another program, or another drd, listens there: see `ss -ltnp`, or change metrics.listen")
	}
	return hint.New(err, "metrics.listen is %q: it must be an address of this host and a port that its user may listen on", address)
}

// serve answers until ctx ends. An error means that it cannot answer any more.
func (s *server) serve(ctx context.Context) error {
	served := make(chan error, 1)
	go func() { served <- s.accept() }()
	s.log.Info("serving metrics", "address", s.listener.Addr().String())
	select {
	case err := <-served:
		return fmt.Errorf("serve metrics: %w", err)
	case <-ctx.Done():
	}
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	if err := s.http.Shutdown(limited); err != nil {
		s.log.Warn("a client was cut off", "error", err)
		_ = s.http.Close() // of what Shutdown gave up waiting for
	}
	<-served
	return nil
}

func (s *server) accept() error {
	if s.webConfig == "" {
		return s.http.Serve(s.listener)
	}
	// The toolkit reads the file again for each connection and request, so that renewed certificates count.
	return web.Serve(s.listener, s.http, &web.FlagConfig{WebConfigFile: &s.webConfig}, s.log)
}
