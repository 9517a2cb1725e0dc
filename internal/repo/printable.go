package repo

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

func isPrintable(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}

// Printable returns text as one line that is safe to show: line breaks become "; ", and every other character
// that could move the cursor of a terminal or turn the direction of writing becomes "?", as does what is not UTF-8. Texts that quote objects or
// the answers of a store pass through it before people see them.
func Printable(text string) string {
	text = strings.ReplaceAll(strings.TrimSpace(text), "\n", "; ")
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, strings.ToValidUTF8(text, "?"))
}

// Shorten cuts text to at most limit bytes, the sign of the cut included.
func Shorten(text string, limit int) string {
	const cut = "…"
	if len(text) <= limit {
		return text
	}
	end := limit - len(cut)
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + cut
}
