package relaytest

import (
	"context"
	"net"
)

// Listen opens a port on the Stack's network.
func (s *Stack) Listen() (net.Listener, error) {
	if m := s.config.Memory; m != nil {
		return m.Listen(s.loopback())
	}
	return net.Listen("tcp", s.loopback())
}

// ListenPacket opens a UDP port on the Stack's network.
func (s *Stack) ListenPacket() (net.PacketConn, error) {
	if m := s.config.Memory; m != nil {
		return m.ListenPacket(s.loopback())
	}
	return listenPacket(s.loopback())
}

// listenPacket opens a UDP socket of the system that holds a burst of a few
// hundred datagrams, as those do that have many peers: the default is 166 small
// ones on Linux.
func listenPacket(addr string) (net.PacketConn, error) {
	c, err := net.ListenPacket("udp", addr)
	if err != nil {
		return nil, err
	}
	_ = c.(*net.UDPConn).SetReadBuffer(4 << 20) // a smaller one works as well
	return c, nil
}

// loopback is where any port is free.
func (s *Stack) loopback() string {
	if s.config.IPv6 {
		return "[::1]:0"
	}
	return "127.0.0.1:0"
}

// Dial connects on the Stack's network.
func (s *Stack) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	if m := s.config.Memory; m != nil {
		return m.Dial(ctx, network, addr)
	}
	var d net.Dialer
	return d.DialContext(ctx, network, addr)
}

// dialFunc is an exit.Dialer.
type dialFunc func(ctx context.Context, network, addr string) (net.Conn, error)

func (f dialFunc) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	return f(ctx, network, addr)
}
