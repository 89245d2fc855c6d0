package socks

import (
	"net/netip"
	"strings"
	"testing"
)

// goodHosts are hosts as they come, and as they go on.
var goodHosts = map[string]string{
	"example.com":                    "example.com",
	"EXAMPLE.Com":                    "example.com",
	"example.com.":                   "example.com",
	"xn--bcher-kva.example":          "xn--bcher-kva.example",
	"_dmarc.a_b.example":             "_dmarc.a_b.example",
	"r1---sn-4g5e6nez.googlevideo.x": "r1---sn-4g5e6nez.googlevideo.x",
	"localhost":                      "localhost",
	"foo.localhost":                  "foo.localhost",
	"a":                              "a",
	"1.example":                      "1.example",
	"0xg":                            "0xg",
	strings.Repeat("a", 63) + ".x":   strings.Repeat("a", 63) + ".x",
	strings.Repeat("a.", 126) + "a":  strings.Repeat("a.", 126) + "a", // 253
	strings.Repeat("a.", 127):        strings.Repeat("a.", 126) + "a", // 253 and a dot

	"127.0.0.1":         "127.0.0.1",
	"127.0.0.1.":        "127.0.0.1",
	"127.1":             "127.0.0.1",
	"127.0.1":           "127.0.0.1",
	"0x7f.1":            "127.0.0.1",
	"0X7F.0.0.0x1":      "127.0.0.1",
	"0177.0.0.01":       "127.0.0.1",
	"2130706433":        "127.0.0.1",
	"017700000001":      "127.0.0.1",
	"0x7f000001":        "127.0.0.1",
	"1.65535":           "1.0.255.255",
	"1.2.65535":         "1.2.255.255",
	"169.254.169.254":   "169.254.169.254",
	"::1":               "::1",
	"0:0:0:0:0:0:0:1":   "::1",
	"2001:DB8::0:1":     "2001:db8::1",
	"::ffff:127.0.0.1":  "127.0.0.1",
	"::ffff:7f00:1":     "127.0.0.1",
	"64:ff9b::7f00:1":   "64:ff9b::7f00:1", // the node's to judge
	"255.255.255.254":   "255.255.255.254",
	"0.0.0.1":           "0.0.0.1",
	"fe80::1":           "fe80::1",
	"223.255.255.255":   "223.255.255.255",
	"239.example":       "239.example",
	"0x7f.1.example.":   "0x7f.1.example",
	"1_0":               "1_0",
	"deadbeef":          "deadbeef",
	"-a.example-":       "-a.example-",
	"a.b.c.d.e.f.g.h.i": "a.b.c.d.e.f.g.h.i",
}

// badHosts mean nothing.
var badHosts = []string{
	"", ".", "..", "a..b", ".a", "a...",
	strings.Repeat("a", 64), "x." + strings.Repeat("a", 64) + ".x",
	strings.Repeat("a.", 126) + "aa", // 254
	strings.Repeat("a", 255), strings.Repeat("a.", 128),
	"a\x00b", "a\r\nb", "a b", " a", "a%b", "a@b", "a/b", "[::1]", "[a]", "a:22", "::1:", "fe80::1%lo", "fe80::1%25lo",
	"bücher.example", "\xff\xfe", "a\tb", "a\x7fb", "a,b", "a;b", "a\"b", "<a>", "a\\b", "a?b", "a#b", "a=b", "*.a",
	"1.2.3.4.5", "256.1.1.1", "1.2.3.256", "1.2.65536", "4294967296", "1.16777216", "08.1.1.1", "0x.1", "1.0x", "foo.123", "foo.0x1",
	"0x100000000", "99999999999999999999", "0x1ffffffffffffffffffff", "1.2.3.4..", "::1.",
}

// undialableHosts are addresses to which no TCP connection leads.
var undialableHosts = []string{
	"0.0.0.0", "0", "0x0", "00.0", "::", "::ffff:0.0.0.0", "0.0.0.0.", "224.0.0.1", "239.255.255.255", "255.255.255.255", "4294967295",
	"ff02::1", "::ffff:224.0.0.1",
}

func TestHostile09_10_11_CanonicalHost(t *testing.T) {
	for in, want := range goodHosts {
		got, err := canonicalHost(in)
		if err != nil || got != want {
			t.Errorf("%q: %q, %v; want %q", in, got, err, want)
		}
		if again, err := canonicalHost(got); again != got || err != nil {
			t.Errorf("%q: canonical form %q becomes %q, %v", in, got, again, err)
		}
	}
	for _, in := range badHosts {
		if got, err := canonicalHost(in); err == nil {
			t.Errorf("%q is taken for %q", in, got)
		}
	}
}

