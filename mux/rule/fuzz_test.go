package rule

import (
	"net"
	"net/netip"
	"strconv"
	"strings"
	"testing"
)

// FuzzRule: an entry is refused by its name, or is a rule that can be written in one way
// and read again; and a list of it finds what the rule matches.
func FuzzRule(f *testing.F) {
	for _, entry := range []string{
		"1", "65535", "0", "10.0.0.0/8", "::/0", "::ffff:10.0.0.0/104", "fe80::1", "::ffff:192.0.2.1", "fe80::1%eth0", "example.com", ".Example.com.",
		"example.com:80", "10.1.2.3:25", "[::1]:25", "[2001:db8::/32]:22", "*.example.com", "10.0.0.1/8", "a b", "+25", "1.2.3", "xn--a:1", "a_b.c", "::1:80",
	} {
		f.Add(entry, "a.example.com", []byte{10, 1, 2, 3}, uint16(80))
		f.Add(entry, "example.com", []byte("\x00\x64\xff\x9b\x00\x00\x00\x00\x00\x00\x00\x00\x0a\x01\x02\x03"), uint16(25))
	}
	f.Add("example.com", "badexample.com", []byte{}, uint16(80))
	f.Fuzz(func(t *testing.T, entry, name string, ip []byte, port uint16) {
		r, err := Parse(entry)
		if err != nil {
			if !strings.HasPrefix(err.Error(), strconv.Quote(entry)) || r != (Rule{}) && r.HasHost() && r.Port != 0 {
				t.Errorf("%q: %+v, %v", entry, r, err)
			}
			return
		}
		if r.Name != strings.ToLower(strings.Trim(r.Name, ".")) || r.Prefix.IsValid() && r.Prefix != r.Prefix.Masked() || r.Name != "" && r.Prefix.IsValid() || !r.HasHost() && r.Port == 0 {
			t.Errorf("%q: %+v", entry, r)
		}
		if again, err := Parse(written(r)); again != r || err != nil {
			t.Errorf("%q is %+v, which is written %q and is %+v (%v)", entry, r, written(r), again, err)
		}
		s, err := ParseSet([]string{entry})
		if err != nil {
			t.Fatal(err)
		}
		if name = Canonical(name); IsName(name) && !strings.HasSuffix(name, ".") {
			text, found := s.Find(name, port)
			if found != r.Matches(name, netip.Addr{}, port) || found && text != entry || found && !r.MayMatch(name, port) {
				t.Errorf("%q and %s:%d: %q, %v", entry, name, port, text, found)
			}
		}
		addr, ok := netip.AddrFromSlice(ip)
		if !ok {
			return
		}
		addr = addr.Unmap()
		inner, wraps := Embedded(addr)
		want := r.Name == "" && (r.Matches("", addr, port) || wraps && r.Matches("", inner, port))
		if text, found := s.Find(addr.String(), port); found != want || found && text != entry {
			t.Errorf("%q and %s port %d: %q, %v", entry, addr, port, text, found)
		}
		if s.Opens(addr, port) && !(r.Prefix.IsSingleIP() && r.Prefix.Addr() == addr) && !IsPrivate(addr) && !IsSpecial(addr) {
			t.Errorf("%q opens %s port %d", entry, addr, port)
		}
	})
}

// written is the one way to write r.
func written(r Rule) string {
	host := r.Name
	if r.Prefix.IsValid() {
		host = r.Prefix.String()
	}
	switch port := strconv.Itoa(int(r.Port)); {
	case r.Port == 0:
		return host
	case !r.HasHost():
		return port
	default:
		return net.JoinHostPort(host, port)
	}
}
