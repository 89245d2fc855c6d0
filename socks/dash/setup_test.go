package dash

import (
	"encoding/json"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"

	"relaymux/mux/secret"
)

func addrs(list ...string) (out []netip.Addr) {
	for _, a := range list {
		out = append(out, netip.MustParseAddr(a))
	}
	return out
}

// hintCodes are all ways that there are to set something up.
func hintCodes(t *testing.T) (codes []string) {
	for _, password := range []bool{false, true} {
		r := newRig(t, nil)
		r.SetProxy(addrPorts("192.168.1.2:1080"), password)
		s := r.setup(netip.Addr{}, "", nil)
		for _, h := range slices.Concat(s.Near, s.Far) {
			codes = append(codes, h.Code)
			if h.Text == "" {
				codes = append(codes, h.Code+".text")
			}
		}
	}
	return codes
}

// What is beyond this machine is only told where the proxy listens for it.
func TestSetup(t *testing.T) {
	own := addrs("127.0.0.1", "::1", "203.0.113.9", "192.168.1.2", "10.1.2.3", "fd00::1")
	slices.SortFunc(own, netip.Addr.Compare)
	for _, c := range []struct {
		name, listen, here string
		near, far          string
	}{
		{"loopback", "127.0.0.1:1080", "127.0.0.1", "127.0.0.1:1080", ""},
		{"loopback, and the page is not", "127.0.0.1:1080", "192.168.1.2", "127.0.0.1:1080", ""},
		{"IPv6 loopback", "[::1]:1080", "::1", "[::1]:1080", ""},
		{"one address", "192.168.1.2:1080", "127.0.0.1", "192.168.1.2:1080", "192.168.1.2"},
		{"all, seen from here", "0.0.0.0:1080", "127.0.0.1", "127.0.0.1:1080", "10.1.2.3"},
		{"all, seen from elsewhere", "0.0.0.0:1080", "192.168.1.2", "192.168.1.2:1080", "192.168.1.2"},
		{"all of IPv4, and the page by IPv6", "0.0.0.0:1080", "::1", "127.0.0.1:1080", "10.1.2.3"},
		{"all of IPv4, and the page from elsewhere by IPv6", "0.0.0.0:1080", "2001:db8::2", "10.1.2.3:1080", "10.1.2.3"},
		{"all of IPv6", "[::]:1080", "::1", "[::1]:1080", "10.1.2.3"},
	} {
		r := newRig(t, nil)
		r.SetProxy(addrPorts(c.listen), false)
		s := r.setup(netip.MustParseAddr(c.here), "http://127.0.0.1:1081", own)
		if !strings.Contains(s.Near[0].Text, "socks5h://"+c.near+" ") {
			t.Errorf("%s: %+v", c.name, s.Near[0])
		}
		if (s.Link != nil) != (c.far != "") || (len(s.Far) > 0) != (c.far != "") {
			t.Errorf("%s: %+v, link %v", c.name, s.Far, s.Link)
		}
		if c.far != "" && s.Far[0].Host != c.far {
			t.Errorf("%s: others are sent to %s", c.name, s.Far[0].Host)
		}
	}
	all := newRig(t, nil)
	all.SetProxy(addrPorts("0.0.0.0:1080"), false)
	if s := all.setup(netip.MustParseAddr("127.0.0.1"), "", addrs("127.0.0.1", "203.0.113.9")); s.Link != nil {
		t.Errorf("a machine on the internet is spread by a picture: %v", s.Link.Text)
	}
	none := newRig(t, nil)
	none.SetProxy(nil, false)
	if w := none.do("GET", "/api/setup"); !strings.Contains(w.Body.String(), `"near":[],"far":[]`) {
		t.Errorf("without a proxy: %s", w.Body)
	}
}

// TestSetupAfterReload: nothing is told of where the proxy was before.
func TestSetupAfterReload(t *testing.T) {
	r := newRig(t, nil)
	if s := r.setup(netip.Addr{}, "", nil); s.Password || s.Link != nil || s.Near[0].Port != "1080" {
		t.Errorf("%+v", s)
	}
	r.SetProxy(addrPorts("192.168.1.2:2080"), true)
	s := r.setup(netip.Addr{}, "", nil)
	if !s.Password || s.Near[0].Host != "192.168.1.2" || s.Near[0].Port != "2080" || s.Link == nil || !strings.Contains(s.Link.Text, "port=2080") {
		t.Errorf("%+v, link %v", s, s.Link)
	}
}

func TestSetupTelegram(t *testing.T) {
	r := newRig(t, nil)
	r.SetProxy(addrPorts("[fd00::1]:1080"), false)
	s := r.setup(netip.Addr{}, "", nil)
	u, err := url.Parse(s.Link.Text)
	if err != nil || u.Scheme != "tg" || u.Host != "socks" || u.Query().Get("server") != "fd00::1" || u.Query().Get("port") != "1080" || len(u.Query()) != 2 {
		t.Errorf("%s, %v", s.Link.Text, err)
	}
	rows := s.Link.Rows
	for _, row := range rows {
		if len(row) != len(rows) || strings.Trim(row, "01") != "" {
			t.Errorf("row %q of %d", row, len(rows))
		}
	}
	// The finder patterns of ISO/IEC 18004 are in three corners.
	for _, row := range []string{rows[0], rows[6], rows[len(rows)-1], rows[len(rows)-7]} {
		if !strings.HasPrefix(row, "11111110") {
			t.Errorf("no finder pattern in %s", row)
		}
	}
	if !strings.HasSuffix(rows[0], "01111111") || qrCode(strings.Repeat("x", 4000)) != nil {
		t.Error("no picture of a link, or one of what is too long")
	}
}

func TestHostile48_SetupHasNoPassword(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Token = secret.New("0123456789abcdefghijklmn") })
	r.SetProxy(addrPorts("192.168.1.2:1080"), true)
	if w := r.do("GET", "/api/setup"); w.Code != 401 {
		t.Errorf("without the token: %d", w.Code)
	}
	w := r.do("GET", "/api/setup", "Authorization", "Bearer "+r.Token.Reveal())
	var s Setup
	if err := json.Unmarshal(w.Body.Bytes(), &s); err != nil || !s.Password {
		t.Fatal(err, w.Body)
	}
	for _, h := range slices.Concat(s.Near, s.Far) {
		if h.Code == "chromium" && !strings.HasSuffix(h.Text, "=http://192.168.1.2:1080") {
			t.Errorf("a browser would not ask for the password: %s", h.Text)
		}
		if strings.ContainsAny(h.Text+h.Open, "@") || strings.Contains(h.Open, "pass") || h.Open != "" && !strings.HasPrefix(h.Open, "tg:") {
			t.Errorf("%+v", h)
		}
	}
	if strings.Contains(w.Body.String(), r.Token.Reveal()) {
		t.Error("the token is among the hints")
	}
}
