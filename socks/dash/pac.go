package dash

import (
	"encoding/json"
	"net/http"
	"net/netip"
	"strings"
)

// servePAC serves the file by which browsers find the proxy. There is no DIRECT in it:
// when the proxy is not there, nothing goes past it. (What is on this machine browsers
// reach directly by themselves.) That holds for what [route] connects to directly, too:
// the proxy is on the same machine, so that nothing is saved, and it alone checks where
// a name leads. What no file can help: Chromium goes without a proxy until it has one.
func (s *Server) servePAC(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "application/x-ns-proxy-autoconfig")
	h.Set("Cache-Control", "no-cache")
	_, _ = w.Write([]byte(pac(s.ways(reached(r)))))
}

// ways are the proxies as a browser that has come to that address can reach them.
func (s *Server) ways(here netip.Addr) (list []string) {
	proxy := s.proxy.Load()
	for _, p := range near(proxy.Listen, here) {
		way := "SOCKS5 " + p.String() + "; PROXY " + p.String()
		if proxy.Password {
			way = "PROXY " + p.String() // browsers know no password of SOCKS
		}
		list = append(list, way)
	}
	return list
}

// near are those of proxies that are at here: of several on loopback a browser on this
// machine gets all, and none of what is for the network. If there is none, they are all
// that can be told.
func near(proxies []netip.AddrPort, here netip.Addr) []netip.AddrPort {
	if !here.IsValid() {
		here = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	var at, all []netip.AddrPort
	for _, p := range proxies {
		if p.Addr().IsUnspecified() {
			p = netip.AddrPortFrom(here, p.Port())
		}
		all = append(all, p)
		if p.Addr() == here || p.Addr().IsLoopback() && here.IsLoopback() {
			at = append(at, p)
		}
	}
	if len(at) == 0 {
		return all
	}
	return at
}

// pac is the script for these ways, of which there is at least one. A browser opens
// only so many connections to one proxy: where there are several, a host has its own
// first, and the others if that is not there.
func pac(ways []string) string {
	if len(ways) == 1 {
		return "function FindProxyForURL(url, host) {\n  return " + quote(ways[0]) + ";\n}\n"
	}
	var quoted []string
	for _, way := range ways {
		quoted = append(quoted, quote(way))
	}
	return "function FindProxyForURL(url, host) {\n" +
		"  var ways = [" + strings.Join(quoted, ", ") + "];\n" +
		"  var first = 0;\n" +
		"  for (var i = 0; i < host.length; i++) first = (first * 31 + host.charCodeAt(i)) % 65521;\n" +
		"  first %= ways.length;\n" +
		"  return ways.slice(first).concat(ways.slice(0, first)).join('; ');\n" +
		"}\n"
}

func quote(s string) string {
	b, _ := json.Marshal(s) // of a string it does not fail
	return string(b)
}
