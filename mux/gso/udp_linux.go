package gso

import (
	"net"
	"net/netip"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// A udpConn is a socket of Linux. The runtime's poller says when there might be
// something to read, or room to write; until then neither side holds anything.
type udpConn struct {
	*net.UDPConn
	raw       syscall.RawConn
	o         Options
	sys       calls
	connected bool
	remote    netip.AddrPort // of a connected socket
	v6        bool           // the socket's family
	gro       bool           // it hands out trains

	r reader
	w writer
}

var _ Conn = (*udpConn)(nil)

// newUDP returns nil if u cannot be asked for its descriptor: it is closed.
func newUDP(u *net.UDPConn, o Options) Conn {
	raw, err := u.SyscallConn()
	if err != nil {
		return nil
	}
	c := &udpConn{UDPConn: u, raw: raw, o: o, sys: calls{recvmmsg, sendmmsg}}
	if to, ok := u.RemoteAddr().(*net.UDPAddr); ok && to != nil {
		c.connected, c.remote = true, to.AddrPort()
	}
	if err := raw.Control(c.setUp); err != nil {
		return nil
	}
	c.r.try, c.w.try = c.tryRead, c.tryWrite
	return c
}

// setUp asks the system what it can do, and for what is wanted. What it refuses
// is done without.
func (c *udpConn) setUp(fd uintptr) {
	s := int(fd)
	domain, err := unix.GetsockoptInt(s, unix.SOL_SOCKET, unix.SO_DOMAIN)
	c.v6 = err == nil && domain == unix.AF_INET6
	c.w.setUp(c.o, func() bool {
		// Asked for only: set, it would cut plain writes too.
		_, err := unix.GetsockoptInt(s, unix.IPPROTO_UDP, unix.UDP_SEGMENT)
		return err == nil
	})
	if c.o.GRO {
		c.gro = unix.SetsockoptInt(s, unix.IPPROTO_UDP, unix.UDP_GRO, 1) == nil
	}
	_ = unix.SetsockoptInt(s, unix.SOL_SOCKET, unix.SO_RXQ_OVFL, 1)
	if n := c.o.Buffer; n > 0 {
		growBuffer(s, n, unix.SO_RCVBUFFORCE, unix.SO_RCVBUF)
		growBuffer(s, n, unix.SO_SNDBUFFORCE, unix.SO_SNDBUF)
	}
}

// growBuffer asks for n bytes beyond the system's limit, which the
// administrator may do, and else for as much as that limit allows: Linux lowers
// it by itself.
func growBuffer(fd, n, force, ask int) {
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, force, n) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, ask, n)
	}
}

// to is who a train to peer goes to.
func (c *udpConn) to(peer netip.AddrPort) netip.AddrPort {
	if c.connected {
		return c.remote
	}
	return peer
}

// release is the running kernel's.
func release() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Release[:])
}

// A zone is a network interface's name and number, of the last link-local peer:
// there is seldom a second one.
type zone struct {
	name string
	id   uint32
}

// idOf is the number that the system knows the zone by.
func (z *zone) idOf(name string) uint32 {
	if name == "" {
		return 0
	}
	if z.name != name {
		*z = zone{name: name}
		if i, err := net.InterfaceByName(name); err == nil {
			z.id = uint32(i.Index)
		} else if n, err := strconv.ParseUint(name, 10, 32); err == nil {
			z.id = uint32(n)
		}
	}
	return z.id
}

// add gives peer the zone of that number.
func (z *zone) add(peer netip.AddrPort, id uint32) netip.AddrPort {
	if id == 0 {
		return peer
	}
	if z.id != id {
		*z = zone{id: id, name: strconv.FormatUint(uint64(id), 10)}
		if i, err := net.InterfaceByIndex(int(id)); err == nil {
			z.name = i.Name
		}
	}
	return netip.AddrPortFrom(peer.Addr().WithZone(z.name), peer.Port())
}
