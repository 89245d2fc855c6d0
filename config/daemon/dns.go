package daemon

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"

	"golang.org/x/sync/errgroup"

	"relaymux/config"
	"relaymux/socks/dns"
)

// A dnsListener answers DNS queries through the tunnel. A nil one is none.
type dnsListener struct {
	server *dns.Server
	udp    net.PacketConn
	tcp    net.Listener
}

// listenDNS opens the ports of [dns], nil if there are to be none.
func listenDNS(cfg *config.Config, p *Proxy) (*dnsListener, error) {
	if cfg.DNS.Listen == "" {
		return nil, nil
	}
	host, port, err := net.SplitHostPort(cfg.DNS.Server)
	if err != nil {
		return nil, fmt.Errorf("server under [dns]: %w", err)
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("server under [dns]: %w", err)
	}
	tcp, udp, err := openDNS(cfg.DNS.Listen)
	if err != nil {
		return nil, err
	}
	return &dnsListener{
		server: dns.New(dns.Config{Dial: p.mux.Dial, Host: host, Port: uint16(number), Log: p.log}),
		udp:    udp, tcp: tcp,
	}, nil
}

func (d *dnsListener) serve(group *errgroup.Group) {
	if d == nil {
		return
	}
	group.Go(func() error { d.server.ServeUDP(d.udp); return nil })
	group.Go(func() error { d.server.ServeTCP(d.tcp); return nil })
}

// own is where it listens.
func (d *dnsListener) own() []netip.AddrPort {
	if d == nil {
		return nil
	}
	return addrPorts([]net.Listener{d.tcp})
}

func (d *dnsListener) close() {
	if d == nil {
		return
	}
	d.server.Close()
	d.udp.Close()
	d.tcp.Close()
}

// DNS is where DNS queries are answered, nil if nowhere.
func (p *Proxy) DNS() net.Addr {
	if p.dns == nil {
		return nil
	}
	return p.dns.tcp.Addr()
}
