// Package pac writes the file by which browsers find the proxy. There is no DIRECT in
// it: when the proxy is not there, nothing goes past it. And there is no SOCKS without
// its version, which browsers take for version 4: they would look names up themselves
// and tell the network where one goes.
package pac

import (
	"encoding/json"
	"net/netip"
	"strings"
)

// Script is the file for a proxy that is at these addresses, at least one. Where it asks
// for a password browsers speak HTTP to it: they know no password of SOCKS.
//
// A browser opens only so many connections to one proxy: where there are several, a host
// has its own first, and the others if that is not there.
func Script(proxies []netip.AddrPort, password bool) string {
	var ways []string
	for _, p := range proxies {
		way := "PROXY " + p.String()
		if !password {
			way = "SOCKS5 " + p.String() + "; " + way
		}
		ways = append(ways, quote(way))
	}
	if len(ways) == 1 {
		return "function FindProxyForURL(url, host) {\n  return " + ways[0] + ";\n}\n"
	}
	return "function FindProxyForURL(url, host) {\n" +
		"  var ways = [" + strings.Join(ways, ", ") + "];\n" +
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
