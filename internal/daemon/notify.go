package daemon

import (
	"fmt"
	"log/slog"
	"strings"
	"sync"

	systemd "github.com/coreos/go-systemd/v22/daemon"
)

// notifier tells the service manager how the daemon is. It says each thing once.
type notifier struct {
	send func(state string) error
	log  *slog.Logger

	mu     sync.Mutex
	text   string
	failed bool
	ended  bool
}

func newNotifier(send func(state string) error, log *slog.Logger) *notifier {
	if send == nil {
		send = func(state string) error {
			_, err := systemd.SdNotify(false, state)
			return err
		}
	}
	return &notifier{send: send, log: log}
}

// ready is for when all is good that does not depend on others: etcd and the targets may be down.
func (n *notifier) ready() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.tell(systemd.SdNotifyReady)
}

// stopping is the last thing that is told.
func (n *notifier) stopping() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.tell(systemd.SdNotifyStopping)
	n.ended = true
}

// status is what systemctl status shows: one line, without a secret.
func (n *notifier) status(format string, args ...any) {
	text := strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", "; ")
	n.mu.Lock()
	defer n.mu.Unlock()
	if text != n.text {
		n.text = text
		n.tell("STATUS=" + text)
	}
}

// tell needs the lock.
func (n *notifier) tell(state string) {
	if n.ended {
		return
	}
	err := n.send(state)
	if err != nil && !n.failed {
		n.log.Warn("the service manager cannot be told", "error", err)
	}
	n.failed = err != nil
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}
