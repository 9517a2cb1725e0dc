package daemon

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	systemd "github.com/coreos/go-systemd/v22/daemon"
)

// notifier tells the service manager how the daemon is. It says each thing once.
type notifier struct {
	send  func(state string) error
	log   *slog.Logger
	pulse *pulse

	mu     sync.Mutex
	parts  statusLine
	text   string // what was told
	good   bool   // READY was told, of the configuration that is run now
	next   bool   // another run follows the one under way
	failed bool
	ended  bool
}

// statusLine are the parts of the line that systemctl status shows; "" is none.
type statusLine struct {
	refused string // why the configuration in the file is not the one that is run
	doing   string // what the scheduler does
	gap     string // why the archive is not written
	archive string // to when the cluster can be brought back
	drills  string // what the drills do
	proof   string // when a restore was last proved
	queue   string // which targets lack what
}

func (s statusLine) line() string {
	parts := slices.DeleteFunc([]string{s.refused, s.doing, s.gap, s.archive, s.drills, s.proof, s.queue}, func(s string) bool { return s == "" })
	return strings.ReplaceAll(strings.Join(parts, "; "), "\n", "; ")
}

func newNotifier(send func(state string) error, log *slog.Logger) *notifier {
	if send == nil {
		send = func(state string) error {
			_, err := systemd.SdNotify(false, state)
			return err
		}
	}
	return &notifier{send: send, log: log, pulse: newPulse()}
}

// ready is for when all is good that does not depend on others: configuration, keys, state and address. etcd and the targets
// may be down, which the status says: a unit that is not started because etcd is not there would be given up by the service
// manager, and what waits for the unit would wait for etcd, which may itself be waiting to be restored.
func (n *notifier) ready() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.good, n.next = true, false
	n.tell(systemd.SdNotifyReady)
}

// started says whether what is run now was ready.
func (n *notifier) started() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.good
}

// handOver is told when the run under way ends for another configuration; ready follows.
func (n *notifier) handOver() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.tell(systemd.SdNotifyReloading + "\n" + systemd.SdNotifyMonotonicUsec())
	n.next = true
}

// begin forgets what the run before had to say: another one begins.
func (n *notifier) begin() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.good, n.parts = false, statusLine{}
}

// giveUp is for when no run follows after all.
func (n *notifier) giveUp() {
	n.mu.Lock()
	n.next = false
	n.mu.Unlock()
	n.stopping()
}

// alive feeds the watchdog.
func (n *notifier) alive() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.tell(systemd.SdNotifyWatchdog)
}

// stopping is the last thing that is told, unless another configuration is run next.
func (n *notifier) stopping() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.next {
		return
	}
	n.tell(systemd.SdNotifyStopping)
	n.ended = true
}

// refused is the part of it that says why the configuration that was to be loaded is not run.
func (n *notifier) refused(text string) {
	n.compose(func() { n.parts.refused = text })
}

// status is what systemctl status shows: one line, without a secret.
func (n *notifier) status(format string, args ...any) {
	n.compose(func() { n.parts.doing = fmt.Sprintf(format, args...) })
}

// drilling is the part of it that says what the drills do.
func (n *notifier) drilling(format string, args ...any) {
	n.compose(func() { n.parts.drills = fmt.Sprintf(format, args...) })
}

// archived is the part of it that says to when the archive brings the cluster back, the zero time: to none. It has no seconds: it
// would be told anew every few of them.
func (n *notifier) archived(to time.Time) {
	text := ""
	if !to.IsZero() {
		text = "recoverable to " + to.UTC().Format("2006-01-02 15:04 UTC")
	}
	n.compose(func() { n.parts.archive = text })
}

// unarchived is the part of it that says why the archive is not written; nil: it is.
func (n *notifier) unarchived(since time.Time, why error) {
	text := ""
	if why != nil {
		text = "the archive has not been written since " + clock(since) + ": " + reason(why)
	}
	n.compose(func() { n.parts.gap = text })
}

// proved is the part of it that says when a restore was last proved.
func (n *notifier) proved(text string) {
	n.compose(func() { n.parts.proof = text })
}

// behind is the part of it that says which targets lack what.
func (n *notifier) behind(text string) {
	n.compose(func() { n.parts.queue = text })
}

func (n *notifier) compose(change func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	change()
	if text := n.parts.line(); text != n.text {
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
