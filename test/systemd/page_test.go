//go:build systemd

package systemd

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// page is docs/install.md, whose commands the test runs.
type page struct {
	t        *testing.T
	sections map[string]string // title to commands
	ran      map[string]bool
}

var shellBlock = regexp.MustCompile("(?s)```sh\n(.*?)```")

func readPage(t *testing.T) *page {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(tree(t), "docs", "install.md"))
	if err != nil {
		t.Fatal(err)
	}
	p := &page{t: t, sections: make(map[string]string), ran: make(map[string]bool)}
	for _, section := range strings.Split(string(text), "\n## ")[1:] {
		title, body, _ := strings.Cut(section, "\n")
		for _, block := range shellBlock.FindAllStringSubmatch(body, -1) {
			p.sections[title] += block[1]
		}
	}
	return p
}

// commands of a section, which must have some.
func (p *page) commands(section string) string {
	p.t.Helper()
	if p.sections[section] == "" {
		p.t.Fatalf("docs/install.md has no commands below %q", section)
	}
	p.ran[section] = true
	return p.sections[section]
}

// allRan finds commands that no test has run.
func (p *page) allRan() {
	p.t.Helper()
	for section := range p.sections {
		if !p.ran[section] {
			p.t.Errorf("docs/install.md: the commands below %q were not run", section)
		}
	}
}
