package wire

import (
	"bytes"
	"errors"
	"unicode/utf16"
	"unicode/utf8"
)

// errSyntax is any text that is not the JSON (RFC 8259) that the wire is made
// of. Which of the many ways it went wrong helps nobody: what arrived is a
// page, or was cut.
var errSyntax = errors.New("not the wire's JSON")

// maxDepth bounds the nesting of values that are skipped. The wire itself
// nests four deep.
const maxDepth = 32

// A scanner walks JSON text once, from the left. Its methods consume a value
// and report whether there was one; they leave i anywhere if not.
type scanner struct {
	b []byte
	i int
}

func (s *scanner) space() {
	for s.i < len(s.b) {
		switch s.b[s.i] {
		case ' ', '\t', '\r', '\n':
			s.i++
		default:
			return
		}
	}
}

// next consumes white space and then c, if c is what follows.
func (s *scanner) next(c byte) bool {
	s.space()
	if s.i < len(s.b) && s.b[s.i] == c {
		s.i++
		return true
	}
	return false
}

// peek is the first byte of the value that follows, 0 at the end.
func (s *scanner) peek() byte {
	s.space()
	if s.i < len(s.b) {
		return s.b[s.i]
	}
	return 0
}

// end reports whether nothing but white space follows.
func (s *scanner) end() bool { return s.peek() == 0 && s.i == len(s.b) }

func (s *scanner) literal(word string) bool {
	if len(s.b)-s.i < len(word) || string(s.b[s.i:s.i+len(word)]) != word {
		return false
	}
	s.i += len(word)
	return true
}

// text consumes a string and returns its value: a part of the text itself,
// found by two memchr, unless it has escapes, which the usual one has not.
func (s *scanner) text() ([]byte, bool) {
	if !s.next('"') {
		return nil, false
	}
	start := s.i
	n := bytes.IndexByte(s.b[start:], '"')
	if n < 0 {
		return nil, false
	}
	if bytes.IndexByte(s.b[start:start+n], '\\') < 0 {
		s.i = start + n + 1
		return s.b[start : start+n : start+n], true
	}
	return s.unescape()
}

// skipText consumes a string and leaves it as it is. A quote ends it unless an
// odd number of backslashes stands before it.
func (s *scanner) skipText() bool {
	if !s.next('"') {
		return false
	}
	start := s.i
	for {
		n := bytes.IndexByte(s.b[s.i:], '"')
		if n < 0 {
			return false
		}
		quote := s.i + n
		s.i = quote + 1
		k := quote
		for k > start && s.b[k-1] == '\\' {
			k--
		}
		if (quote-k)%2 == 0 {
			return true
		}
	}
}

// unescape consumes the rest of a string. It makes a new slice, for the text
// may have to be read again: a single op shares its object with the envelope.
func (s *scanner) unescape() ([]byte, bool) {
	var out []byte
	for s.i < len(s.b) {
		c := s.b[s.i]
		s.i++
		switch c {
		case '"':
			return out, true
		case '\\':
			var ok bool
			if out, ok = s.escape(out); !ok {
				return nil, false
			}
		default:
			out = append(out, c)
		}
	}
	return nil, false
}

// escape consumes what follows a backslash and appends its value.
func (s *scanner) escape(out []byte) ([]byte, bool) {
	if s.i >= len(s.b) {
		return nil, false
	}
	c := s.b[s.i]
	s.i++
	switch c {
	case '"', '\\', '/':
		return append(out, c), true
	case 'b':
		return append(out, '\b'), true
	case 'f':
		return append(out, '\f'), true
	case 'n':
		return append(out, '\n'), true
	case 'r':
		return append(out, '\r'), true
	case 't':
		return append(out, '\t'), true
	case 'u':
		r, ok := s.hex4()
		if !ok {
			return nil, false
		}
		if utf16.IsSurrogate(r) {
			r = s.lowSurrogate(r)
		}
		return utf8.AppendRune(out, r), true
	}
	return nil, false
}

func (s *scanner) hex4() (r rune, ok bool) {
	if len(s.b)-s.i < 4 {
		return 0, false
	}
	for _, c := range s.b[s.i : s.i+4] {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	s.i += 4
	return r, true
}

// lowSurrogate completes a pair, or yields U+FFFD and leaves alone what is no
// second half.
func (s *scanner) lowSurrogate(high rune) rune {
	save := s.i
	if s.literal(`\u`) {
		if low, ok := s.hex4(); ok {
			if r := utf16.DecodeRune(high, low); r != utf8.RuneError {
				return r
			}
		}
	}
	s.i = save
	return utf8.RuneError
}

// number consumes any value; is tells whether it was a non-negative integer
// of at most 64 bits.
func (s *scanner) number() (n uint64, is, ok bool) {
	text, ok := s.span()
	if !ok || len(text) == 0 {
		return 0, false, false
	}
	for _, c := range text {
		d := uint64(c - '0')
		if c < '0' || '9' < c || n > (1<<64-1-d)/10 {
			return 0, false, true
		}
		n = n*10 + d
	}
	return n, true, true
}

// bool consumes any value; only the literal true is true.
func (s *scanner) bool() (v, ok bool) {
	s.space()
	if s.literal("true") {
		return true, true
	}
	return false, s.skip(0)
}

// skip consumes any value. Numbers and literals are taken by their alphabet.
func (s *scanner) skip(depth int) bool {
	switch c := s.peek(); c {
	case '"':
		return s.skipText()
	case '{', '[':
		if depth >= maxDepth {
			return false
		}
		s.i++
		if c == '[' {
			return s.list(func() bool { return s.skip(depth + 1) })
		}
		return s.members(func([]byte) bool { return s.skip(depth + 1) })
	default:
		start := s.i
		for s.i < len(s.b) && isAtom(s.b[s.i]) {
			s.i++
		}
		return s.i > start
	}
}

func isAtom(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || c == '-' || c == '+' || c == '.' || c == 'E'
}

// span consumes any value and returns its text.
func (s *scanner) span() ([]byte, bool) {
	s.space()
	start := s.i
	if !s.skip(0) {
		return nil, false
	}
	return s.b[start:s.i:s.i], true
}

// members consumes what follows the brace of an object, calling each with the
// name of a member to consume its value.
func (s *scanner) members(each func(name []byte) bool) bool {
	if s.next('}') {
		return true
	}
	for {
		name, ok := s.text()
		if !ok || !s.next(':') || !each(name) {
			return false
		}
		if s.next('}') {
			return true
		}
		if !s.next(',') {
			return false
		}
	}
}

// list consumes what follows the bracket of an array, calling each to consume
// an element.
func (s *scanner) list(each func() bool) bool {
	if s.next(']') {
		return true
	}
	for {
		if !each() {
			return false
		}
		if s.next(']') {
			return true
		}
		if !s.next(',') {
			return false
		}
	}
}
