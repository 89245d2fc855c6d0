package rule

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestNames(t *testing.T) {
	label := strings.Repeat("a", 63)
	long := strings.Repeat(label+".", 3) + strings.Repeat("b", 61)
	for _, name := range []string{"a", "relay.example", "relay.example.", "a_b.c-d", "xn--nxasmq6b", "1.2.3.4a", label, long} {
		if !IsName(name) {
			t.Errorf("%q is refused", name)
		}
	}
	for _, name := range []string{"", ".", "a..b", ".a", "-a", "a-", label + "a", long + "b", "1.2.3.4", "a b", "a/b", "é", "a\x00"} {
		if IsName(name) {
			t.Errorf("%q is accepted", name)
		}
	}
}

func TestRules(t *testing.T) {
	for _, rule := range []string{"1", "25", "65535", "10.0.0.0/8", "::/0", "192.168.1.1", "fe80::1", "example.com", ".example.com", "example.com:80", "10.1.2.3:25", "[::1]:25", "10.0.0.0/8:22", "[2001:db8::/32]:22"} {
		if _, err := Parse(rule); err != nil {
			t.Error(err)
		}
	}
	for _, rule := range []string{"", "0", "65536", "99999999999", "10.0.0.1/8", "10.0.0.0/33", "10.0.0/8", "*.example.com", "*", ":25", "example.com:", "example.com:0", "a b", "https://example.com", "1.2.3", "10.0.0.0/8:0", "fe80::1%eth0", "+25"} {
		if r, err := Parse(rule); err == nil || !strings.HasPrefix(err.Error(), strconv.Quote(rule)) {
			t.Errorf("%q: %+v, %v", rule, r, err)
		}
	}
}

// TestSet: which entry of a list a destination falls under.
func TestSet(t *testing.T) {
	s, err := ParseSet([]string{"example.org:22", ".example.org", "10.0.0.0/8", "192.0.2.1:80", "2001:db8::/32", "25"})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		host string
		port uint16
		want string
	}{
		{"example.org", 22, "example.org:22"},
		{"example.org", 80, ".example.org"},
		{"a.b.example.org", 443, ".example.org"},
		{"badexample.org", 443, ""},
		{"org", 443, ""},
		{"example.org.evil.test", 443, ""},
		{"mail.test", 25, "25"},
		{"10.255.0.1", 443, "10.0.0.0/8"},
		{"11.0.0.1", 443, ""},
		{"11.0.0.1", 25, "25"},
		{"192.0.2.1", 80, "192.0.2.1:80"},
		{"192.0.2.1", 81, ""},
		{"2001:db8::9", 443, "2001:db8::/32"},
		{"64:ff9b::a00:1", 443, "10.0.0.0/8"}, // 10.0.0.1 by NAT64
	} {
		if got, found := s.Find(c.host, c.port); got != c.want || found != (c.want != "") {
			t.Errorf("%s port %d: %q, want %q", c.host, c.port, got, c.want)
		}
	}
}

// TestOpens: what is private or special is meant only by an entry that is about
// nothing else, or about one address.
func TestOpens(t *testing.T) {
	for _, c := range []struct {
		entry, addr string
		port        uint16
		want        bool
	}{
		{"0.0.0.0/0", "127.0.0.1", 80, false},
		{"::/0", "::1", 80, false},
		{"126.0.0.0/7", "127.0.0.1", 80, false},
		{"127.0.0.0/8", "127.0.0.1", 80, true},
		{"127.0.0.1", "127.0.0.1", 80, true},
		{"127.0.0.1:80", "127.0.0.1", 80, true},
		{"127.0.0.1:80", "127.0.0.1", 81, false},
		{"192.0.0.0/8", "192.168.1.1", 80, false},
		{"192.168.1.0/24", "192.168.1.1", 80, true},
		{"192.168.1.0/24", "192.168.2.1", 80, false},
		{"169.254.0.0/16", "169.254.169.254", 80, true},
		{"8.8.8.8", "8.8.8.8", 80, true},
		{"8.8.8.0/24", "8.8.8.8", 80, false},
		{"80", "127.0.0.1", 80, false},
		{"localhost", "127.0.0.1", 80, false},
	} {
		s, err := ParseSet([]string{c.entry})
		if err != nil {
			t.Fatal(err)
		}
		if got := s.Opens(netip.MustParseAddr(c.addr), c.port); got != c.want {
			t.Errorf("%s opens %s port %d: %v", c.entry, c.addr, c.port, got)
		}
	}
}

// TestLongList: a list of names as long as those of trackers costs no more for each
// connection than a short one.
func TestLongList(t *testing.T) {
	var list []string
	for i := range 100_000 {
		list = append(list, fmt.Sprintf("n%d.example", i))
	}
	s, err := ParseSet(list)
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	for i := range 1000 {
		if _, found := s.Find(fmt.Sprintf("a.n%d.example", i*100), 443); !found {
			t.Fatal("a name is not found")
		}
	}
	if took := time.Since(began); took > time.Second { // gone through, they take 20 s
		t.Errorf("1000 look-ups took %v", took)
	}
}

func TestSource(t *testing.T) {
	for addr, want := range map[string]string{
		"192.0.2.7": "192.0.2.7/32", "2001:db8::1:2": "2001:db8::/64", "2001:db8::ffff:0:0:2": "2001:db8::/64",
		"2001:db8:0:1::2": "2001:db8:0:1::/64", "fe80::1%eth0": "fe80::/64",
	} {
		if got := Source(netip.MustParseAddr(addr)); got.String() != want {
			t.Errorf("%s: %v, want %s", addr, got, want)
		}
	}
	if Source(netip.Addr{}).IsValid() {
		t.Error("of no address")
	}
}