// FuzzCanonicalHost: a host has one form, and a target is read as it is written.
func FuzzCanonicalHost(f *testing.F) {
	for in := range goodHosts {
		f.Add(in)
	}
	for _, in := range badHosts {
		f.Add(in)
	}
	for _, in := range []string{"a:443", "[::1]:443", "A.:65535", "::1:80", "[a]:80", "0x7f.1:0080", "[::ffff:1.2.3.4]:1", "a:+1"} {
		f.Add(in)
	}
	f.Fuzz(func(t *testing.T, in string) {
		if host, port, err := ParseTarget(in); err == nil {
			again, p, err := ParseTarget(joinAuthority(host, port))
			if again != host || p != port || port == 0 || err != nil {
				t.Errorf("%q is %s:%d, and then %s:%d (%v)", in, host, port, again, p, err)
			}
		}
		got, err := canonicalHost(in)
		if err != nil {
			return
		}
		if again, err := canonicalHost(got); again != got || err != nil {
			t.Errorf("%q: canonical form %q becomes %q, %v", in, got, again, err)
		}
		if strings.Trim(got, "abcdefghijklmnopqrstuvwxyz0123456789.-_:") != "" || got == "" {
			t.Errorf("%q: %q", in, got)
		}
	})
}

func TestHostile36_SplitAuthority(t *testing.T) {
	for _, test := range []struct {
		in       string
		fallback uint16
		host     string
		port     uint16
		ok       bool
	}{
		{"a:443", 0, "a", 443, true},
		{"[::1]:443", 0, "::1", 443, true},
		{"a:65535", 0, "a", 65535, true},
		{"a", 80, "a", 80, true},
		{"a:", 80, "a", 80, true},
		{"a:81", 80, "a", 81, true},
		{"[::1]", 80, "::1", 80, true},
		{"[::1]:", 80, "::1", 80, true},
		{"a:0", 0, "a", 0, true},
		{"a", 0, "", 0, false},
		{"a:", 0, "", 0, false},
		{"[::1]", 0, "", 0, false},
		{"a:65536", 0, "", 0, false},
		{"a:-1", 0, "", 0, false},
		{"a:+1", 0, "", 0, false},
		{"a:1_0", 0, "", 0, false},
		{"a:http", 0, "", 0, false},
		{"a:1:2", 0, "", 0, false},
		{"::1:443", 0, "", 0, false},
		{"[a]:443", 0, "", 0, false},
		{"[127.0.0.1]:443", 0, "", 0, false},
		{"[::1]]:443", 0, "", 0, false},
		{"::1", 80, "", 0, false},
		{"", 0, "", 0, false},
	} {
		host, port, err := splitAuthority(test.in, test.fallback)
		if (err == nil) != test.ok || err == nil && (host != test.host || port != test.port) {
			t.Errorf("%q: %q %d %v", test.in, host, port, err)
		}
	}
}

func TestHostile43_Arrives(t *testing.T) {
	for _, test := range []struct {
		host, bound string
		want        bool
	}{
		{"127.0.0.1", "127.0.0.1", true},
		{"127.0.0.2", "127.0.0.1", false},
		{"localhost", "127.0.0.1", true},
		{"proxy.localhost", "::1", true},
		{"localhost", "192.168.1.2", false},
		{"notlocalhost", "127.0.0.1", false},
		{"127.0.0.2", "0.0.0.0", true},
		{"::1", "::", true},
		{"127.0.0.1", "::", true},
		{"192.168.1.2", "0.0.0.0", true}, // the address by which the client came
		{"192.168.1.3", "0.0.0.0", false},
		{"192.168.1.2", "192.168.1.2", true},
		{"example.com", "0.0.0.0", false},
	} {
		if got := arrives(test.host, netip.MustParseAddr(test.bound), netip.MustParseAddr("192.168.1.2")); got != test.want {
			t.Errorf("%s at a socket on %s: %v", test.host, test.bound, got)
		}
	}
}

func TestHostile43_OwnAddress(t *testing.T) {
	admin := netip.MustParseAddrPort("127.0.0.1:1081")
	p := start(t, Config{Self: []netip.AddrPort{admin}})
	own := netip.MustParseAddrPort(p.addr).Port()
	for _, host := range []string{"127.0.0.1", "localhost", "2130706433", "::ffff:127.0.0.1"} {
		for _, port := range []uint16{own, admin.Port()} {
			if out := p.talk(t, "\x05\x01\x00"+request5(host, port)); out != "\x05\x00"+refused5(2) {
				t.Errorf("%s %d: %q", host, port, out)
			}
		}
	}
	if out := p.talk(t, "\x05\x01\x00"+request5("127.0.0.1", 1082)); out != "\x05\x00"+granted5 {
		t.Errorf("another port: %q", out)
	}
}
