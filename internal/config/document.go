package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
)

// parseDocument returns the one mapping that data must hold, or nil after reporting why not.
// An empty document is an empty mapping: what is missing then is reported by the rules.
func parseDocument(p *problems, data []byte) *yaml.Node {
	if !readable(p, data) {
		return nil
	}
	// Nodes, and not structs: duplicate keys and unknown keys are ours to report, along with all
	// other problems and with the places of both.
	loader, err := yaml.NewLoader(bytes.NewReader(data))
	if err != nil {
		p.add("", "", "not valid YAML")
		return nil
	}
	first, ok := nextDocument(p, data, loader)
	if !ok {
		return nil
	}
	if first == nil {
		return &yaml.Node{Kind: yaml.MappingNode}
	}
	if second, ok := nextDocument(p, data, loader); !ok {
		return nil
	} else if second != nil {
		p.addAt(inside(data, start(second)), "", "keep one and remove the others", "more than one YAML document")
		return nil
	}
	if first.Kind != yaml.MappingNode {
		p.addAt(inside(data, start(first)), "", "write `key: value` lines, as in docs/configuration.md", "must be a mapping, is %s", kindOf(first))
		return nil
	}
	return first
}

// readable refuses bytes that are no text; the YAML parser reports them without a place.
func readable(p *problems, data []byte) bool {
	at := place{1, 1}
	for len(data) > 0 {
		r, n := utf8.DecodeRune(data)
		switch {
		case r == utf8.RuneError && n == 1:
			p.addAt(at, "", "save the file as UTF-8", "not a UTF-8 text")
			return false
		case isControl(r) && r != '\t' && r != '\n' && !bytes.HasPrefix(data, []byte("\r\n")):
			p.addAt(at, "", "", "control character %U", r)
			return false
		case r == '\n':
			at = place{at.line + 1, 0}
		}
		at.column++
		data = data[n:]
	}
	return true
}

// nextDocument returns the content of the next document, or nil at the end.
func nextDocument(p *problems, data []byte, loader *yaml.Loader) (*yaml.Node, bool) {
	var document yaml.Node
	err := loader.Load(&document)
	switch {
	case errors.Is(err, io.EOF):
		return nil, true
	case err != nil:
		syntaxProblem(p, data, err)
		return nil, false
	case len(document.Content) == 0:
		return nil, true
	}
	return document.Content[0], true
}

// syntaxProblem reports a parser error in our words where the parser's would not help.
func syntaxProblem(p *problems, data []byte, err error) {
	var syntax *yaml.LoadError
	if !errors.As(err, &syntax) {
		p.add("", "", "not valid YAML")
		return
	}
	at := inside(data, place{max(1, syntax.Mark.Line), max(1, syntax.Mark.Column)})
	switch message := syntax.Message; {
	case strings.HasPrefix(message, "unknown anchor"): // its text goes on with the value, perhaps a password
		p.addAt(at, "", adviceLiteral, "anchors, aliases and tags are not supported")
	case message == "found character that cannot start any token" && charAt(data, at) == '\t':
		p.addAt(at, "", "indent with spaces", "a tab cannot indent YAML")
	case message == "found character that cannot start any token":
		p.addAt(at, "", "put the value in quotes", "a value cannot begin with %q", charAt(data, at))
	case message == "mapping values are not allowed in this context":
		p.addAt(at, "", "check the indentation of this line and the one before it, and quote values that contain `: `", "a second `: ` in one value")
	default:
		p.addAt(at, "", "check the quotes, brackets and indentation", "not valid YAML: %s%s", message, began(syntax))
	}
}

// began says where the thing that the parser could not finish has its beginning.
func began(e *yaml.LoadError) string {
	if e.ContextMsg == "" || e.ContextMark.Line < 1 {
		return ""
	}
	return fmt.Sprintf(" (%s that begins in line %d)", e.ContextMsg, e.ContextMark.Line)
}

// inside moves the end of the document, which the parser sees on a line of its own, to the end of
// the last line that an editor shows.
func inside(data []byte, at place) place {
	lines := strings.Split(string(data), "\n")
	if at.line <= len(lines) {
		return at
	}
	return place{len(lines), 1 + utf8.RuneCountInString(lines[len(lines)-1])}
}

func charAt(data []byte, at place) rune {
	lines := strings.Split(string(data), "\n")
	if at.line > len(lines) {
		return 0
	}
	line := []rune(lines[at.line-1])
	if at.column > len(line) {
		return 0
	}
	return line[at.column-1]
}

func start(n *yaml.Node) place { return place{max(1, n.Line), max(1, n.Column)} }

// kindOf names a node in the words of the person who wrote it.
func kindOf(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a section of keys"
	case yaml.SequenceNode:
		return "a list"
	case yaml.AliasNode:
		return "an alias"
	}
	switch n.Tag {
	case tagText:
		return "a text"
	case tagWhole:
		return "a number"
	case tagFraction:
		return "a decimal number"
	case tagBool:
		return "true or false"
	case tagNull:
		return "empty"
	case "!!timestamp":
		return "a date"
	case "!!merge":
		return "a merge key"
	}
	return "something else"
}

// What the parser takes a value without quotes for.
const (
	tagText     = "!!str"
	tagWhole    = "!!int"
	tagFraction = "!!float"
	tagBool     = "!!bool"
	tagNull     = "!!null"
)
