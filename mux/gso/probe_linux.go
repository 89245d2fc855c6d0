package gso

import (
	"net"

	"golang.org/x/sys/unix"
)

// Able asks the system whether sockets can send trains here, and take them in.
func Able() (send, receive bool) {
	u, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return false, false
	}
	defer u.Close()
	raw, err := u.SyscallConn()
	if err != nil {
		return false, false
	}
	_ = raw.Control(func(fd uintptr) { // fails only once it is closed
		_, err := unix.GetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_SEGMENT)
		send = err == nil
		receive = unix.SetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_GRO, 1) == nil
	})
	return send, receive
}
