package etcd

import (
	"fmt"
	"log/slog"
	"os"
	"strings"

	"google.golang.org/grpc/grpclog"
)

// LogTo sends what gRPC logs by itself to log, instead of stderr. gRPC keeps its logger in a variable
// without a lock: call this once, in main, before anything connects or serves.
//
// Its errors become warnings, because what fails for drd is returned as an error anyway; its
// warnings, one for each failed attempt to connect, become debug lines; its information is dropped.
func LogTo(log *slog.Logger) { grpclog.SetLoggerV2(grpcLogger{log}) }

type grpcLogger struct{ log *slog.Logger }

var _ grpclog.LoggerV2 = grpcLogger{}

func (grpcLogger) Info(...any)          {}
func (grpcLogger) Infoln(...any)        {}
func (grpcLogger) Infof(string, ...any) {}
func (grpcLogger) V(int) bool           { return false }

func (g grpcLogger) Warning(args ...any)                 { g.debug(fmt.Sprint(args...)) }
func (g grpcLogger) Warningln(args ...any)               { g.debug(fmt.Sprintln(args...)) }
func (g grpcLogger) Warningf(format string, args ...any) { g.debug(fmt.Sprintf(format, args...)) }
func (g grpcLogger) Error(args ...any)                   { g.warn(fmt.Sprint(args...)) }
func (g grpcLogger) Errorln(args ...any)                 { g.warn(fmt.Sprintln(args...)) }
func (g grpcLogger) Errorf(format string, args ...any)   { g.warn(fmt.Sprintf(format, args...)) }
func (g grpcLogger) Fatal(args ...any)                   { g.fatal(fmt.Sprint(args...)) }
func (g grpcLogger) Fatalln(args ...any)                 { g.fatal(fmt.Sprintln(args...)) }
func (g grpcLogger) Fatalf(format string, args ...any)   { g.fatal(fmt.Sprintf(format, args...)) }

func (g grpcLogger) debug(text string) { g.log.Debug("grpc", "message", strings.TrimSpace(text)) }
func (g grpcLogger) warn(text string)  { g.log.Warn("grpc", "message", strings.TrimSpace(text)) }

// fatal must not return: gRPC's interface says so, for states its code holds impossible.
func (g grpcLogger) fatal(text string) {
	g.log.Error("grpc", "message", strings.TrimSpace(text))
	os.Exit(1)
}
