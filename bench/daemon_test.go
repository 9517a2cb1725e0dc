//go:build bench

package bench

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// daemon is a drd that follows the cluster.
type daemon struct {
	b      *bench
	cmd    *exec.Cmd
	exited chan struct{}
}

const (
	settleLimit = 5 * time.Minute // for a daemon that was just started: the snapshots it wants, and the way there
	settleLook  = 3 * time.Second
	idle        = 0.10 // of a core: a daemon that does less only archives the ticks
	endLimit    = time.Minute
	// niceness gives the daemon a fifth of etcd's share of a busy processor, which is what its unit's CPUWeight=20 does (systemd/drd.service).
	niceness = "7"
)

// archiving is the rest of a configuration: an archive, and snapshots only when the archive needs one.
func (b *bench) archiving(port int) string {
	b.metrics = fmt.Sprintf("http://127.0.0.1:%d/metrics", port)
	return fmt.Sprintf("metrics: {listen: \"127.0.0.1:%d\"}\nsnapshot: {schedule: \"0 0 1 1 *\"}\narchive: {enabled: true, flush_interval: %s}\n", port, flushInterval)
}

func (b *bench) startDaemon() *daemon {
	log, err := os.OpenFile(b.path("daemon.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		b.t.Fatal(err)
	}
	defer log.Close()
	d := &daemon{b: b, exited: make(chan struct{})}
	d.cmd = exec.Command("nice", "-n", niceness, b.drd, "--config", b.path("config.yaml"), "daemon") // which execs it
	d.cmd.Stdout, d.cmd.Stderr = log, log
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := d.cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	go func() {
		defer close(d.exited)
		_ = d.cmd.Wait() // how it ended is in ProcessState
	}()
	b.t.Cleanup(func() {
		_ = d.cmd.Process.Kill() // it has ended already, but after a failure
		<-d.exited
	})
	return d
}

// stop ends it as systemd does. An archive's tail is in the targets then.
func (d *daemon) stop() {
	d.b.t.Helper()
	if err := d.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		d.fail("stop it: %v", err)
	}
	select {
	case <-d.exited:
	case <-time.After(endLimit):
		d.fail("it does not end")
	}
	if d.cmd.ProcessState.ExitCode() != 0 {
		d.fail("it ended with %v", d.cmd.ProcessState)
	}
}

func (d *daemon) fail(format string, args ...any) {
	d.b.t.Helper()
	log, _ := os.ReadFile(d.b.path("daemon.log"))
	d.b.t.Fatalf("drd daemon: %s\n%s", fmt.Sprintf(format, args...), log[max(0, len(log)-8<<10):])
}

// settle waits until the daemon has in every target what happens now, and has nothing else to do: the snapshot that it took because it was
// away is a matter of its own. It returns the newest revision, which is archived.
func (d *daemon) settle(l *load, targets ...string) int64 {
	d.b.t.Helper()
	ticked := []int64{l.tick()}
	for deadline := time.Now().Add(settleLimit); time.Now().Before(deadline); {
		before := cpuTime(d.b.drd)
		time.Sleep(settleLook)
		used := (cpuTime(d.b.drd) - before).Seconds() / settleLook.Seconds()
		// What was ticked this long ago is archived by now, if anything is.
		old := ticked[max(0, len(ticked)-1-int(3*flushInterval/settleLook))]
		if used < idle && len(ticked) > int(3*flushInterval/settleLook) && d.archived(targets) >= old {
			d.confirmed(ticked[len(ticked)-1], targets...)
			return ticked[len(ticked)-1]
		}
		ticked = append(ticked, l.tick())
	}
	d.fail("it does not come to rest")
	return 0
}

// confirmed waits until every target has been read back up to a revision.
func (d *daemon) confirmed(revision int64, targets ...string) {
	d.b.t.Helper()
	for deadline := time.Now().Add(settleLimit); time.Now().Before(deadline); time.Sleep(settleLook / 10) {
		if d.archived(targets) >= revision {
			return
		}
	}
	d.fail("revision %d is not archived", revision)
}

// archived is the revision up to which all these targets have the archive; 0 while one does not say.
func (d *daemon) archived(targets []string) int64 {
	series := d.b.scrape()
	revision := int64(series[fmt.Sprintf(`drd_archive_revision{target=%q}`, targets[0])])
	for _, t := range targets {
		revision = min(revision, int64(series[fmt.Sprintf(`drd_archive_revision{target=%q}`, t)]))
	}
	return revision
}

// wantNoGaps fails the bench when the daemon says that something cannot be restored.
func (d *daemon) wantNoGaps() {
	d.b.t.Helper()
	if gaps := d.b.scrape()["drd_archive_gaps_total"]; gaps != 0 {
		d.fail("%v gaps", gaps)
	}
}

// scrape reads the metrics; none while nobody answers.
func (b *bench) scrape() map[string]float64 {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, b.metrics, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil
	}
	defer resp.Body.Close()
	page, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil
	}
	series := map[string]float64{}
	for line := range strings.Lines(string(page)) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), " ")
		if v, err := strconv.ParseFloat(value, 64); ok && err == nil {
			series[name] = v
		}
	}
	return series
}

// tickTime is the unit of times in /proc/PID/stat: USER_HZ, which is 100 on every Linux.
const tickTime = 10 * time.Millisecond

// cpuTime is what all processes of a program have used up to now, and their children that have ended.
func cpuTime(program string) time.Duration {
	var ticks int64
	for _, stat := range ofProcesses(program, "stat") {
		// The name, in parentheses, may have spaces. utime, stime, cutime and cstime are the fields 14 to 17 (proc(5)).
		fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
		for _, f := range fields[11:15] {
			n, _ := strconv.ParseInt(f, 10, 64)
			ticks += n
		}
	}
	return time.Duration(ticks) * tickTime
}

// busyTime is how long all cores together have worked since the machine started.
func busyTime() time.Duration {
	stat, _ := os.ReadFile("/proc/stat")
	line, _, _ := strings.Cut(string(stat), "\n")
	var ticks int64
	for i, f := range strings.Fields(line)[1:] { // user, nice, system, idle, iowait, irq, softirq, steal (proc(5))
		if n, _ := strconv.ParseInt(f, 10, 64); i < 8 && i != 3 && i != 4 {
			ticks += n
		}
	}
	return time.Duration(ticks) * tickTime
}
