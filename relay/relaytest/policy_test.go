package relaytest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"testing"

	"relaymux/relay/exit"
)

// guarded is a Stack whose node has the policy that users get.
func guarded(t *testing.T) *Stack {
	t.Helper()
	return NewStack(t, StackConfig{Confirmed: true, Node: func(c *exit.Config) { c.Policy = exit.Policy{} }})
}

// connectName is Stack.Connect with the host always sent as a name, as browsers
// do it, literals included.
func (s *Stack) connectName(ctx context.Context, address string) (net.Conn, error) {
	conn, err := s.Dial(ctx, "tcp", s.Proxy)
	if err != nil {
		return nil, err
	}
	host, portText, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	var port uint16
	if _, err := fmt.Sscan(portText, &port); err != nil {
		return nil, err
	}
	request := append([]byte{5, 1, 0, 5, 1, 0, 3, byte(len(host))}, host...)
	if _, err := socks5Ask(conn, append(request, byte(port>>8), byte(port))); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// wantDenied checks that the policy refuses host, whichever way it is written
// into a request.
func (s *Stack) wantDenied(t *testing.T, host, port string) {
	t.Helper()
	address := net.JoinHostPort(host, port)
	for name, dial := range map[string]Dialer{"SOCKS": s.Connect, "a SOCKS name": s.connectName} {
		c, err := dial(t.Context(), address)
		if c != nil {
			c.Close()
		}
		if !errors.Is(err, SOCKSError(2)) {
			t.Errorf("%s by %s: %v, want SOCKS reply 2", address, name, err)
		}
	}
	c, err := s.ConnectHTTP(t.Context(), address)
	if c != nil {
		c.Close()
	}
	if !errors.Is(err, StatusError(http.StatusForbidden)) {
		t.Errorf("%s by CONNECT: %v, want status 403", address, err)
	}
}

// TestHostile11_LoopbackSpellings: they all mean a target that is there, and
// that nobody may reach.
func TestHostile11_LoopbackSpellings(t *testing.T) {
	s := guarded(t)
	addr := s.serve(t, func(c net.Conn) { t.Errorf("reached from %v", c.RemoteAddr()) })
	_, port, err := net.SplitHostPort(addr)
	check(t, err)
	for _, host := range []string{
		"127.0.0.1", "127.1", "127.0.1", "0x7f.1", "0x7f000001", "2130706433", "017700000001", "0177.0.0.1",
		"127.8.9.10", "::ffff:127.0.0.1", "localhost", "LOCALHOST", "localhost.", "foo.localhost",
	} {
		s.wantDenied(t, host, port)
	}
}

// TestHostile55_PrivateSpace and its like: never reached, whatever is there.
func TestHostile55_PrivateSpace(t *testing.T) {
	s := guarded(t)
	for _, host := range []string{
		"10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "169.254.169.254", "0.0.0.0", "0.1.2.3",
		"192.0.2.1", "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255",
		"metadata.google.internal", "metadata.google.internal.", "METADATA.GOOG",
	} {
		s.wantDenied(t, host, "80")
	}
	s.wantDenied(t, s.Exit.Hostname(), s.Exit.Port()) // the node itself
}

// TestHostile55_PrivateSpaceV6 needs a socket of that family, for the check is
// made on the address that is really dialled.
func TestHostile55_PrivateSpaceV6(t *testing.T) {
	needIPv6(t)
	s := guarded(t)
	for _, host := range []string{"::1", "fd00::1", "fd00:ec2::254", "fe80::1", "ff02::1", "::", "2001:db8::1", "fec0::1"} {
		s.wantDenied(t, host, "80")
	}
}

// TestHostile56_Wrapped: IPv4 addresses inside of IPv6 ones.
func TestHostile56_Wrapped(t *testing.T) {
	needIPv6(t)
	s := guarded(t)
	for _, host := range []string{
		"::ffff:169.254.169.254", "::ffff:10.0.0.1", "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe",
		"2002:7f00:1::", "2002:a00:1::1", "::ffff:0:127.0.0.1",
	} {
		s.wantDenied(t, host, "80")
	}
}

// needIPv6 skips a test where no socket of that family can be made.
func needIPv6(t *testing.T) {
	t.Helper()
	ln, err := net.Listen("tcp6", "[::1]:0")
	if err != nil {
		t.Skip("no IPv6:", err)
	}
	ln.Close()
}

// TestHostile57_Mail: refused by its port.
func TestHostile57_Mail(t *testing.T) {
	s := guarded(t)
	s.wantDenied(t, "192.0.2.1", "25")
	s.wantDenied(t, "localhost", "25")
}

// TestHostile84_IPv6Only: where there is nothing but IPv6, everything goes by it, to names
// as to addresses; and an IPv4 address is one that cannot be reached.
func TestHostile84_IPv6Only(t *testing.T) {
	needIPv6(t)
	for name, c := range map[string]StackConfig{"link": {IPv6: true, Link: true, Confirmed: true}, "JSON": {IPv6: true, Confirmed: true}} {
		t.Run(name, func(t *testing.T) {
			s := NewStack(t, c)
			addr := s.serve(t, Echo)
			for _, dial := range []Dialer{s.Connect, s.connectName, s.ConnectHTTP} {
				ask(t, open(t, dial, addr), "hello")
			}
			_, port, err := net.SplitHostPort(addr)
			check(t, err)
			if c, err := s.Connect(t.Context(), net.JoinHostPort("127.0.0.1", port)); !errors.Is(err, SOCKSError(5)) {
				t.Errorf("%v, %v", c, err)
			}
		})
	}
}
