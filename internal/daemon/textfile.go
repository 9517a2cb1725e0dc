package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/drd-project/drd/internal/metrics"
)

// textfile writes drd's metrics into a file for the textfile collector of node_exporter, on hosts that nothing may scrape.
type textfile struct {
	path    string
	now     func() time.Time
	metrics *metrics.Metrics
	log     *slog.Logger
}

// run writes the file every minute until ctx ends. The file stays: the time in it says that nobody writes it.
func (t *textfile) run(ctx context.Context) {
	if t.path == "" {
		return
	}
	failing := false
	for ; ctx.Err() == nil; sleep(ctx, nearEvery) {
		err := t.write()
		switch {
		case err != nil:
			t.metrics.Error(metrics.StageTextfile)
			if !failing {
				t.log.Error("the file with the metrics is not written", problem(err)...)
			}
		case failing:
			t.log.Info("the file with the metrics is written again")
		}
		failing = err != nil
	}
}

// write puts a whole new file in the place of the old one, mode 0644: the collector runs as another user.
func (t *textfile) write() error {
	t.metrics.TextfileBegun(t.now())
	err := prometheus.WriteToTextfile(t.path, prometheus.GathererFunc(t.own))
	var short *fs.PathError
	if errors.As(err, &short) {
		err = fmt.Errorf("%s: %w", short.Op, short.Err) // the name is one of a temporary file
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", t.path, err)
	}
	if err := os.Chmod(t.path, 0o644); err != nil {
		return fmt.Errorf("write %s: %w", t.path, err)
	}
	return nil
}

// own are the families that node_exporter has not of its own process: two of the same name would be refused.
func (t *textfile) own() ([]*dto.MetricFamily, error) {
	all, err := t.metrics.Gatherer().Gather()
	var own []*dto.MetricFamily
	for _, f := range all {
		if strings.HasPrefix(f.GetName(), "drd_") {
			own = append(own, f)
		}
	}
	return own, err
}
