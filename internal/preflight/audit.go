package preflight

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/drd-project/drd/internal/audit"
	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/repo"
)

// checkAudit verifies the chain of the audit log, and compares it with what is known of it elsewhere: in the journal, and in the signed
// manifests of the snapshots that this host made. self is the ID of its member in hex; "" when it is not known.
func checkAudit(ctx context.Context, cfg Config, self string) Check {
	const name = "audit log"
	journal, err := audit.FromJournal(ctx, cfg.AuditFile, os.Getuid())
	if err != nil {
		return fail(name, err)
	}
	known := inSnapshots(ctx, cfg, self)
	// The log comes last: what was known before must be in it, whatever others write meanwhile.
	chain, err := audit.Verify(cfg.AuditFile, append(journal, known.own...)...)
	if err != nil {
		return said(fail(name, withHints(err)))
	}
	doubts := append(known.doubts, unknown(chain, audit.Journal, "find out why records do not come into the journal: `journalctl -t "+audit.Identifier+"`")...)
	doubts = append(doubts, unknown(chain, audit.Snapshots, fmt.Sprintf("this passes when the newest %d snapshots of this host were made since; where nobody took old files of the log away, find out who did", anchorsCompared))...)
	as, err := audit.Verify(cfg.AuditFile, known.former...)
	if err != nil {
		doubts = append(doubts, hint.New(fmt.Errorf("snapshots that were signed with this node's key, of its member, on a host of another name, do not know this log: %w", err),
			"where it is this host that was called so, this is another log; where it is not, it should have a key of its own"))
	}
	text := chain.String() + sameAs(chain, as, known)
	if len(doubts) > 0 {
		return said(warn(name, fmt.Errorf("%s; %w", text, errors.Join(doubts...))))
	}
	return ok(name, "%s", text)
}

// said has what was found on one line.
func said(c Check) Check {
	c.Detail = repo.Printable(c.Detail)
	return c
}

// sameAs says what the log was compared with: own is the chain as this host's snapshots know it, former as it is known under another name.
func sameAs(own, former audit.Chain, known witnessed) string {
	var same []string
	for _, by := range []struct {
		who     string
		records int
	}{
		{"the journal", own.Matched[audit.Journal]},
		{"this host's signed snapshots", own.Matched[audit.Snapshots]},
		{"those it made under another name", former.Matched[audit.Snapshots]},
	} {
		if by.records > 0 {
			same = append(same, fmt.Sprintf("%s (%d)", by.who, by.records))
		}
	}
	text := ""
	if len(same) > 0 {
		text = "; agrees with " + strings.Join(same, ", ")
	}
	if known.asked > 0 && len(known.own)+len(known.former) == 0 {
		text += "; no snapshot of this host knows it yet"
	}
	return text
}

// unknown doubts a log that begins after a record that a witness knows. Of the journal, which has less than the log after a while, that is
// none while others agree; snapshots are as many whenever: whoever begins a log with a high number needs one of his own for each of them.
func unknown(chain audit.Chain, w audit.Witness, todo string) []error {
	var newest *audit.Anchor
	for i, a := range chain.Older {
		if a.Witness == w && (newest == nil || a.Sequence > newest.Sequence) {
			newest = &chain.Older[i]
		}
	}
	if newest == nil || w == audit.Journal && chain.Matched[w] > 0 {
		return nil
	}
	return []error{hint.New(fmt.Errorf("it begins with record %d, of %s, and the newest that %s has is %d: they cannot be compared",
		chain.First, at(chain.Since), newest.Where, newest.Sequence), "%s", todo)}
}

func withHints(err error) error {
	if !errors.Is(err, audit.ErrTampered) && !errors.Is(err, audit.ErrReplaced) {
		return err
	}
	if errors.Is(err, audit.ErrReplaced) {
		err = hint.New(err, "on a node that was set up anew this passes when its newest %d snapshots were made since, and the journal has forgotten the records before (`journalctl --vacuum-time`)", anchorsCompared)
	}
	return hint.New(err, "compare with the journal, `journalctl -t %s -o cat`, and with the copy on your log host; docs/audit.md says what it can mean", audit.Identifier)
}
