package route

import (
	"net/netip"
	"strings"
	"testing"
)

// TestDecide: tunnel goes before block, and block before direct; what is in none of them
// is tunnelled.
func TestDecide(t *testing.T) {
	r := mustRules(t, Lists{
		Tunnel: List{Entries: []string{"news.ads.example", "10.9.0.0/16"}},
		Block:  List{Entries: []string{"ads.example", "203.0.113.0/24", "25"}},
		Direct: List{Entries: []string{"example", "10.0.0.0/8", "22", "8.8.8.8", "0.0.0.0/0:9"}},
	})
	for _, c := range []struct {
		target string
		way    Way
		rule   string
	}{
		{"other.test:443", Tunnel, "no rule"},
		{"www.example:443", Direct, `route.direct: "example"`},
		{"WWW.Example.:443", Direct, `route.direct: "example"`},
		{"x.ads.example:443", Block, `route.block: "ads.example"`},
		{"x.news.ads.example:443", Tunnel, `route.tunnel: "news.ads.example"`},
		{"10.1.2.3:443", Direct, `route.direct: "10.0.0.0/8"`},
		{"0x0a.1.2.3:443", Direct, `route.direct: "10.0.0.0/8"`}, // a way to write 10.1.2.3
		{"[::ffff:10.1.2.3]:443", Direct, `route.direct: "10.0.0.0/8"`},
		{"10.9.2.3:443", Tunnel, `route.tunnel: "10.9.0.0/16"`},
		{"203.0.113.7:443", Block, `route.block: "203.0.113.0/24"`},
		{"[64:ff9b::cb00:7107]:443", Block, `route.block: "203.0.113.0/24"`}, // 203.0.113.7 by NAT64
		{"8.8.8.8:443", Direct, `route.direct: "8.8.8.8"`},
		{"www.example:25", Block, `route.block: "25"`},
		{"git.test:22", Direct, `route.direct: "22"`},
		{"9.9.9.9:22", Direct, `route.direct: "22"`},
		{"192.168.1.1:22", Block, `route.direct: "22", but 192.168.1.1 is`},
		{"127.0.0.1:9", Block, `route.direct: "0.0.0.0/0:9", but 127.0.0.1 is`},
		{"9.9.9.9:9", Direct, `"0.0.0.0/0:9"`},
		{"169.254.169.254:22", Block, "but 169.254.169.254"},
		{"[::1]:22", Block, "but ::1"},
		{"[64:ff9b::7f00:1]:22", Block, "but 127.0.0.1"},
	} {
		v, err := r.DecideText(c.target)
		if err != nil || v.Way != c.way || !strings.Contains(v.Rule, c.rule) {
			t.Errorf("%s: %v by %s, %v; want %v by %s", c.target, v.Way, v.Rule, err, c.way, c.rule)
		}
	}
	for _, bad := range []string{"", "example.org", "example.org:", "example.org:0", "example.org:65536", "::1:80", "a b:80", "[fe80::1%eth0]:80"} {
		if v, err := r.DecideText(bad); err == nil {
			t.Errorf("%q: %+v", bad, v)
		}
	}
}

// TestOwn: what the proxy refuses whatever the lists are is blocked.
func TestOwn(t *testing.T) {
	own := []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:1080"), netip.MustParseAddrPort("0.0.0.0:1090"), netip.MustParseAddrPort("127.0.0.2:1081")}
	r := mustRules(t, Lists{
		Tunnel: List{Entries: []string{"127.0.0.1", "1080"}}, Direct: List{Entries: []string{"127.0.0.0/8"}},
		Own: own,
	})
	for target, want := range map[string]Verdict{
		"127.0.0.1:1080":       {Block, "the proxy itself"},
		"0x7f.1:1080":          {Block, "the proxy itself"},
		"LocalHost.:1080":      {Block, "the proxy itself"},
		"x.localhost:1090":     {Block, "the proxy itself"},
		"127.0.0.7:1090":       {Block, "the proxy itself"},
		"0.0.0.0:1080":         {Block, "nothing can lead to this address"},
		"224.0.0.1:1080":       {Block, "nothing can lead to this address"},
		"127.0.0.7:1080":       {Tunnel, `route.tunnel: "1080"`},
		"127.0.0.1:1091":       {Tunnel, `route.tunnel: "127.0.0.1"`},
		"127.0.0.2:1081":       {Block, "the proxy itself"},
		"127.0.0.2:1082":       {Direct, `route.direct: "127.0.0.0/8"`},
		"localhost.other:1080": {Tunnel, `route.tunnel: "1080"`},
	} {
		if v, err := r.DecideText(target); err != nil || v != want {
			t.Errorf("%s: %v by %s, %v; want %v by %s", target, v.Way, v.Rule, err, want.Way, want.Rule)
		}
	}
}

func TestEmpty(t *testing.T) {
	r := mustRules(t, Lists{})
	if v := r.Decide("example.org", 443); v.Way != Tunnel {
		t.Errorf("empty: %+v", v)
	}
	if _, err := NewRules(Lists{Block: List{Entries: []string{"*"}, At: "c.toml:3: route.block"}}); err == nil || !strings.HasPrefix(err.Error(), "c.toml:3: route.block: ") {
		t.Errorf("no rule: %v", err)
	}
}

// TestCheck is what a name that is direct may resolve to.
func TestCheck(t *testing.T) {
	own := netip.MustParseAddrPort("0.0.0.0:1080")
	r := mustRules(t, Lists{
		Block:  List{Entries: []string{"203.0.113.0/24", "8.8.4.4"}},
		Direct: List{Entries: []string{"example", "192.168.7.0/24", "127.0.0.1:8080", "127.0.0.2", "fe80::/10"}},
		Own:    []netip.AddrPort{own},
	})
	for _, c := range []struct {
		address string
		open    bool
	}{
		{"8.8.8.8:443", true},
		{"[2606:4700::1111]:443", true},
		{"8.8.4.4:443", false},
		{"203.0.113.9:443", false},
		{"127.0.0.1:443", false},
		{"127.0.0.1:8080", true},
		{"127.0.0.2:1080", false}, // the proxy
		{"127.0.0.2:1081", true},
		{"[::1]:8080", false},
		{"[::ffff:127.0.0.1]:443", false},
		{"192.168.7.1:443", true},
		{"192.168.8.1:443", false},
		{"[64:ff9b::c0a8:801]:443", false}, // 192.168.8.1
		{"[fe80::1%eth0]:443", true},
		{"[fd12::1%eth0]:443", false},
		{"0.0.0.0:443", false},
		{"100.64.0.1:443", false},
		{"169.254.169.254:80", false},
		{"224.0.0.1:443", false},
		{"nonsense", false},
	} {
		if err := r.check(c.address); (err == nil) != c.open {
			t.Errorf("%s: %v", c.address, err)
		}
	}
}
