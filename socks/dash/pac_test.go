package dash

import (
	"net/netip"
	"strings"
	"testing"
)

func TestPAC(t *testing.T) {
	addrs := func(list ...string) (all []netip.AddrPort) {
		for _, a := range list {
			all = append(all, netip.MustParseAddrPort(a))
		}
		return all
	}
	for _, c := range []struct {
		proxies  []netip.AddrPort
		password bool
		want     []string
	}{
		{addrs("127.0.0.1:1080"), false, []string{"return \"SOCKS5 127.0.0.1:1080; PROXY 127.0.0.1:1080\";"}},
		{addrs("[::1]:1080"), false, []string{"SOCKS5 [::1]:1080; PROXY [::1]:1080"}},
		{addrs("0.0.0.0:1080"), false, []string{"SOCKS5 127.0.0.1:1080;"}}, // where the browser has found the page
		{addrs("127.0.0.1:1080"), true, []string{"return \"PROXY 127.0.0.1:1080\";"}},
		{addrs("127.0.0.1:1080", "127.0.0.1:1090"), false, []string{
			`["SOCKS5 127.0.0.1:1080; PROXY 127.0.0.1:1080", "SOCKS5 127.0.0.1:1090; PROXY 127.0.0.1:1090"]`, "host.charCodeAt", "concat"}},
	} {
		r := newRig(t, func(g *Config) { g.Proxies, g.Password, g.Token = c.proxies, c.password, "0123456789abcdef" })
		w := r.do("GET", "/proxy.pac")
		if kind := w.Header().Get("Content-Type"); kind != "application/x-ns-proxy-autoconfig" {
			t.Errorf("it is of type %q", kind)
		}
		if h := w.Header().Get("Cache-Control"); h != "no-cache" {
			t.Errorf("Cache-Control: %s", h)
		}
		text := w.Body.String()
		if strings.Contains(strings.ToUpper(text), "DIRECT") || !strings.HasPrefix(text, "function FindProxyForURL(url, host) {") {
			t.Errorf("%v: %s", c.proxies, text)
		}
		for _, want := range c.want {
			if !strings.Contains(text, want) {
				t.Errorf("%v: no %s in %s", c.proxies, want, text)
			}
		}
	}
}
