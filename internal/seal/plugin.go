package seal

import (
	"errors"
	"fmt"
	"io"
	"sync"

	"filippo.io/age"
	"filippo.io/age/plugin"

	"github.com/drd-project/drd/internal/hint"
)

// Prompter asks a person. LoadIdentities and the identities it returns never call it twice at once.
type Prompter interface {
	// Secret asks for a line that must not be shown while it is typed.
	Secret(prompt string) (string, error)
	// Confirm offers a choice of two answers, or with an empty no, only one. It reports whether yes was chosen.
	Confirm(prompt, yes, no string) (bool, error)
	// Message shows a line: lower case, without a final period.
	Message(text string) error
}

// pluginIdentity is an identity that an age-plugin program holds: a hardware key, a key service.
type pluginIdentity struct {
	turn   *sync.Mutex // one program at a time: two would fight for the device and for the person
	plugin *plugin.Identity
}

func newPluginIdentity(line string, prompt Prompter, turn *sync.Mutex) (age.Identity, error) {
	id, err := plugin.NewIdentity(line, pluginUI(prompt))
	if err != nil {
		return nil, errors.New("malformed plugin identity")
	}
	return &pluginIdentity{turn: turn, plugin: id}, nil
}

func (p *pluginIdentity) Unwrap(stanzas []*age.Stanza) ([]byte, error) {
	p.turn.Lock()
	defer p.turn.Unlock()
	key, err := p.plugin.Unwrap(stanzas)
	var missing *plugin.NotFoundError
	if errors.As(err, &missing) {
		return nil, hint.New(err, "install age-plugin-%s and make sure that it is in PATH", missing.Name)
	}
	return key, err
}

// Format shows the name of the program; what follows it in the identity file may be a secret.
func (p *pluginIdentity) Format(f fmt.State, _ rune) { io.WriteString(f, describeOne(p)) } //nolint:errcheck // fmt keeps the error

// pluginUI lets plugins talk to the person behind prompt. Without one every question fails.
func pluginUI(prompt Prompter) *plugin.ClientUI {
	if prompt == nil {
		return &plugin.ClientUI{}
	}
	return &plugin.ClientUI{
		DisplayMessage: func(name, message string) error {
			return prompt.Message(fmt.Sprintf("age-plugin-%s: %s", name, message))
		},
		// A value that need not be hidden is hidden all the same: plugins ask for little but PINs.
		RequestValue: func(name, question string, _ bool) (string, error) {
			return prompt.Secret(fmt.Sprintf("age-plugin-%s: %s", name, question))
		},
		Confirm: func(name, question, yes, no string) (bool, error) {
			return prompt.Confirm(fmt.Sprintf("age-plugin-%s: %s", name, question), yes, no)
		},
	}
}
