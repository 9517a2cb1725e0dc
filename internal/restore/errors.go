package restore

import "errors"

// ErrPlaintext is wrapped when what came out of an object's envelope is not the snapshot that the manifest names: it has
// another length or another trailer, or does not hash to its trailer.
var ErrPlaintext = errors.New("the plaintext is not what the manifest says")

// StepError says in which step a run failed: one of the Step constants. Its text is that of the error alone, which
// names what was done already.
type StepError struct {
	Step string
	Err  error
}

func (e *StepError) Error() string { return e.Err.Error() }
func (e *StepError) Unwrap() error { return e.Err }

// LocalError is a failure of this machine, such as a full disk, which another copy of the object would not cure.
type LocalError struct{ Err error }

func (e *LocalError) Error() string { return e.Err.Error() }
func (e *LocalError) Unwrap() error { return e.Err }
