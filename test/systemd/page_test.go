//go:build systemd

package systemd

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// page is one of the documentation, whose commands the tests run.
type page struct {
	name     string
	sections map[string][]string // title to blocks of commands
	ran      map[string]bool
}

// readPage takes the blocks out of a page that are fenced with a language, or with none.
func readPage(t *testing.T, name, language string) *page {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(tree(t), name))
	if err != nil {
		t.Fatal(err)
	}
	p := &page{name: name, sections: make(map[string][]string), ran: make(map[string]bool)}
	fence := regexp.MustCompile("(?ms)^```([a-z]*)\n(.*?)^```$")
	for _, section := range strings.Split(string(text), "\n## ")[1:] {
		title, body, _ := strings.Cut(section, "\n")
		for _, block := range fence.FindAllStringSubmatch(body, -1) {
			if block[1] == language {
				p.sections[title] = append(p.sections[title], block[2])
			}
		}
	}
	return p
}

// blocks of a section, which must have some.
func (p *page) blocks(t *testing.T, section string) []string {
	t.Helper()
	if len(p.sections[section]) == 0 {
		t.Fatalf("%s has no commands below %q", p.name, section)
	}
	p.ran[section] = true
	return p.sections[section]
}

// commands are all blocks of a section.
func (p *page) commands(t *testing.T, section string) string {
	t.Helper()
	return strings.Join(p.blocks(t, section), "")
}

// allRan finds commands that no test has run.
func (p *page) allRan(t *testing.T) {
	t.Helper()
	for section := range p.sections {
		if !p.ran[section] {
			t.Errorf("%s: the commands below %q were not run", p.name, section)
		}
	}
}
