package config

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const (
	manual  = "../../docs/configuration.md"
	example = "../../packaging/config.example.yaml"
	unit    = "../../systemd/drd.service"
)

// row is what the manual says of one key, apart from its meaning.
type row struct{ Key, Type, Default, Allowed, Example string }

// TestManualHasEveryKey compares the tables of the manual with the structs: keys, types, defaults
// and ranges, in both directions.
func TestManualHasEveryKey(t *testing.T) {
	got := manualRows(t)
	var want []row
	for i, k := range everyKey() {
		r := row{Key: "`" + k.path + "`", Type: k.typeName(), Default: k.defaultText(), Allowed: k.allowed()}
		if i < len(got) {
			r.Example = got[i].Example
		}
		want = append(want, r)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestManualExamples decodes the example of every key, without the rules between keys.
func TestManualExamples(t *testing.T) {
	for _, r := range manualRows(t) {
		text := strings.Trim(r.Example, "`")
		keys := strings.Split(strings.Trim(r.Key, "`"), ".")
		for i := len(keys) - 1; i >= 0; i-- {
			name, isList := strings.CutSuffix(keys[i], "[]")
			if isList {
				text = "[{" + strings.TrimPrefix(text, "{")
				text = strings.TrimSuffix(text, "}") + "}]"
			}
			text = "{" + name + ": " + text + "}"
		}
		p := &problems{source: source{file: r.Key, places: map[string]place{"": {1, 1}}}}
		if root := parseDocument(p, []byte(text)); root != nil {
			d := decoder{problems: p, lookup: fixedEnv}
			d.section(root, "", reflect.ValueOf(defaults()).Elem())
		}
		if err := p.err(); err != nil || r.Example == "" {
			t.Errorf("example %s of %s: %v", text, r.Key, err)
		}
	}
}

// TestManualConfigurations parses each block of YAML in the manual as a whole configuration. The
// manual has no recipient that works: someone would copy it, and nobody could open the backups.
func TestManualConfigurations(t *testing.T) {
	blocks := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(readTestdata(t, manual), -1)
	if len(blocks) == 0 {
		t.Fatal("the manual shows no configuration")
	}
	for _, block := range blocks {
		if c, err := parse("manual.yaml", []byte(block[1]), fixedEnv); err == nil && !c.Verifier() {
			t.Errorf("has a recipient that works:\n%s", block[1])
		}
		filled := strings.ReplaceAll(block[1], placeholder, testRecipient)
		if _, err := parse("manual.yaml", []byte(filled), fixedEnv); err != nil {
			t.Errorf("%s\n%s", filled, told(err))
		}
	}
}

func manualRows(t *testing.T) []row {
	t.Helper()
	var rows []row
	for line := range strings.Lines(readTestdata(t, manual)) {
		if !strings.HasPrefix(line, "| `") {
			continue
		}
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if len(cells) != 6 || strings.TrimSpace(cells[5]) == "" {
			t.Errorf("not key, type, default, allowed, example and meaning: %s", line)
			continue
		}
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		rows = append(rows, row{cells[0], cells[1], cells[2], cells[3], cells[4]})
	}
	return rows
}

func (k documentedKey) typeName() string {
	switch k.Tag.Get("path") {
	case pathDir:
		return "directory"
	case pathFile:
		return "file"
	case pathSecret:
		return "secret file"
	case pathProgram:
		return "program"
	case pathOutput:
		return "file to be written"
	}
	switch k.Type {
	case reflect.TypeFor[time.Duration]():
		return "duration"
	case reflect.TypeFor[int64]():
		return "size"
	case reflect.TypeFor[int]():
		return "number"
	case reflect.TypeFor[bool]():
		return "true or false"
	case reflect.TypeFor[[]string]():
		return "list of texts"
	}
	return "text"
}

func (k documentedKey) defaultText() string {
	if text := k.Tag.Get("default"); text != "" {
		return text
	}
	switch v := k.value.Interface().(type) {
	case time.Duration:
		return code(formatDuration(v, k.Tag.Get("unit") == "days"))
	case int64:
		return code(formatSize(v))
	case int:
		return code(strconv.Itoa(v))
	case bool:
		return code(strconv.FormatBool(v))
	case string:
		if v != "" {
			return code(v)
		}
	}
	return "none"
}

func (k documentedKey) allowed() string {
	if low, high, ok := strings.Cut(k.Tag.Get("range"), ".."); ok {
		return code(low) + " to " + code(high)
	}
	if words := k.Tag.Get("oneof"); words != "" {
		return code(strings.ReplaceAll(words, "|", "`, `"))
	}
	switch {
	case k.Tag.Get("path") != "":
		return "absolute path"
	case k.Type.Kind() == reflect.Bool:
		return "`true`, `false`"
	}
	return "as described"
}

func code(s string) string { return "`" + s + "`" }

// TestExample fills the shipped example as its reader would and loads it.
func TestExample(t *testing.T) {
	text := readTestdata(t, example)
	_, err := parse("config.yaml", []byte(text), fixedEnv)
	if err == nil {
		t.Fatal("the example works before anybody filled it")
	}
	compareGolden(t, "testdata/example_unfilled.golden", told(err))

	s := newSite(t)
	for _, file := range regexp.MustCompile(`/etc/\S+`).FindAllString(withoutComments(text), -1) {
		s.write(t, filepath.Base(file), "content", 0o600)
		text = strings.ReplaceAll(text, file, filepath.Join(s.dir, filepath.Base(file)))
	}
	for _, filled := range []string{
		"cluster: prod", "recipients: [" + testRecipient + "]", "bucket: backups", "region: eu-central-1",
	} {
		key, _, _ := strings.Cut(filled, ":")
		text = regexp.MustCompile(`(?m)\b`+key+`: \[?CHANGE-ME\]?$`).ReplaceAllString(text, filled)
	}
	s.write(t, "config.yaml", text, 0o600)
	c, err := Load(s.config)
	if err != nil {
		t.Fatal(told(err))
	}
	if len(c.Targets) != 2 {
		t.Errorf("%d targets", len(c.Targets))
	}
}

func withoutComments(text string) string {
	return regexp.MustCompile(`(?m)^\s*#.*$`).ReplaceAllString(text, "")
}

// TestUnit holds the service to the directories that are the defaults here.
func TestUnit(t *testing.T) {
	data, err := os.ReadFile(unit)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"Type=notify",
		"ExecStart=/usr/bin/drd daemon --config /etc/drd/config.yaml",
		"StateDirectory=" + strings.TrimPrefix(defaults().StateDir, "/var/lib/"),
		"RuntimeDirectory=" + strings.TrimPrefix(defaults().RuntimeDir, "/run/"),
		"UMask=0077",
		"LimitCORE=0",
	} {
		if !strings.Contains(string(data), "\n"+line+"\n") {
			t.Errorf("no line %s", line)
		}
	}
}
