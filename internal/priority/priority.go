// Package priority puts the processes of a drill behind everything else on the machine: the production etcd shares it, and
// its disk.
package priority

import (
	"fmt"

	"golang.org/x/sys/unix"
)

const (
	// lowestNice is the least CPU priority.
	lowestNice = 19
	// idleIO is ioprio_set(2)'s class of those who get the disk when nobody else wants it, which is in the upper bits.
	idleIO = 3 << 13
	// whoGroup says to ioprio_set(2) that a process group is meant: all threads of it.
	whoGroup = 2
)

// Lower gives a process group the least of the CPU and of the disk: all its threads are reached at once, and new ones
// inherit it. What the machine refuses is returned, a printable line each; the processes run all the same.
func Lower(group int) (refused []string) {
	if err := unix.Setpriority(unix.PRIO_PGRP, group, lowestNice); err != nil {
		refused = append(refused, fmt.Sprintf("no lower CPU priority: %v", err))
	}
	if _, _, errno := unix.Syscall(unix.SYS_IOPRIO_SET, whoGroup, uintptr(group), idleIO); errno != 0 {
		refused = append(refused, fmt.Sprintf("no lower I/O priority: %v", errno))
	}
	return refused
}
