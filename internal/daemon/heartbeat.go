package daemon

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/metrics"
	verdict "github.com/drd-project/drd/internal/status"
)

const (
	// beatEvery is the time between two heartbeats; who waits for them should wait for several.
	beatEvery = time.Minute
	// beatTimeout bounds one, and beatAnswer how much of the answer is read, in bytes.
	beatTimeout = 10 * time.Second
	beatAnswer  = 64 << 10
	// maxURL bounds the file with the URL, in bytes.
	maxURL = 8 << 10
)

// heartbeat calls a URL as long as all is well, so that somebody outside notices when it is not, or when nobody is left to tell.
type heartbeat struct {
	file    string // with the URL, which is a secret: who knows it can keep the one outside quiet
	report  func() *verdict.Report
	client  *http.Client
	metrics *metrics.Metrics
	log     *slog.Logger

	silent, failing bool // what the log says last
}

func newHeartbeat(file string, b *board, cfg Config) *heartbeat {
	return &heartbeat{
		file: file, report: b.report, metrics: cfg.Metrics, log: cfg.Log,
		client: &http.Client{
			Timeout:   beatTimeout,
			Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true, ForceAttemptHTTP2: true},
			// An answer that sends it elsewhere is not what was set up, and would tell another the URL.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// run beats every minute until ctx ends. At the start nothing was looked at yet, and nobody waits for the first minute.
func (h *heartbeat) run(ctx context.Context) {
	if h.file == "" {
		return
	}
	for sleep(ctx, beatEvery); ctx.Err() == nil; sleep(ctx, beatEvery) {
		h.once(ctx)
	}
}

// once beats, or keeps silent while a target is not safe. The log has each change once.
func (h *heartbeat) once(ctx context.Context) {
	r := h.report()
	if !r.Safe() {
		if !h.silent {
			h.log.Warn("no heartbeat is sent until all targets are safe", "verdict", r.Verdict())
		}
		h.silent = true
		return
	}
	if h.silent {
		h.log.Info("heartbeats are sent again")
	}
	h.silent = false
	err := h.beat(ctx)
	switch {
	case ctx.Err() != nil:
		return
	case err != nil:
		h.metrics.Error(metrics.StageHeartbeat)
		if !h.failing {
			h.log.Error("the heartbeat is not heard", problem(err)...)
		}
	case h.failing:
		h.log.Info("the heartbeat is heard again")
	}
	h.failing = err != nil
}

// beat calls the URL, which is read each time. No error holds more of it than its host.
func (h *heartbeat) beat(ctx context.Context) error {
	target, err := heartbeatURL(h.file)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	if err != nil {
		return errors.New("send the heartbeat: its URL is not one")
	}
	req.Header.Set("User-Agent", "drd")
	resp, err := h.client.Do(req)
	if err != nil {
		return fmt.Errorf("send the heartbeat to %s: %w", target.Host, unspoken(err))
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, beatAnswer)) // what it says does not matter
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return hint.New(fmt.Errorf("send the heartbeat: the answer is %d", resp.StatusCode), "metrics.heartbeat_url_file must hold the URL itself: redirects are not followed")
	}
	return nil
}

// unspoken is what an error of a request says in words that nobody else chose. Others may repeat the URL: net/http does, and it quotes
// what a server answers.
func unspoken(err error) error {
	var (
		timeout     interface{ Timeout() bool }
		host        *net.DNSError
		system      syscall.Errno
		certificate *tls.CertificateVerificationError
		alert       tls.AlertError
	)
	switch {
	case errors.As(err, &timeout) && timeout.Timeout():
		return fmt.Errorf("no answer within %s", beatTimeout)
	case errors.As(err, &host):
		return host
	case errors.As(err, &system):
		return system
	case errors.As(err, &certificate):
		return certificate
	case errors.As(err, &alert):
		return alert
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("the server ended the connection")
	case errors.Is(err, http.ErrSchemeMismatch):
		return errors.New("the server does not speak TLS")
	}
	return errors.New("no answer in HTTP came back; a proxy may be in the way")
}

// heartbeatURL reads the file: one line. It does not wait for a writer, as for a named pipe.
func heartbeatURL(file string) (*url.URL, error) {
	f, err := os.OpenFile(file, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("send the heartbeat: %w", err)
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil {
		return nil, fmt.Errorf("send the heartbeat: %w", err)
	} else if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("send the heartbeat: %s is not a regular file", file)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxURL))
	if err != nil {
		return nil, fmt.Errorf("send the heartbeat: %w", err)
	}
	target, err := url.Parse(strings.TrimSpace(string(text)))
	if err != nil || target.Host == "" || (target.Scheme != "https" && target.Scheme != "http") {
		return nil, hint.New(fmt.Errorf("send the heartbeat: %s does not hold a URL", file), "write one line into it, which begins with https://")
	}
	return target, nil
}
