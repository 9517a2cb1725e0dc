package past

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"runtime/debug"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/drd-project/drd/internal/child"
)

// Main is the body of the child: args are a path and a query. It writes JSON messages and returns the exit code.
func Main(ctx context.Context, args []string, stdout io.Writer) int {
	// Half the usual garbage, as for every child that reads files beside a running etcd.
	debug.SetGCPercent(50)
	out := bufio.NewWriterSize(stdout, 64<<10)
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	facts, err := answer(ctx, args, func(m message) error { return enc.Encode(m) })
	m := message{Facts: facts}
	if err != nil {
		m = message{Failure: child.FailureOf(err)}
	}
	if enc.Encode(m) != nil || out.Flush() != nil || err != nil {
		return 1
	}
	return 0
}

func answer(ctx context.Context, args []string, say func(message) error) (facts *Facts, err error) {
	if len(args) != 2 {
		return nil, fmt.Errorf("want a path and a query, got %d arguments", len(args))
	}
	var q query
	if err := json.Unmarshal([]byte(args[1]), &q); err != nil {
		return nil, fmt.Errorf("query: %w", err)
	}
	defer child.Guard(&err, damaged)()
	db, err := bolt.Open(args[0], 0o400, &bolt.Options{ReadOnly: true, Timeout: time.Second})
	if err != nil {
		return nil, damaged(fmt.Errorf("open: %w", err))
	}
	defer db.Close()
	err = db.View(func(tx *bolt.Tx) error {
		s, err := openStore(ctx, tx, say)
		if err != nil {
			return damaged(err)
		}
		facts = &s.facts
		return s.answer(q)
	})
	return facts, err
}

func (s *store) answer(q query) error {
	switch {
	case q.To > s.facts.Revision:
		return fmt.Errorf("the store ends at revision %d, before %d", s.facts.Revision, q.To)
	case q.What == whatLog:
		return s.log(q)
	case q.What == whatDiff:
		return s.diff(q)
	case q.What == whatExtract:
		return s.extract(q)
	}
	return fmt.Errorf("query %.20q: there is none like it", q.What)
}
