package socks

import (
	"strings"
	"testing"
)

const (
	granted4  = "\x00\x5a\x00\x00\x00\x00\x00\x00"
	rejected4 = "\x00\x5b\x00\x00\x00\x00\x00\x00"
)

func TestHostile18_SOCKS4(t *testing.T) {
	p := start(t, Config{})
	longest := strings.Repeat("u", socks4MaxText)
	name := strings.Repeat("a.", 126) + "a" // 253 bytes
	for _, test := range []struct{ name, in, want, host string }{
		{"address", "\x04\x01\x00\x50\x01\x02\x03\x04me\x00", granted4, "1.2.3.4"},
		{"no user id", "\x04\x01\x00\x50\x01\x02\x03\x04\x00", granted4, "1.2.3.4"},
		{"longest user id", "\x04\x01\x00\x50\x01\x02\x03\x04" + longest + "\x00", granted4, "1.2.3.4"},
		{"too long user id", "\x04\x01\x00\x50\x01\x02\x03\x04" + longest + "u\x00", "", ""},
		{"4a", "\x04\x01\x00\x50\x00\x00\x00\x01me\x00Example.COM.\x00", granted4, "example.com"},
		{"4a literal", "\x04\x01\x00\x50\x00\x00\x00\xff\x00::1\x00", granted4, "::1"},
		{"4a longest", "\x04\x01\x00\x50\x00\x00\x00\x01" + longest + "\x00" + name + "\x00", granted4, name},
		{"4a empty", "\x04\x01\x00\x50\x00\x00\x00\x01\x00\x00", rejected4, ""},
		{"4a too long", "\x04\x01\x00\x50\x00\x00\x00\x01\x00" + longest + "a\x00", "", ""},
		{"4a bad", "\x04\x01\x00\x50\x00\x00\x00\x01\x00a b\x00", rejected4, ""},
		{"0.0.0.0", "\x04\x01\x00\x50\x00\x00\x00\x00\x00", rejected4, ""},
		{"port 0", "\x04\x01\x00\x00\x01\x02\x03\x04\x00", rejected4, ""},
		{"BIND", "\x04\x02\x00\x50\x01\x02\x03\x04\x00", rejected4, ""},
		{"truncated", "\x04\x01\x00\x50\x01\x02", "", ""},
		{"truncated name", "\x04\x01\x00\x50\x00\x00\x00\x01\x00exa", "", ""},
	} {
		if out := p.talk(t, test.in); out != test.want {
			t.Errorf("%s: %q, want %q", test.name, out, test.want)
		}
		r := p.got()
		switch {
		case (r != nil) != (test.host != ""):
			t.Errorf("%s: request %v", test.name, r)
		case r != nil && (r.Host != test.host || r.Port != 80 || r.Protocol != SOCKS4 || r.User != ""):
			t.Errorf("%s: request %+v", test.name, r)
		}
	}
}

func TestHostile18_EndlessUserID(t *testing.T) {
	p := start(t, Config{})
	conn := p.dial(t)
	conn.Write([]byte("\x04\x01\x00\x50\x01\x02\x03\x04" + strings.Repeat("u", 1<<20)))
	if n, err := conn.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("read %d, %v", n, err)
	}
}

// There are no passwords in SOCKS4.
func TestHostile18_ClosedWithUsers(t *testing.T) {
	p := start(t, Config{Users: []User{{"ann", "secret"}}})
	if out := p.talk(t, "\x04\x01\x00\x50\x01\x02\x03\x04ann\x00"); out != rejected4 {
		t.Errorf("got %q", out)
	}
}
