package audit

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"time"
)

const (
	// journalAnchors is how many of the newest records are asked of the journal.
	journalAnchors = 1000
	journalTimeout = 20 * time.Second
	// maxJournal bounds the answer in bytes: an entry has some 3 KiB.
	maxJournal = 16 << 20
)

// FromJournal returns the newest records of the file at path that the journal has from the user uid: what others sent under the same
// identifier does not count. There are none on a host without journalctl.
func FromJournal(ctx context.Context, path string, uid int) ([]Anchor, error) {
	program, err := exec.LookPath("journalctl")
	if err != nil {
		return nil, nil //nolint:nilerr // there is no journal to ask
	}
	ctx, cancel := context.WithTimeout(ctx, journalTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, "--no-pager", "--quiet", "--output=json", "--output-fields=MESSAGE", fmt.Sprintf("--lines=%d", journalAnchors),
		"SYSLOG_IDENTIFIER="+Identifier, "DRD_AUDIT_FILE="+path, "_UID="+strconv.Itoa(uid))
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("ask the journal for the audit log: %w", err)
	}
	return parseJournal(out)
}

// parseJournal reads what journalctl --output=json prints.
func parseJournal(out []byte) ([]Anchor, error) {
	var anchors []Anchor
	in := bufio.NewScanner(bytes.NewReader(out))
	in.Buffer(nil, maxJournal)
	for in.Scan() {
		var entry struct {
			Message json.RawMessage `json:"MESSAGE"`
		}
		if err := json.Unmarshal(in.Bytes(), &entry); err != nil {
			return nil, fmt.Errorf("ask the journal for the audit log: %w", err)
		}
		line, err := messageOf(entry.Message)
		if err != nil {
			return nil, fmt.Errorf("ask the journal for the audit log: %w", err)
		}
		var r Record
		if json.Unmarshal(line, &r) == nil && r.Sequence > 0 { // else it did not come into the file
			anchors = append(anchors, Anchor{Sequence: r.Sequence, Hash: hashOf(line), Witness: Journal, Where: "the journal", Time: r.Time})
		}
	}
	return anchors, in.Err()
}

// messageOf is a field as journalctl writes it: text, or the bytes as numbers.
func messageOf(raw json.RawMessage) ([]byte, error) {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return []byte(text), nil
	}
	var numbers []uint8Number
	if err := json.Unmarshal(raw, &numbers); err != nil {
		return nil, errors.New("a message is neither text nor bytes")
	}
	line := make([]byte, len(numbers))
	for i, n := range numbers {
		line[i] = byte(n)
	}
	return line, nil
}

// uint8Number keeps encoding/json from taking a list of numbers for base64.
type uint8Number uint8
