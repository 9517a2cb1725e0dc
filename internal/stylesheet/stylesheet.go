// Package stylesheet is what drd's HTML pages look like: one pair of palettes, light and dark, and the plain shape of headings, verdicts
// and tables. A page puts it before its own rules, inside itself: it is kept, mailed and printed, and fetches nothing.
package stylesheet

import (
	_ "embed"
	"html/template"
)

//go:embed base.css
var base string

// Base returns the rules that all pages have in common. The colours are variables: ink, soft, line, paper, good, bad, open, pale, band.
func Base() template.CSS { return template.CSS(base) } //nolint:gosec // it is a part of the program
