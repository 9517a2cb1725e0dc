package preflight

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/drd-project/drd/internal/audit"
	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/replicate"
	"github.com/drd-project/drd/internal/repo"
)

const (
	// anchorsCompared is how many of this host's newest snapshots the audit log is compared with: those of five days, four a day.
	anchorsCompared = 20
	// anchorsAmong is among how many trusted snapshots of all hosts those of this one are looked for.
	anchorsAmong = 200
	// anchorsRead is how many manifests are read for that at most. Who may write to the bucket can plant newer ones, which are read
	// and do not count.
	anchorsRead = 20_000
)

// witnessed is what the newest snapshots of this host know of its audit log.
type witnessed struct {
	own []audit.Anchor
	// former are of snapshots with this node's key and of its member, made on a host of another name. That is this host before it was
	// renamed, or one that somebody has given a copy of its configuration.
	former []audit.Anchor
	asked  int     // targets that have answered
	doubts []error // those that have not, or not all
}

// witness is a trusted snapshot whose manifest knows an audit log.
type witness struct {
	repo.Entry
	target string
}

// inSnapshots asks all targets at once. self is the ID of this node's member in hex, "" when it is not known.
func inSnapshots(ctx context.Context, cfg Config, self string) witnessed {
	if cfg.Trust == nil || cfg.Signer == nil || cfg.Connect == nil { // a verifier host makes no snapshots
		return witnessed{}
	}
	found, known := askTargets(ctx, cfg)
	name, err := os.Hostname()
	if err != nil {
		known.doubts = append(known.doubts, fmt.Errorf("find out the name of this host: %w", err))
	}
	name = repo.AuditHost(name)
	for _, w := range found {
		if len(known.own)+len(known.former) == anchorsCompared {
			break
		}
		ownKey, ownMember := w.Signer.Fingerprint == cfg.Signer.Fingerprint(), w.Manifest.Member.ID == self
		switch ownName := w.Manifest.Audit.Host == name; {
		case ownName && (ownKey || ownMember): // other hosts may have the same name, such as "localhost"
			known.own = append(known.own, w.anchor())
		case ownKey && ownMember:
			known.former = append(known.former, w.anchor())
		}
	}
	return known
}

func (w witness) anchor() audit.Anchor {
	m := w.Manifest
	return audit.Anchor{
		Sequence: m.Audit.Sequence, Hash: m.Audit.SHA256, Witness: audit.Snapshots, Time: m.CaptureEnd,
		Where: fmt.Sprintf("snapshot %s (captured %s on %s, in %s)", m.ID, at(m.CaptureStart), m.Audit.Host, w.target),
	}
}

func at(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// manifests are what one target has.
type manifests struct {
	entries []repo.Entry
	err     error // why they are not all
}

// askTargets returns each snapshot once, the newest first; those dated in the future last, because a wrong clock must not keep newer ones
// from being compared.
func askTargets(ctx context.Context, cfg Config) ([]witness, witnessed) {
	ctx, cancel := context.WithTimeout(ctx, targetTimeout)
	defer cancel()
	answers := make([]chan manifests, len(cfg.Targets))
	for i, t := range cfg.Targets {
		answers[i] = make(chan manifests, 1)
		// Nobody waits longer than ctx for this goroutine: a read from a dead network mount may hang in the kernel.
		go func() { answers[i] <- newestTrusted(ctx, cfg, t) }()
	}
	var known witnessed
	var found []witness
	seen := make(map[string]bool)
	for i, t := range cfg.Targets {
		var got manifests
		select {
		case got = <-answers[i]:
		case <-ctx.Done():
			got.err = context.Cause(ctx)
		}
		if got.err != nil {
			known.doubts = append(known.doubts, hint.New(fmt.Errorf("not compared with all snapshots in target %s: %w", t.Name, got.err), "look at what is said of target %s", t.Name))
		} else {
			known.asked++
		}
		for _, e := range got.entries {
			if !seen[e.Digest] {
				seen[e.Digest] = true
				found = append(found, witness{e, t.Name})
			}
		}
	}
	now := time.Now()
	slices.SortFunc(found, func(a, b witness) int {
		return cmp.Or(cmp.Compare(future(a, now), future(b, now)), b.ID.Compare(a.ID))
	})
	return found, known
}

func future(w witness, now time.Time) int {
	if repo.InFuture(w.ID.Time, now) {
		return 1
	}
	return 0
}

// newestTrusted reads manifests until enough of them are trusted, and returns those that know an audit log.
func newestTrusted(ctx context.Context, cfg Config, t replicate.Target) (got manifests) {
	for n := anchorsAmong; ; n *= 4 {
		c, err := t.Repo.Recent(ctx, cfg.Trust, min(n, anchorsRead))
		if err != nil {
			got.err = err
			return got // with what was read before
		}
		got.entries = nil
		trusted, unread, unreadable := 0, 0, 0
		for _, e := range c.Entries {
			switch {
			case e.State == repo.StateUnread:
				unread++
			case e.State == repo.StateUnreadable:
				unreadable++
			case e.Manifest != nil: // its signature is good, whatever became of the payload
				trusted++
				if e.Manifest.Audit != nil {
					got.entries = append(got.entries, e)
				}
			}
		}
		if unreadable > 0 {
			got.err = fmt.Errorf("%d of the manifests cannot be read", unreadable)
		}
		if trusted >= anchorsAmong || unread == 0 {
			return got
		}
		if n >= anchorsRead {
			got.err = fmt.Errorf("only the newest %d manifests were read, and %d of them are trusted", anchorsRead, trusted)
			return got
		}
	}
}
