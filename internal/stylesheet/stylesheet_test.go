package stylesheet

import (
	"regexp"
	"strings"
	"testing"
)

// TestBase: each colour is there in light and dark, what is used is defined, and nothing is fetched.
func TestBase(t *testing.T) {
	text := string(Base())
	palettes := regexp.MustCompile(`:root \{([^}]*)\}`).FindAllStringSubmatch(text, -1)
	if len(palettes) != 2 {
		t.Fatalf("%d palettes", len(palettes))
	}
	for _, colour := range []string{"ink", "soft", "line", "paper", "good", "bad", "open", "pale", "band"} {
		for _, p := range palettes {
			if !strings.Contains(p[1], "--"+colour+": #") {
				t.Errorf("%s is not in %s", colour, p[1])
			}
		}
	}
	for _, used := range regexp.MustCompile(`var\(--([a-z]+)\)`).FindAllStringSubmatch(text, -1) {
		if !strings.Contains(palettes[0][1], "--"+used[1]+":") {
			t.Errorf("%s is used, and no colour", used[1])
		}
	}
	for _, fetch := range []string{"url(", "@import", "</"} {
		if strings.Contains(text, fetch) {
			t.Errorf("the sheet holds %s", fetch)
		}
	}
}
