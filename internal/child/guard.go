package child

import (
	"fmt"
	"runtime/debug"
)

// Guard makes the calling goroutine report a panic or a memory fault in *err, as damaged words it: defer Guard(&err, damaged)().
// It is for readers of a file: bbolt panics on a damaged one, and a truncated one faults, because it is read through a memory
// map. Goroutines that the caller starts need their own, and those of bbolt cannot have one.
func Guard(err *error, damaged func(error) error) func() {
	before := debug.SetPanicOnFault(true)
	return func() {
		debug.SetPanicOnFault(before)
		if r := recover(); r != nil {
			*err = damaged(fmt.Errorf("reading it failed: %v", r))
		}
	}
}
