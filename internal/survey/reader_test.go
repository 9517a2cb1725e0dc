package survey_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/survey"
	"github.com/drd-project/drd/test/servers"
)

// TestDeaths: a child that the file brought down says something about the file; one that the machine brought down does not.
func TestDeaths(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	if err := os.WriteFile(path, []byte(strings.Repeat("not a database ", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		reader survey.Reader
		path   string
		killed bool
		says   string
	}{
		"killed":          {shell(t, "kill -KILL $$"), path, true, "signal: killed"},
		"terminated":      {shell(t, "kill -TERM $$"), path, true, "signal: terminated"},
		"crashed":         {shell(t, "kill -ABRT $$"), path, false, "damaged"},
		"segmentation":    {shell(t, "kill -SEGV $$"), path, false, "damaged"},
		"panic":           {child(t, "panic"), path, false, "damaged: the process reading it died (exit status 2): panic: page 7: not a leaf"},
		"out of memory":   {child(t, "out of memory"), path, true, "runtime: out of memory"},
		"interrupted":     {child(t, "interrupted"), path, true, "interrupted"},
		"silent":          {child(t, "silent"), path, true, "without an answer: it left no message"},
		"nonsense":        {shell(t, "echo hello"), path, true, "without an answer"},
		"wrong usage":     {shell(t, "echo drd: error: unknown command >&2; exit 2"), path, true, "unknown command"},
		"fault":           {shell(t, "echo unexpected fault address 0x7f >&2; exit 2"), path, false, "damaged"},
		"no threads":      {shell(t, "echo 'runtime: failed to create new OS thread (have 5 already; errno=11)' >&2; exit 2"), path, true, "OS thread"},
		"no such program": {survey.Reader{Command: []string{"/nonexistent/program"}}, path, true, "no such file"},
		"no such file":    {child(t, "read"), path + "x", true, "no such file"},
		"no database":     {child(t, "read"), path, false, "damaged: open: invalid database"},
	} {
		_, err := c.reader.File(t.Context(), c.path, 1)
		if err == nil || errors.Is(err, survey.ErrKilled) != c.killed || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, killed %v", name, err, errors.Is(err, survey.ErrKilled))
		}
		if strings.Contains(c.says, "damaged") && len(hint.Of(err)) != 1 {
			t.Errorf("%s: hints %q", name, hint.Of(err))
		}
	}
}

func TestProgram(t *testing.T) {
	r := child(t, "read")
	r.Program, r.Command[0] = r.Command[0], "drd"
	client := servers.StartEtcd(t, servers.EtcdConfig{}).Client(t)
	if _, err := r.File(t.Context(), servers.SaveSnapshot(t, client), 1); err != nil {
		t.Error(err)
	}
}

func TestFileIsCancelled(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	began := time.Now()
	if _, err := child(t, "slow").File(ctx, path, 1); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, survey.ErrKilled) {
		t.Error(err)
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("took %s", took)
	}
}

// TestDamage: whatever is wrong with a file, the caller gets an error that says so, and lives.
func TestDamage(t *testing.T) {
	client := servers.StartEtcd(t, servers.EtcdConfig{}).Client(t)
	for range 300 {
		if _, err := client.Put(t.Context(), "k", strings.Repeat("x", 1000)); err != nil {
			t.Fatal(err)
		}
	}
	whole, err := os.ReadFile(servers.SaveSnapshot(t, client))
	if err != nil {
		t.Fatal(err)
	}
	const page = 4096
	cases := map[string][]byte{
		"empty":    {},
		"one byte": whole[:1],
		"half":     whole[:len(whole)/2],
		"quarter":  whole[:len(whole)/4],
		"3 pages":  whole[:3*page],
	}
	for p := 2; p < 100; p += 7 {
		zeroed := append([]byte{}, whole...)
		clear(zeroed[p*page : (p+1)*page])
		cases["page zeroed "+string(rune('0'+p/10))+string(rune('0'+p%10))] = zeroed
	}
	found := 0
	for name, content := range cases {
		path := filepath.Join(t.TempDir(), "db")
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := child(t, "read").File(t.Context(), path, 1)
		if err == nil {
			if !strings.HasPrefix(name, "page zeroed") { // a page that is free, or within a value, is nobody's here
				t.Errorf("%s: no error", name)
			}
			continue
		}
		found++
		if !strings.Contains(err.Error(), "damaged") || errors.Is(err, survey.ErrKilled) || len(hint.Of(err)) == 0 {
			t.Errorf("%s: %v (hints %q)", name, err, hint.Of(err))
		}
	}
	if found < 10 {
		t.Errorf("only %d of %d damaged files were found out", found, len(cases))
	}
}
