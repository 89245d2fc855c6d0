package fronted

import (
	"bytes"
	"html"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxWords bounds what a remote text adds to an error, in bytes.
const maxWords = 120

// words is what a page calls itself: its title, else its first visible words.
func words(page []byte) string {
	if title := element(page, "title"); len(title) != 0 {
		return clean(html.UnescapeString(string(title)))
	}
	if page = bytes.TrimSpace(page); len(page) != 0 && page[0] == '<' {
		return clean(html.UnescapeString(visible(page)))
	}
	return clean(string(page))
}

// element is the content of the first element of that name.
func element(page []byte, name string) []byte {
	lower := bytes.ToLower(page)
	if len(lower) != len(page) { // a letter whose lower case has another length
		page = lower
	}
	open := bytes.Index(lower, []byte("<"+name))
	if open < 0 {
		return nil
	}
	start := bytes.IndexByte(lower[open:], '>')
	if start < 0 {
		return nil
	}
	start += open + 1
	end := bytes.Index(lower[start:], []byte("</"+name))
	if end < 0 {
		return nil
	}
	return bytes.TrimSpace(page[start : start+end])
}

// visible is a page without its tags, styles and scripts.
func visible(page []byte) string {
	var out strings.Builder
	for len(page) > 0 && out.Len() < 4*maxWords {
		text, rest, _ := bytes.Cut(page, []byte("<"))
		out.Write(text)
		out.WriteByte(' ')
		page = afterTag(rest)
	}
	return out.String()
}

// afterTag is what follows the tag whose '<' has just been read, for a style
// or a script what follows its end.
func afterTag(page []byte) []byte {
	for _, name := range []string{"style", "script"} {
		if len(page) >= len(name) && strings.EqualFold(string(page[:len(name)]), name) {
			end := bytes.Index(bytes.ToLower(page), []byte("</"+name))
			if end < 0 {
				return nil
			}
			page = page[end:]
		}
	}
	_, rest, _ := bytes.Cut(page, []byte(">"))
	return rest
}

// clean makes a remote text fit for a log line and a terminal: no control or
// formatting characters (a bidirectional override is one), one space between
// words, at most maxWords bytes.
func clean(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r) || unicode.IsControl(r):
			return ' '
		case !unicode.IsPrint(r) || r == utf8.RuneError:
			return -1
		}
		return r
	}, s)
	s = strings.Join(strings.Fields(s), " ")
	if len(s) <= maxWords {
		return s
	}
	end := maxWords - len("...")
	for !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + "..."
}

// echoes reports whether a text repeats a piece of sent, the request's beginning
// or the key; a short one as a whole.
func echoes(text string, sent []byte) bool {
	piece := min(12, len(sent))
	for i := 0; piece > 0 && i+piece <= len(text); i++ {
		if bytes.Contains(sent, []byte(text[i:i+piece])) {
			return true
		}
	}
	return false
}
