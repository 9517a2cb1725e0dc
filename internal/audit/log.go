package audit

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"
)

// Config is what a log needs to know.
type Config struct {
	// Place returns the file, "" for none, and the cluster, if it is known. It is asked once, for the first record.
	Place func() (file, cluster string)
	// Command is who writes, such as "drd restore".
	Command string
	// Classes are the errors that have a name, the most special first.
	Classes []Class
	// Trouble is told when a record could not be written where it should be: once for each place. An action that only had to be
	// noted goes on.
	Trouble func(error)
	// Journal is the socket of the system's journal; "": JournalSocket.
	Journal string
	// Now is the clock; nil: the machine's.
	Now func() time.Time
}

// Log writes records. It is safe for concurrent use, also by several processes with the same file.
type Log struct {
	cfg Config

	mu      sync.Mutex
	asked   bool // Place was
	file    string
	cluster string
	host    string
	actor   Actor
	lost    int64
	told    map[string]bool // places whose trouble was told
}

// New makes a log. It touches nothing before the first record.
func New(cfg Config) *Log {
	if cfg.Journal == "" {
		cfg.Journal = JournalSocket
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Log{cfg: cfg, told: make(map[string]bool)}
}

type contextKey struct{}

// Into returns a context whose events go into l.
func Into(ctx context.Context, l *Log) context.Context {
	return context.WithValue(ctx, contextKey{}, l)
}

// from is nil where there is no log.
func from(ctx context.Context) *Log {
	l, _ := ctx.Value(contextKey{}).(*Log)
	return l
}

// Note records an event in the log of ctx, if it has one. That ctx has ended does not matter. What goes wrong is told to
// Config.Trouble, and the caller goes on.
func Note(ctx context.Context, e Event) {
	if l := from(ctx); l != nil {
		l.record(e, false)
	}
}

// Require records an event as Note does, and returns an error where the log of ctx has no file or it is not in the file: what was
// about to be done must not be done. Without a log in ctx there is nothing to wait for.
func Require(ctx context.Context, e Event) error {
	l := from(ctx)
	if l == nil {
		return nil
	}
	return l.record(e, true)
}

// During records that e is about to happen, does it, and records how it went: who is killed meanwhile leaves the first record. The error
// is that of do.
func During(ctx context.Context, e Event, do func() error) error {
	e.Outcome = Begun
	Note(ctx, e)
	e.Outcome, e.Err = "", do()
	Note(ctx, e)
	return e.Err
}

// ErrNoFile is wrapped when Place knows no file.
var ErrNoFile = errors.New("no configuration that can be read names a state directory for the audit log")

// record writes to both places. The error is that of the file.
func (l *Log) record(e Event, required bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.begin()
	r := l.fill(e)
	var line []byte
	inFile := ErrNoFile
	if l.file != "" {
		if line, inFile = appendRecord(l.file, r, r.Outcome == Begun || !e.Name.bulk()); inFile != nil {
			inFile = fmt.Errorf("write the audit log: %w", inFile)
			l.lost++
		} else {
			l.lost = 0
		}
	}
	if inFile != nil {
		r.Sequence, r.Previous, r.Continues = 0, "", false
		var err error
		if line, err = r.line(); err != nil {
			return err
		}
	}
	inJournal := sendToJournal(l.cfg.Journal, r, line, l.file)
	l.tell(inFile, inJournal, required)
	return inFile
}

// tell tells once of each place that fails. A host that has no journal at all misses nothing while there is a file.
func (l *Log) tell(inFile, inJournal error, required bool) {
	say := func(place string, err error) {
		if err != nil && !l.told[place] {
			l.told[place] = true
			if l.cfg.Trouble != nil {
				l.cfg.Trouble(err)
			}
		}
	}
	switch {
	case inFile == nil:
		if !errors.Is(inJournal, fs.ErrNotExist) {
			say("journal", inJournal)
		}
	case required: // the caller gets the error
	case errors.Is(inFile, ErrNoFile) && inJournal == nil:
	case inJournal == nil:
		say("file", fmt.Errorf("%w; it is in the journal alone", inFile))
	default:
		say("both", fmt.Errorf("this is recorded nowhere: %w; %w", inFile, inJournal))
	}
}

// begin finds out what all records have in common.
func (l *Log) begin() {
	if l.asked {
		return
	}
	l.asked = true
	if l.cfg.Place != nil {
		l.file, l.cluster = l.cfg.Place()
	}
	l.host, _ = os.Hostname() // "" where it has none
	l.actor = currentActor(l.cfg.Command)
}

func (l *Log) fill(e Event) *Record {
	outcome := e.Outcome
	switch {
	case outcome != "":
	case e.Err != nil:
		outcome = Failed
	default:
		outcome = Done
	}
	return &Record{
		Time: l.cfg.Now().UTC(), Event: e.Name, Outcome: outcome, ErrorClass: classOf(e.Err, l.cfg.Classes), Object: bounded(e.Object, maxText),
		Target: bounded(e.Target, maxText), Count: e.Count, Actor: l.actor, Host: bounded(l.host, maxHost), Cluster: bounded(l.cluster, 255), Lost: l.lost,
	}
}
