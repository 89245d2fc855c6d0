package wire

import (
	"bytes"
	"strings"
	"testing"
)

// A message of RFC 5769, section 2.2, as far as its header goes, and its
// neighbours.
func TestIsSTUN(t *testing.T) {
	stun := []byte("\x01\x01\x00\x3c\x21\x12\xa4\x42\xb7\xe7\xa7\x01\xbc\x34\xd6\x86\xfa\x87\xdf\xae" + strings.Repeat("\x00", 0x3c))
	if !IsSTUN(stun) {
		t.Error("a binding response is none")
	}
	if !IsSTUN([]byte("\x00\x01\x00\x00\x21\x12\xa4\x42twelve bytes")) {
		t.Error("a binding request without attributes is none")
	}
	for name, spoil := range map[string]func(p []byte) []byte{
		"empty":               func([]byte) []byte { return nil },
		"a byte short":        func(p []byte) []byte { return p[:len(p)-1] },
		"a word more":         func(p []byte) []byte { return append(p, 0, 0, 0, 0) },
		"only half a header":  func(p []byte) []byte { return p[:10] },
		"first bit":           func(p []byte) []byte { p[0] |= 0x80; return p },
		"second bit":          func(p []byte) []byte { p[0] |= 0x40; return p },
		"cookie":              func(p []byte) []byte { p[7]++; return p },
		"length":              func(p []byte) []byte { p[3] += 4; return p },
		"not a multiple of 4": func(p []byte) []byte { p[3]++; return append(p, 0) },
	} {
		if IsSTUN(spoil(bytes.Clone(stun))) {
			t.Errorf("%s: still STUN", name)
		}
	}
}
