package daemon

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"

	systemd "github.com/coreos/go-systemd/v22/daemon"
)

// notifier tells the service manager how the daemon is. It says each thing once.
type notifier struct {
	send func(state string) error
	log  *slog.Logger

	mu     sync.Mutex
	doing  string // what the scheduler does
	drills string // what the drills do
	proof  string // when a restore was last proved
	queue  string // which targets lack what; "" if all is well
	text   string // what was told
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
	n.compose(func() { n.doing = fmt.Sprintf(format, args...) })
}

// drilling is the part of it that says what the drills do.
func (n *notifier) drilling(format string, args ...any) {
	n.compose(func() { n.drills = fmt.Sprintf(format, args...) })
}

// proved is the part of it that says when a restore was last proved.
func (n *notifier) proved(text string) {
	n.compose(func() { n.proof = text })
}

// behind is the part of it that says which targets lack what.
func (n *notifier) behind(text string) {
	n.compose(func() { n.queue = text })
}

func (n *notifier) compose(change func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	change()
	parts := slices.DeleteFunc([]string{n.doing, n.drills, n.proof, n.queue}, func(s string) bool { return s == "" })
	text := strings.ReplaceAll(strings.Join(parts, "; "), "\n", "; ")
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
