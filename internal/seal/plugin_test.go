package seal_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"filippo.io/age"
	"filippo.io/age/plugin"

	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/seal"
)

const (
	pluginName = "drdtest"
	pluginPIN  = "2718"
)

// runPlugin is age-plugin-drdtest: it holds an X25519 identity and uses it after a confirmation and a
// PIN.
func runPlugin() int {
	p, err := plugin.New(pluginName)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	p.HandleIdentity(func(data []byte) (age.Identity, error) {
		id, err := age.ParseX25519Identity(string(data))
		return pinned{p, id}, err
	})
	return p.Main()
}

type pinned struct {
	plugin *plugin.Plugin
	id     *age.X25519Identity
}

func (p pinned) Unwrap(stanzas []*age.Stanza) ([]byte, error) {
	if err := p.plugin.DisplayMessage("insert the key"); err != nil {
		return nil, err
	}
	if yes, err := p.plugin.Confirm("use it?", "yes", "no"); err != nil || !yes {
		return nil, errors.Join(errors.New("not confirmed"), err)
	}
	if pin, err := p.plugin.RequestValue("PIN", true); err != nil || pin != pluginPIN {
		return nil, errors.Join(errors.New("wrong PIN"), err)
	}
	return p.id.Unwrap(stanzas)
}

// pluginIdentityFile makes the test program callable as the plugin and returns an identity file for it.
func pluginIdentityFile(t *testing.T) (path string, recipients *seal.Recipients) {
	t.Helper()
	dir := t.TempDir()
	if err := os.Symlink(os.Args[0], filepath.Join(dir, "age-plugin-"+pluginName)); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	secret, public, err := seal.GenerateIdentity(false)
	if err != nil {
		t.Fatal(err)
	}
	line := plugin.EncodeIdentity(pluginName, []byte(secret))
	return writeFile(t, "plugin.txt", "# a device\n"+line+"\n"), parseRecipients(t, public)
}

func TestPluginIdentity(t *testing.T) {
	path, recipients := pluginIdentityFile(t)
	object := sealed(t, recipients, []byte("content"))
	person := &person{secrets: []string{pluginPIN}, confirms: true}
	ids, err := seal.LoadIdentities([]string{path}, person)
	if err != nil {
		t.Fatal(err)
	}
	if plain, err := open(object, ids...); err != nil || string(plain) != "content" {
		t.Fatalf("got %q, %v", plain, err)
	}
	want := "message age-plugin-drdtest: insert the key|confirm age-plugin-drdtest: use it? [yes/no]|secret age-plugin-drdtest: PIN"
	if got := strings.Join(person.asked, "|"); got != want {
		t.Errorf("asked %q, want %q", got, want)
	}
	if got := seal.Fingerprint(ids[0]); got != "" {
		t.Errorf("a plugin's recipient is not known, got %q", got)
	}
}

// TestPluginsTakeTurns opens objects in parallel, as a restore does. The person in this test is not
// safe for concurrent use: the race detector sees it when two plugins ask at once.
func TestPluginsTakeTurns(t *testing.T) {
	path, recipients := pluginIdentityFile(t)
	object := sealed(t, recipients, []byte("content"))
	ids, err := seal.LoadIdentities([]string{path}, &person{secrets: []string{pluginPIN, pluginPIN, pluginPIN}, confirms: true})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			if plain, err := open(object, ids...); err != nil || string(plain) != "content" {
				t.Errorf("got %q, %v", plain, err)
			}
		})
	}
	wg.Wait()
}

// TestPluginFailure: what goes wrong with a plugin says nothing about the object.
func TestPluginFailure(t *testing.T) {
	path, recipients := pluginIdentityFile(t)
	object := sealed(t, recipients, []byte("content"))
	for _, tc := range []struct {
		name   string
		prompt seal.Prompter
		noPath bool
		want   string
	}{
		{"nobody to ask", nil, false, "plugin"},
		{"refused", &person{}, false, "not confirmed"},
		{"wrong PIN", &person{confirms: true, secrets: []string{"1"}}, false, "wrong PIN"},
		{"not installed", &person{}, true, "not found"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.noPath {
				t.Setenv("PATH", t.TempDir())
			}
			ids, err := seal.LoadIdentities([]string{path}, tc.prompt)
			if err != nil {
				t.Fatal(err)
			}
			_, err = open(object, ids...)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want an error with %q", err, tc.want)
			}
			if errors.Is(err, seal.ErrDamaged) || errors.Is(err, seal.ErrNoIdentity) {
				t.Errorf("the object is blamed: %v", err)
			}
			if hints := strings.Join(hint.Of(err), "\n"); tc.noPath && !strings.Contains(hints, "install age-plugin-drdtest") {
				t.Errorf("hints: %q", hints)
			}
		})
	}
}

// TestPluginDoesNotMatch: the object is for somebody else, and the error names the plugin.
func TestPluginDoesNotMatch(t *testing.T) {
	path, _ := pluginIdentityFile(t)
	_, others := newIdentity(t, false)
	ids, err := seal.LoadIdentities([]string{path}, &person{secrets: []string{pluginPIN}, confirms: true})
	if err != nil {
		t.Fatal(err)
	}
	_, err = open(sealed(t, others, nil), ids...)
	if !errors.Is(err, seal.ErrNoIdentity) || !strings.Contains(err.Error(), "given: age-plugin-drdtest") {
		t.Errorf("got %v", err)
	}
}

// TestPluginIsLast: an identity that needs nobody is tried first, whatever the order of the files.
func TestPluginIsLast(t *testing.T) {
	path, _ := pluginIdentityFile(t)
	secret, public, err := seal.GenerateIdentity(true)
	if err != nil {
		t.Fatal(err)
	}
	person := &person{}
	ids, err := seal.LoadIdentities([]string{path, writeFile(t, "own.txt", secret)}, person)
	if err != nil {
		t.Fatal(err)
	}
	object := sealed(t, parseRecipients(t, public), []byte("content"))
	if plain, err := open(object, ids...); err != nil || !bytes.Equal(plain, []byte("content")) {
		t.Fatalf("got %q, %v", plain, err)
	}
	if len(person.asked) != 0 {
		t.Errorf("asked %q without need", person.asked)
	}
}

// person answers the questions of a Prompter and notes them.
type person struct {
	secrets  []string // one per question; then an error
	confirms bool
	asked    []string
}

var errNoAnswer = errors.New("no answer")

func (p *person) Secret(prompt string) (string, error) {
	p.asked = append(p.asked, "secret "+prompt)
	if len(p.secrets) == 0 {
		return "", errNoAnswer
	}
	answer := p.secrets[0]
	p.secrets = p.secrets[1:]
	return answer, nil
}

func (p *person) Confirm(prompt, yes, no string) (bool, error) {
	p.asked = append(p.asked, fmt.Sprintf("confirm %s [%s/%s]", prompt, yes, no))
	return p.confirms, nil
}

func (p *person) Message(text string) error {
	p.asked = append(p.asked, "message "+text)
	return nil
}
