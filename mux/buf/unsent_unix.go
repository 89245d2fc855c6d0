//go:build linux || darwin

package buf

import (
	"net"
	"syscall"
)

// unsentMost is how many bytes of a connection wait in the system before the first
// of them has left: with more, what is written next waits for as long as a slow line
// takes for it.
const unsentMost = 128 << 10

// LimitUnsent has the system take no more of conn, which may be TLS over TCP, than it
// can send soon (TCP_NOTSENT_LOWAT; Linux commit c9bee3b7fdec, 3.12), as far as it knows
// how to.
func LimitUnsent(conn net.Conn) {
	for {
		below, ok := conn.(interface{ NetConn() net.Conn })
		if !ok {
			break
		}
		conn = below.NetConn()
	}
	sc, ok := conn.(syscall.Conn)
	if !ok {
		return
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) { // an old system does without
		_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpNotsentLowat, unsentMost)
	})
}
