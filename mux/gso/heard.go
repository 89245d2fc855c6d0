package gso

import (
	"hash/maphash"
	"net"
	"net/netip"
)

// heard keeps the addresses of those that were heard last, as quic-go wants them:
// it may hold them for long, and does not change them. Without, each datagram would
// cost an allocation. One that does not find its place free takes it.
type heard struct {
	seed maphash.Seed
	made bool
	all  [entries]heardPeer
}

type heardPeer struct {
	at   netip.AddrPort
	addr *net.UDPAddr
}

func (p *heard) addr(at netip.AddrPort) net.Addr {
	if !p.made {
		p.seed, p.made = maphash.MakeSeed(), true
	}
	k := &p.all[maphash.Comparable(p.seed, at)%entries]
	if k.addr == nil || k.at != at {
		*k = heardPeer{at, net.UDPAddrFromAddrPort(at)}
	}
	return k.addr
}
