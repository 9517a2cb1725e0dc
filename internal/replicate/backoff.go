package replicate

import (
	"errors"
	"math/rand/v2"
	"time"

	"github.com/drd-project/drd/internal/storage"
)

const (
	// shortestWait and longestWait bound the wait after a failure that may pass by itself. It is drawn from the whole
	// range (full jitter), whose end doubles with each failure in a row: nodes that failed together do not come back
	// together. There is no last attempt.
	shortestWait = time.Second
	longestWait  = 5 * time.Minute
	// refusedWait is the wait after a refusal, which lasts until a person changes something; a fifth of it is drawn.
	refusedWait = 15 * time.Minute
	// probeEvery failures in a row an older snapshot is tried in place of the newest, so that one that the target will
	// not take does not hold up the others.
	probeEvery = 6
)

// backoff is the wait after the given number of failures in a row, from 1.
func backoff(failures int) time.Duration {
	ceiling := longestWait
	if failures < 9 { // 2^9 s is beyond it; a shift by much more would overflow
		ceiling = min(longestWait, shortestWait<<failures)
	}
	return shortestWait + rand.N(ceiling-shortestWait+1)
}

func refusedBackoff() time.Duration { return refusedWait - rand.N(refusedWait/5) }

// refused tells a store that says no, or a bucket that is not there, from trouble that may pass.
func refused(err error) bool {
	for _, no := range []error{storage.ErrDenied, storage.ErrNotExist, storage.ErrNoBucket} {
		if errors.Is(err, no) {
			return true
		}
	}
	return false
}
