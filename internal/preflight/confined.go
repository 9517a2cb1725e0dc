package preflight

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// asProcess has do look at files with the mounts, the user and the capabilities of a process, which needs root. do runs on a thread of
// its own that ends with it: nothing else of this program is ever confined.
func asProcess[T any](ctx context.Context, pid int, do func() T) (T, error) {
	type outcome struct {
		found T
		err   error
	}
	done := make(chan outcome, 1)
	// Nobody waits longer than ctx for this goroutine: a dead network mount may hold it in the kernel.
	go onOwnThread(func() {
		var o outcome
		if o.err = become(pid); o.err == nil {
			o.found = do()
		}
		done <- o
	})
	select {
	case o := <-done:
		return o.found, o.err
	case <-ctx.Done():
		return *new(T), context.Cause(ctx)
	}
}

// onOwnThread has do run on a thread that ends with it, because it is locked and never unlocked. It is not the first one of the
// program, by which /proc/self goes: while that is held here, another has to take over.
func onOwnThread(do func()) {
	runtime.LockOSThread()
	if unix.Gettid() != unix.Getpid() {
		do()
		return
	}
	defer runtime.UnlockOSThread()
	done := make(chan struct{})
	go func() {
		defer close(done)
		onOwnThread(do)
	}()
	<-done
}

// become changes the calling thread for good.
func become(pid int) error {
	c, err := credentialsOf(pid)
	if err != nil {
		return err
	}
	mounts, err := os.Open(fmt.Sprintf("/proc/%d/ns/mnt", pid))
	if err != nil {
		return err
	}
	defer mounts.Close()
	if err := unix.Unshare(unix.CLONE_FS); err != nil { // else the kernel lets no thread go to other mounts alone
		return fmt.Errorf("unshare: %w", err)
	}
	if err := unix.Setns(int(mounts.Fd()), unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("enter its mounts: %w", err)
	}
	return c.take()
}

// credentials decide what a process may do with files.
type credentials struct {
	user, group  int
	groups       []int  // in order
	capabilities uint64 // effective
}

// credentialsOf reads them from /proc.
func credentialsOf(pid int) (credentials, error) {
	file, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return credentials{}, err
	}
	defer file.Close()
	var c credentials
	lines := bufio.NewScanner(file)
	for lines.Scan() && err == nil {
		key, text, _ := strings.Cut(lines.Text(), ":")
		values := strings.Fields(text)
		switch { // of user and group: real, effective, saved, of the file system
		case key == "Uid" && len(values) == 4:
			c.user, err = strconv.Atoi(values[3])
		case key == "Gid" && len(values) == 4:
			c.group, err = strconv.Atoi(values[3])
		case key == "Groups":
			c.groups, err = numbers(values)
		case key == "CapEff" && len(values) == 1:
			c.capabilities, err = strconv.ParseUint(values[0], 16, 64)
		}
	}
	if err == nil {
		err = lines.Err()
	}
	return c, err
}

func numbers(texts []string) ([]int, error) {
	all := make([]int, len(texts))
	for i, text := range texts {
		var err error
		if all[i], err = strconv.Atoi(text); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// take gives them to the calling thread. The wrappers of package unix change all threads of the program, hence the bare calls.
func (c credentials) take() error {
	if err := unix.Prctl(unix.PR_SET_KEEPCAPS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("keep capabilities: %w", err)
	}
	if err := takeGroups(c.groups); err != nil {
		return fmt.Errorf("take its groups: %w", err)
	}
	if _, _, no := unix.RawSyscall(unix.SYS_SETRESGID, uintptr(c.group), uintptr(c.group), uintptr(c.group)); no != 0 {
		return fmt.Errorf("take its group: %w", no)
	}
	if _, _, no := unix.RawSyscall(unix.SYS_SETRESUID, uintptr(c.user), uintptr(c.user), uintptr(c.user)); no != 0 {
		return fmt.Errorf("take its user: %w", no)
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	data := [2]unix.CapUserData{}
	for i := range data {
		half := uint32(c.capabilities >> (32 * i))
		data[i] = unix.CapUserData{Effective: half, Permitted: half}
	}
	if err := unix.Capset(&header, &data[0]); err != nil {
		return fmt.Errorf("take its capabilities: %w", err)
	}
	return nil
}

// takeGroups changes nothing where they are the same: a user namespace may not let them be changed.
func takeGroups(groups []int) error {
	own, err := unix.Getgroups()
	slices.Sort(own)
	if err != nil || slices.Equal(own, groups) {
		return err
	}
	ids := make([]uint32, len(groups)+1) // there is an address, also of none
	for i, g := range groups {
		ids[i] = uint32(g)
	}
	if _, _, no := unix.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(groups)), uintptr(unsafe.Pointer(&ids[0])), 0); no != 0 {
		return no
	}
	return nil
}
