package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"strings"
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
		var with *url.Error // which repeats the URL
		if errors.As(err, &with) {
			err = with.Err
		}
		return fmt.Errorf("send the heartbeat: %w", err)
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, beatAnswer)) // what it says does not matter
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return hint.New(fmt.Errorf("send the heartbeat: the answer is %d", resp.StatusCode), "metrics.heartbeat_url_file must hold the URL itself: redirects are not followed")
	}
	return nil
}

// heartbeatURL reads the file: one line.
func heartbeatURL(file string) (*url.URL, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("send the heartbeat: %w", err)
	}
	defer f.Close()
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
