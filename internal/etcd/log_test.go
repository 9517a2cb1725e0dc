package etcd

import (
	"bytes"
	"log/slog"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The global logger of gRPC is not set here: other tests of this process use it.
func TestLogLevels(t *testing.T) {
	var out bytes.Buffer
	withoutTime := func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}
	log := grpcLogger{slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: withoutTime}))}
	log.Info("nobody ", "reads this")
	log.Infoln("nor this")
	log.Infof("nor %s", "that")
	log.Warning("dial ", "failed")
	log.Warningln("dial", "again")
	log.Warningf("%d times", 3)
	log.Error("broken ", "frame")
	log.Errorln("broken", "pipe")
	log.Errorf("%d pings", 4)
	want := `level=DEBUG msg=grpc message="dial failed"
level=DEBUG msg=grpc message="dial again"
level=DEBUG msg=grpc message="3 times"
level=WARN msg=grpc message="broken frame"
level=WARN msg=grpc message="broken pipe"
level=WARN msg=grpc message="4 pings"
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
	if log.V(0) || log.V(99) {
		t.Error("asks for verbose lines")
	}
}
