package seal_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/drd-project/drd/test/servers"
)

// onTerminal runs a real program on a terminal of its own and types one answer at each question. age
// takes passphrases from a terminal only.
func onTerminal(t *testing.T, answers []string, program string, args ...string) {
	t.Helper()
	master, slave := openTerminal(t)
	cmd := exec.CommandContext(t.Context(), servers.Tool(t, program), args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	slave.Close() //nolint:errcheck // the child has it
	screen := converse(master, answers)
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%s: %v\n%s", program, err, screen)
	}
}

// converse types each answer after the next question, and reads until the program is gone.
func converse(terminal *os.File, answers []string) string {
	var screen bytes.Buffer
	asked := 0
	buf := make([]byte, 1024)
	for {
		n, err := terminal.Read(buf)
		screen.Write(buf[:n])
		if count := bytes.Count(screen.Bytes(), []byte("passphrase")); count > asked && asked < len(answers) && bytes.HasSuffix(bytes.TrimSpace(screen.Bytes()), []byte(":")) {
			// The program switches the echo off after it asked, which flushes what was typed before.
			time.Sleep(100 * time.Millisecond)
			fmt.Fprintf(terminal, "%s\n", answers[asked]) //nolint:errcheck // shows in what is read next
			asked = count
		}
		if err != nil {
			return screen.String()
		}
	}
}

func openTerminal(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close() }) //nolint:errcheck // best effort
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	return master, slave
}
