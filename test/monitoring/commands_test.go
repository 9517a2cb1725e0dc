package monitoring

import (
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// command is a command of drd in a page, with what follows it.
var command = regexp.MustCompile("drd ((?:config )?[a-z]+)((?: +(?:--[a-z-]+|[A-Z]+|[a-z_]+))*)[`;|, ]")

// TestCommandsExist: what the page says to type at night is there, with these flags.
func TestCommandsExist(t *testing.T) {
	page := read(t, "../../docs/alerts.md")
	var seen []string
	for _, quoted := range regexp.MustCompile("`[^`\n]*`").FindAllString(page, -1) {
		for _, m := range command.FindAllStringSubmatch(quoted, -1) {
			help, err := exec.CommandContext(t.Context(), drd, append(strings.Fields(m[1]), "--help")...).CombinedOutput()
			if err != nil || !strings.Contains(string(help), "drd "+m[1]) {
				t.Errorf("%s: %v\n%s", quoted, err, help)
			}
			for _, flag := range regexp.MustCompile(`--[a-z-]+`).FindAllString(m[2], -1) {
				if !strings.Contains(string(help), flag+" ") {
					t.Errorf("%s: no flag %s", quoted, flag)
				}
			}
			seen = append(seen, m[1])
		}
	}
	for _, want := range []string{"check", "status", "snapshot", "list", "verify", "prune", "config check"} {
		if !slices.Contains(seen, want) {
			t.Errorf("the page does not use drd %s; found %v", want, slices.Compact(slices.Sorted(slices.Values(seen))))
		}
	}
}
