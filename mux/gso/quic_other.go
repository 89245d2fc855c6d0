//go:build !linux

package gso

import "net"

// newQUIC returns u: quic-go does by itself what can be done here.
func newQUIC(u *net.UDPConn, o Options) net.PacketConn {
	setBuffers(u, o.Buffer)
	return u
}
