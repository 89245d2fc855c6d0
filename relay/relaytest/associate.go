package relaytest

import (
	"context"
	"fmt"
	"net"
)

// An Association is the application's side of UDP ASSOCIATE (RFC 1928, sections
// 4 and 7). It is a net.PacketConn whose addresses are the targets': what
// PacketAddr returns, or a *net.UDPAddr.
type Association struct {
	net.PacketConn          // the application's socket, which only the proxy sees
	Control        net.Conn // ends the association with it
	Relay          net.Addr // where the proxy takes its datagrams
}

// Associate asks the proxy for an association.
func (s *Stack) Associate(ctx context.Context) (*Association, error) {
	control, err := s.Dial(ctx, "tcp", s.Proxy)
	if err != nil {
		return nil, err
	}
	a := &Association{Control: control}
	if a.PacketConn, err = s.ListenPacket(); err != nil {
		control.Close()
		return nil, err
	}
	bound, err := socks5Ask(control, []byte{5, 1, 0, 5, 3, 0, 1, 0, 0, 0, 0, 0, 0})
	if err != nil {
		a.Close()
		return nil, err
	}
	a.Relay = packetAddr(bound)
	return a, nil
}

// PacketAddr is address, host:port, a name as a name.
func PacketAddr(address string) net.Addr { return packetAddr(address) }

// WriteTo sends p to a target.
func (a *Association) WriteTo(p []byte, to net.Addr) (int, error) {
	b, err := appendSOCKSAddress(make([]byte, 3, 3+1+1+255+2+len(p)), to.String())
	if err != nil {
		return 0, err
	}
	if _, err := a.PacketConn.WriteTo(append(b, p...), a.Relay); err != nil {
		return 0, err
	}
	return len(p), nil
}

// ReadFrom takes the next datagram, and the target that it comes from. p must
// have room for the header too, which is before it.
func (a *Association) ReadFrom(p []byte) (int, net.Addr, error) {
	n, from, err := a.PacketConn.ReadFrom(p)
	if err != nil {
		return 0, nil, err
	}
	if from.String() != a.Relay.String() {
		return 0, nil, fmt.Errorf("a datagram of %v, not of the proxy", from)
	}
	if n < 3 || p[0]|p[1]|p[2] != 0 {
		return 0, nil, fmt.Errorf("RSV or FRAG is not 0: % x", p[:min(n, 3)])
	}
	target, rest, err := cutSOCKSAddress(p[3:n])
	if err != nil {
		return 0, nil, err
	}
	return copy(p, rest), packetAddr(target), nil
}

// Close ends the association.
func (a *Association) Close() error {
	err := a.Control.Close()
	if e := a.PacketConn.Close(); err == nil {
		err = e
	}
	return err
}
