package daemon

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"relaymux/config"
	"relaymux/socks"
	"relaymux/socks/route"
)

// directBuffer is what the system is asked to hold of a direct UDP flow until its
// reader comes: a burst of some hundred datagrams.
const directBuffer = 512 << 10

// newRouter makes what sends flows on their ways, of which the tunnel is one.
func newRouter(cfg *config.Config, p *Proxy) (*route.Router, error) {
	rules, err := p.rules(cfg, p.listeners)
	if err != nil {
		return nil, err
	}
	p.confirmed.Store(cfg.Proxy.Connect == config.Confirmed)
	optimistic, confirmed := socks.Carry(p.mux, false), socks.Carry(p.mux, true)
	handle := func(ctx context.Context, r *socks.Request) {
		if p.confirmed.Load() {
			confirmed(ctx, r)
		} else {
			optimistic(ctx, r)
		}
	}
	sockets := trains(&cfg.UDP, p.udp)
	sockets.Buffer = directBuffer
	return route.New(route.Config{
		Rules: rules, Handle: handle, Dial: p.mux.Dial, OpenUDP: socks.OpenUDP(p.mux),
		Stats: p.route, Options: sockets, Log: p.log,
	}), nil
}

// rules are those of [route], by which nothing is led to the ports of p, of which these
// are the proxy's.
func (p *Proxy) rules(cfg *config.Config, listeners []port) (*route.Rules, error) {
	own := p.others()
	for _, ln := range listeners {
		own = append(own, addrPorts([]net.Listener{ln})...)
	}
	return routes(cfg, own)
}

// others are the listeners of p that are not the proxy's.
func (p *Proxy) others() []netip.AddrPort { return slices.Concat(addrPorts(p.pages), p.dns.own()) }

// routes are the rules of [route]. own are the listeners of this program.
func routes(cfg *config.Config, own []netip.AddrPort) (*route.Rules, error) {
	r := &cfg.Route
	return route.NewRules(route.Lists{
		Tunnel: route.List{Entries: r.Tunnel, At: r.At["tunnel"]},
		Block:  route.List{Entries: r.Block, At: r.At["block"]},
		Direct: route.List{Entries: r.Direct, At: r.At["direct"]},
		Own:    own,
	})
}

// Route says what becomes of a connection to target, a host:port, and which rule
// decides.
func Route(cfg *config.Config, target string) (verdict, rule string, err error) {
	rules, err := routes(cfg, bound(append([]string{cfg.Admin.Listen, cfg.DNS.Listen}, cfg.Proxy.Listen...)...))
	if err != nil {
		return "", "", err
	}
	v, err := rules.DecideText(target)
	return v.Way.String(), v.Rule, err
}

// bound are the addresses of sockets that are opened at these, of which names other than
// localhost are not looked up.
func bound(listen ...string) (list []netip.AddrPort) {
	for _, at := range listen {
		host, number, err := net.SplitHostPort(at)
		n, failed := strconv.ParseUint(number, 10, 16)
		if err != nil || failed != nil {
			continue // there is none
		}
		hosts := []string{host}
		switch strings.ToLower(host) {
		case "":
			hosts = []string{"::"}
		case "localhost":
			hosts = []string{"127.0.0.1", "::1"}
		}
		for _, h := range hosts {
			if addr, err := netip.ParseAddr(h); err == nil {
				list = append(list, netip.AddrPortFrom(addr, uint16(n)))
			}
		}
	}
	return list
}

// addrPorts are those of listeners of TCP.
func addrPorts(listeners []net.Listener) (list []netip.AddrPort) {
	for _, ln := range listeners {
		if at, err := netip.ParseAddrPort(ln.Addr().String()); err == nil {
			list = append(list, at)
		}
	}
	return list
}
