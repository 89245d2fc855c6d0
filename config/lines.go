package config

import (
	"iter"
	"strings"

	"github.com/BurntSushi/toml"
)

// lines tells on which line of a file, from 1, each path stands. The decoder
// keeps no positions, so the text is cut into statements here, a header or a
// key with its value each, and the decoder asked which keys a statement sets.
//
// A key inside a table that is written in braces has the line on which that
// statement begins.
type lines map[string]int

// of returns the line of path, or else that of the nearest table around it, or
// 0 when none of them is in the file.
func (l lines) of(path string) int {
	for path != "" {
		if n, ok := l[path]; ok {
			return n
		}
		path = path[:max(strings.LastIndexAny(path, ".["), 0)]
	}
	return 0
}

// linesOf indexes a text that the decoder has accepted.
func linesOf(text string) lines {
	ix := lineIndex{lines: make(lines), entries: make(map[string]int)}
	for line, statement := range statements(text) {
		ix.add(statement, line)
	}
	return ix.lines
}

// statements yields the line on which each statement of text begins, and its
// text. Empty lines and comments are statements too.
func statements(text string) iter.Seq2[int, string] {
	return func(yield func(int, string) bool) {
		text := strings.TrimPrefix(text, "\ufeff")
		for line := 1; text != ""; {
			n := statementLen(text)
			if !yield(line, text[:n]) {
				return
			}
			line += strings.Count(text[:n], "\n")
			text = text[n:]
		}
	}
}

// lineIndex is lines in the making.
type lineIndex struct {
	lines
	table   string         // path of the header above
	entries map[string]int // path of an array of tables -> [[headers]] of it so far
}

// add indexes one statement. An empty line or a comment sets no keys.
func (ix *lineIndex) add(statement string, line int) {
	keys := keysIn(statement)
	if len(keys) == 0 {
		return
	}
	switch header := strings.TrimLeft(statement, " \t"); {
	case strings.HasPrefix(header, "[["):
		ix.table = ix.note("", keys[0], line, true)
	case strings.HasPrefix(header, "["):
		ix.table = ix.note("", keys[0], line, false)
	default:
		for _, k := range keys {
			ix.note(ix.table, k, line, false)
		}
	}
}

// keysIn returns the keys that a statement sets, without the header above it.
func keysIn(statement string) []toml.Key {
	var values map[string]any
	md, err := toml.Decode(statement, &values)
	if err != nil {
		return nil // cannot be, as the whole text was accepted; its keys have their table's line
	}
	return md.Keys()
}

// note gives key and the tables on the way to it their line, unless they have
// one. It returns the path of key, which begins a further entry if isEntry.
func (ix *lineIndex) note(path string, key toml.Key, line int, isEntry bool) string {
	for i, part := range key {
		path = join(path, toml.Key{part}.String())
		ix.noteOne(path, line)
		if isEntry && i == len(key)-1 {
			ix.entries[path]++
		}
		if n := ix.entries[path]; n > 0 {
			path = entry(path, n-1)
			ix.noteOne(path, line)
		}
	}
	return path
}

func (ix *lineIndex) noteOne(path string, line int) {
	if _, ok := ix.lines[path]; !ok {
		ix.lines[path] = line
	}
}

// statementLen returns the length of text's first statement, with its newline.
func statementLen(text string) int {
	depth := 0 // of brackets, inside which newlines end nothing
	for i := 0; i < len(text); i += tokenLen(text[i:]) {
		switch text[i] {
		case '[', '{':
			depth++
		case ']', '}':
			depth--
		case '\n':
			if depth == 0 {
				return i + 1
			}
		}
	}
	return len(text)
}

// tokenLen returns the length of the comment or string that text begins with,
// or 1: what they hold is no bracket and ends no statement.
func tokenLen(text string) int {
	switch text[0] {
	case '#':
		comment, _, _ := strings.Cut(text, "\n")
		return len(comment)
	case '"', '\'':
		return stringLen(text)
	}
	return 1
}

// stringLen returns the length of the string that text begins with, with its
// quotes.
func stringLen(text string) int {
	quote := text[:1]
	if triple := strings.Repeat(quote, 3); strings.HasPrefix(text, triple) {
		quote = triple
	}
	i := len(quote)
	for i < len(text) && !strings.HasPrefix(text[i:], quote) {
		if text[i] == '\\' && quote[0] == '"' {
			i++
		}
		i++
	}
	i += len(quote)
	for len(quote) == 3 && i < len(text) && text[i] == quote[0] {
		i++ // """a""""" ends with two quotes that belong to the string
	}
	return min(i, len(text))
}
