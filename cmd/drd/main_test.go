package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/drd-project/drd/test/servers"
)

// TestMain runs drd itself when a script calls it.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"drd": main})
}

// TestScripts runs testdata/script. Each script begins with
//
//	keys/        what `drd keygen` makes
//	config.yaml  a configuration for $ETCD, a member that runs, with the target target/, which is empty
//	$FIRST       the ID of the older snapshot that `snapshots` brings
//	$SECOND      and of the newer one
//
// and has these commands beside those of testscript:
//
//	exits CODE PROGRAM ARG…   the program ends with that exit code, and says why when it is not 0
//	snapshots DIR             DIR becomes a repository with two snapshots of cluster prod
//	drilled DIR ID LEVEL OUTCOME AGO KEY
//	                          DIR gets the record of a drill of that snapshot, so long ago, signed with that key
//	archived DIR              the repository DIR gets segments: of a timeline that has ended, and of the snapshots', three of them merged
//	empty DIR                 nothing is in the directory, hidden files included
//	mode MODE FILE            the file has these permissions, in octal
//	shape FILE OUT            the fields of a JSON document and their types go to OUT, a line each
//	sub OLD NEW FILE          OLD becomes NEW in the file; \n is a new line; NEW may be @FILE, where the log must not show it
func TestScripts(t *testing.T) {
	given := prepare(t)
	testscript.Run(t, testscript.Params{
		Dir:                "testdata/script",
		RequireUniqueNames: true,
		UpdateScripts:      *update, // the files that cmp compares with
		Setup:              given.setup,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "snapshots": given.snapshots, "mode": mode, "shape": shape, "sub": substitute, "empty": emptyDir, "drilled": drilled, "archived": given.archived,
		},
	})
}

// given is what all scripts share: one member, one pair of keys, two snapshots.
type given struct {
	etcd          string // endpoint
	dir           string // with keys and repo
	first, second string
}

// prepare takes the snapshots with drd itself.
func prepare(t *testing.T) *given {
	t.Helper()
	e := servers.StartEtcd(t, servers.EtcdConfig{})
	g := &given{etcd: e.Endpoint(), dir: t.TempDir()}
	g.drd(t, "keygen", "--dir", filepath.Join(g.dir, "keys"), "--name", "node-1")
	if err := os.Mkdir(filepath.Join(g.dir, "repo"), 0o700); err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(g.dir, "config.yaml")
	if err := os.WriteFile(config, []byte(g.config(g.dir, "repo")), 0o600); err != nil {
		t.Fatal(err)
	}
	for i, id := range []*string{&g.first, &g.second} {
		if _, err := e.Client(t).Put(t.Context(), fmt.Sprintf("key-%d", i), "value"); err != nil {
			t.Fatal(err)
		}
		var doc snapshotOutput
		if err := json.Unmarshal(g.drd(t, "snapshot", "--json", "--config", config), &doc); err != nil {
			t.Fatal(err)
		}
		*id = doc.Snapshot.ID
	}
	return g
}

func (g *given) drd(t *testing.T, args ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "drd", args...)
	cmd.Stderr = t.Output()
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("drd %s: %v", strings.Join(args, " "), err)
	}
	return out
}

func (g *given) config(dir, target string) string {
	return fmt.Sprintf(`cluster: prod
etcd:
  endpoints: [%q]
state_dir: %s/state
runtime_dir: %s/run
seal: {recipients_file: %s/keys/recipient.txt}
signing: {key_file: %s/keys/signing.key}
trust: {file: %s/keys/allowed_signers}
targets:
  - {name: primary, dir: %s/%s}
`, g.etcd, dir, dir, dir, dir, dir, dir, target)
}

