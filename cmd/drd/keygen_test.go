package main

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// TestKeygenOnFullDisk: whichever file does not fit, nothing is left in the way of the next try.
func TestKeygenOnFullDisk(t *testing.T) {
	const script = `mount -t tmpfs -o size=16k,mode=700 drd-test "$1" && cd "$1" || exit 9
for free in $3; do
	head -c $((16384 - free)) /dev/zero >filler
	if drd keygen --dir keys --name n --only "$2"; then echo "it fits into $free"; fi
	ls -A keys
	rm filler
done 2>/dev/null
mount -o remount,size=1m . && drd keygen --dir keys --name n --only "$2" >/dev/null && ls -A keys`
	for _, c := range []struct{ only, free, want string }{
		{"identity", "0 4096", "card.html card.txt identity.txt recipient.txt"}, // a file takes a page
		{"signing", "0 4096 8192", "allowed_signers card.html card.txt signing.key signing.key.pub"},
	} {
		cmd := exec.CommandContext(t.Context(), "/bin/sh", "-c", script, "sh", t.TempDir(), c.only, c.free)
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		}
		out, err := cmd.CombinedOutput()
		if got := strings.Join(strings.Fields(string(out)), " "); err != nil || got != c.want {
			t.Errorf("%s: %v, %q, want %q", c.only, err, got, c.want)
		}
	}
}
