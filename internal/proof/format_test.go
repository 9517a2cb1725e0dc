package proof

import (
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

const formatPage = "../../docs/format.md"

// TestFormatPage: the page shows a record and names everything in it.
func TestFormatPage(t *testing.T) {
	content, err := os.ReadFile(formatPage)
	if err != nil {
		t.Fatal(err)
	}
	page := string(content)
	_, section, found := strings.Cut(page, "\n## Drill records\n")
	section, _, end := strings.Cut(section, "\n## ")
	if !found || !end {
		t.Fatalf("%s has no section on drill records", formatPage)
	}
	record, err := os.ReadFile("testdata/record.json")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(section, "```json\n"+string(record)+"```\n") {
		t.Error("it does not show testdata/record.json")
	}
	for _, field := range fieldsOf(reflect.TypeFor[Record](), "") {
		dot := strings.LastIndexByte(field, '.') // in a row with others only the last part stands there
		if !strings.Contains(section, "`"+field+"`") && (dot < 0 || !strings.Contains(section, "`"+field[dot:]+"`")) {
			t.Errorf("it does not name %s", field)
		}
	}
	for _, word := range []string{
		StateUnproven, StateDataProved, StateProved, StateFailed, string(StateBadRecord), string(StateOtherTarget),
		RecordKind, TriggerSchedule, TriggerFresh, TriggerCommand, string(LevelData), string(LevelDrill), string(Passed), string(Failed), string(Inconclusive), string(Skipped),
	} {
		if !strings.Contains(section, "`"+word+"`") {
			t.Errorf("it does not name %s", word)
		}
	}
}

// fieldsOf lists the JSON fields of a struct that are no struct themselves: "drills[].checks[].name".
func fieldsOf(s reflect.Type, prefix string) []string {
	var all []string
	for i := range s.NumField() {
		f := s.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		path, inner := prefix+name, f.Type
		if inner.Kind() == reflect.Slice && inner.Elem().Kind() == reflect.Struct {
			path, inner = path+"[]", inner.Elem()
		}
		if inner.Kind() == reflect.Pointer {
			inner = inner.Elem()
		}
		if strings.HasPrefix(inner.PkgPath(), "github.com/drd-project/") && inner.Kind() == reflect.Struct {
			all = append(all, fieldsOf(inner, path+".")...)
			continue
		}
		all = append(all, path)
	}
	return all
}

// TestByHand: the programs that people have say of a record what drd says.
func TestByHand(t *testing.T) {
	to := newTarget(t)
	signed := to.put(0, drilled(-1, LevelDrill, Passed))
	key := filepath.Join(to.root, to.repo.DrillKey(signed.Record.ID))
	verify := func(file string) (string, error) {
		record, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		defer record.Close()
		cmd := exec.CommandContext(t.Context(), "ssh-keygen", "-Y", "verify", "-f", to.signers, "-I", "node-1", "-n", "drd", "-s", key+".sig")
		cmd.Stdin = record
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := verify(key); err != nil || !strings.Contains(out, `Good "drd" signature for node-1`) {
		t.Errorf("%v: %s", err, out)
	}
	other := filepath.Join(t.TempDir(), "other")
	if err := os.WriteFile(other, append(signed.Bytes, '\n'), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := verify(other); err == nil {
		t.Errorf("another record passes: %s", out)
	}
}