func (g *given) setup(env *testscript.Env) error {
	env.Setenv("ETCD", g.etcd)
	env.Setenv("FIRST", g.first)
	env.Setenv("SECOND", g.second)
	return errors.Join(
		os.CopyFS(filepath.Join(env.WorkDir, "keys"), os.DirFS(filepath.Join(g.dir, "keys"))),
		os.Chmod(filepath.Join(env.WorkDir, "keys", "identity.txt"), 0o600), // CopyFS adds to the mode
		os.Chmod(filepath.Join(env.WorkDir, "keys", "signing.key"), 0o600),
		os.Mkdir(filepath.Join(env.WorkDir, "target"), 0o700),
		os.WriteFile(filepath.Join(env.WorkDir, "config.yaml"), []byte(g.config(env.WorkDir, "target")), 0o600),
	)
}

// wantArgs wants n arguments and no negation.
func wantArgs(ts *testscript.TestScript, neg bool, args []string, n int) {
	if neg || len(args) < n {
		ts.Fatalf("wrong use: it takes %d arguments and no !", n)
	}
}

func exits(ts *testscript.TestScript, neg bool, args []string) {
	wantArgs(ts, neg, args, 2)
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	code := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		code = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if code != want {
		ts.Fatalf("exit code %d, want %d", code, want)
	}
	if stderr := ts.ReadFile("stderr"); code != 0 && !strings.Contains(stderr, "drd: error: ") {
		ts.Fatalf("it does not say why it ends with exit code %d", code)
	}
}

func (g *given) snapshots(ts *testscript.TestScript, neg bool, args []string) {
	wantArgs(ts, neg, args, 1)
	ts.Check(os.CopyFS(ts.MkAbs(args[0]), os.DirFS(filepath.Join(g.dir, "repo"))))
}

func mode(ts *testscript.TestScript, neg bool, args []string) {
	wantArgs(ts, neg, args, 2)
	info, err := os.Stat(ts.MkAbs(args[1]))
	ts.Check(err)
	if got := fmt.Sprintf("%04o", info.Mode().Perm()); got != args[0] {
		ts.Fatalf("%s has mode %s, want %s", args[1], got, args[0])
	}
}

func emptyDir(ts *testscript.TestScript, neg bool, args []string) {
	wantArgs(ts, neg, args, 1)
	entries, err := os.ReadDir(ts.MkAbs(args[0]))
	ts.Check(err)
	if len(entries) > 0 {
		ts.Fatalf("%s holds %v", args[0], entries)
	}
}

func substitute(ts *testscript.TestScript, neg bool, args []string) {
	wantArgs(ts, neg, args, 3)
	text := ts.ReadFile(args[2])
	if !strings.Contains(text, args[0]) {
		ts.Fatalf("%s does not contain %q", args[2], args[0])
	}
	with := strings.ReplaceAll(args[1], `\n`, "\n")
	if file, ok := strings.CutPrefix(with, "@"); ok {
		with = strings.TrimRight(ts.ReadFile(file), "\n")
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[2]), []byte(strings.ReplaceAll(text, args[0], with)), 0o600))
}

func shape(ts *testscript.TestScript, neg bool, args []string) {
	wantArgs(ts, neg, args, 2)
	var document any
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &document))
	found := make(map[string]bool)
	describe(document, "", found)
	text := strings.Join(slices.Sorted(maps.Keys(found)), "\n") + "\n"
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(text), 0o600))
}

// moment is a time as all documents write it: RFC 3339 in UTC.
var moment = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$`)

// describe notes the type of every value: "targets[].name text".
func describe(v any, path string, found map[string]bool) {
	switch v := v.(type) {
	case map[string]any:
		for name, field := range v {
			describe(field, strings.TrimPrefix(path+"."+name, "."), found)
		}
	case []any:
		if len(v) == 0 {
			found[path+"[]"] = true
		}
		for _, item := range v {
			describe(item, path+"[]", found)
		}
	case string:
		kind := "text"
		if moment.MatchString(v) {
			kind = "time"
		}
		found[path+" "+kind] = true
	case float64:
		found[path+" number"] = true
	case bool:
		found[path+" boolean"] = true
	case nil:
		found[path+" null"] = true
	}
}
