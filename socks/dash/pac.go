package dash

import (
	"net/http"
	"net/netip"

	"relaymux/socks/pac"
)

// servePAC serves the file by which browsers find the proxy, as one that has come to that
// address can reach it. It has no DIRECT. (What is on this machine browsers reach
// directly by themselves.) That holds for what [route] connects to directly, too:
// the proxy is on the same machine, so that nothing is saved, and it alone checks where
// a name leads. What no file can help: Chromium goes without a proxy until it has one.
func (s *Server) servePAC(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "application/x-ns-proxy-autoconfig")
	h.Set("Cache-Control", "no-cache")
	proxy := s.proxy.Load()
	_, _ = w.Write([]byte(pac.Script(near(proxy.Listen, reached(r), interfaceAddrs()), proxy.Password)))
}

// near are those of proxies that are at here, on a machine with these addresses: of several
// on loopback a browser on this machine gets all, and none of what is for the network. If
// there is none, they are all that can be told.
func near(proxies []netip.AddrPort, here netip.Addr, own []netip.Addr) []netip.AddrPort {
	if !here.IsValid() {
		here = loopback4()
	}
	var at, all []netip.AddrPort
	for _, p := range proxies {
		switch at := p.Addr(); {
		case !at.IsUnspecified():
		case at.Is4() && here.Is6(): // by IPv6 nobody reaches it
			far, ok := beyond([]netip.AddrPort{p}, here, own)
			if p = netip.AddrPortFrom(loopback4(), p.Port()); ok && !here.IsLoopback() {
				p = far
			}
		default:
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

func loopback4() netip.Addr { return netip.AddrFrom4([4]byte{127, 0, 0, 1}) }
