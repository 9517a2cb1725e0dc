package daemon

import (
	"context"
	"log/slog"
	"net/http"
)

// TryListen does what the daemon cannot start without: it reads the web configuration ("" is none), takes the address of the metrics, and
// leaves it again.
func TryListen(ctx context.Context, address, webConfigFile string) error {
	s, err := listen(ctx, Config{Listen: address, WebConfigFile: webConfigFile, Log: slog.New(slog.DiscardHandler)}, http.NotFoundHandler())
	if err != nil {
		return err
	}
	return s.listener.Close()
}

// TryHeartbeat reads the file with the URL of the heartbeat, and sends none.
func TryHeartbeat(file string) error {
	_, err := heartbeatURL(file)
	return err
}
