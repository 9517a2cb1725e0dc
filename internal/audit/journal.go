package audit

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"
)

const (
	// JournalSocket is where systemd's journal listens, for https://systemd.io/JOURNAL_NATIVE_PROTOCOL.
	JournalSocket = "/run/systemd/journal/socket"
	// Identifier is what `journalctl -t` selects the records by.
	Identifier = "drd-audit"
	// journalWait bounds how long a journal that reads nothing is waited for.
	journalWait = time.Second
	// Priorities of syslog: NOTICE, and WARNING for what failed or was refused.
	notice, warning = "5", "4"
)

// sendToJournal sends one record, of which line is the message. The error wraps fs.ErrNotExist on a host that has no journal.
func sendToJournal(socket string, r *Record, line []byte, file string) (err error) {
	conn, err := net.DialTimeout("unixgram", socket, journalWait)
	if err != nil {
		return fmt.Errorf("write the audit log to the journal: %w", err)
	}
	defer func() {
		if err = errors.Join(err, conn.Close()); err != nil {
			err = fmt.Errorf("write the audit log to the journal: %w", err)
		}
	}()
	priority := notice
	if r.Outcome == Failed || r.Outcome == Refused {
		priority = warning
	}
	var message bytes.Buffer
	for _, field := range [][2]string{
		{"MESSAGE", string(line)}, {"PRIORITY", priority}, {"SYSLOG_IDENTIFIER", Identifier},
		{"DRD_EVENT", string(r.Event)}, {"DRD_OUTCOME", string(r.Outcome)}, {"DRD_AUDIT_FILE", file},
	} {
		// A field on one line is text; JSON has no newline in it, and a path with one is not worth a binary field.
		fmt.Fprintf(&message, "%s=%s\n", field[0], strings.ReplaceAll(field[1], "\n", " "))
	}
	if err := conn.SetDeadline(time.Now().Add(journalWait)); err != nil {
		return err
	}
	_, err = conn.Write(message.Bytes())
	return err
}
