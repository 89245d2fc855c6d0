package gso

import (
	"encoding/binary"
	"net/netip"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"

	"relaymux/mux/buf"
)

// calls are the system calls of a Conn. Both return how many of ms were done,
// with the errno of the first if that is none. unix.Recvmsg would allocate a
// Sockaddr for every call, and has no batches.
type calls struct {
	recv, send func(fd uintptr, ms []unix.Mmsghdr) (int, unix.Errno)
}

func recvmmsg(fd uintptr, ms []unix.Mmsghdr) (int, unix.Errno) {
	return mmsg(unix.SYS_RECVMMSG, fd, ms)
}

func sendmmsg(fd uintptr, ms []unix.Mmsghdr) (int, unix.Errno) {
	return mmsg(unix.SYS_SENDMMSG, fd, ms)
}

func mmsg(trap, fd uintptr, ms []unix.Mmsghdr) (int, unix.Errno) {
	for {
		n, _, errno := unix.Syscall6(trap, fd, uintptr(unsafe.Pointer(&ms[0])), uintptr(len(ms)), unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case 0:
			return int(n), 0
		case unix.EINTR:
		default:
			return 0, errno
		}
	}
}

// A batch is the messages of one system call and all that they point to. It is
// pooled, for it is needed only during calls, of which 10,000 idle sockets have
// none.
type batch struct {
	msgs  [batchSize]unix.Mmsghdr
	iovs  [batchSize]unix.Iovec
	oobs  [batchSize][oobWords]uint64 // aligned as a Cmsghdr is
	names [batchSize]unix.RawSockaddrInet6
	bufs  [batchSize]*buf.Buf // of a reader
}

const (
	// batchSize is how many messages are sent per system call: of datagrams that
	// are trains of their own, sixteen at a time cost 1.25 µs each and one at a
	// time 1.6 (Linux 6.18, loopback).
	batchSize = 16
	// oobWords is room for UDP_GRO and SO_RXQ_OVFL, 24 bytes each, and for what
	// the socket's maker may have turned on: quic-go asks for the address (40 and
	// 32 bytes, both where an IPv6 socket hears IPv4) and the ECN bits (24).
	oobWords = 24
	oobBytes = oobWords * 8
)

var batches = sync.Pool{New: func() any { return new(batch) }}

// point makes message i carry p, to or from names[i] if named, with oob bytes of
// control data.
func (b *batch) point(i int, p []byte, named uint32, oob int) {
	v, h := &b.iovs[i], &b.msgs[i].Hdr
	v.Base = unsafe.SliceData(p)
	v.SetLen(len(p))
	*h = unix.Msghdr{Iov: v}
	h.SetIovlen(1)
	if named > 0 {
		h.Name, h.Namelen = (*byte)(unsafe.Pointer(&b.names[i])), named
	}
	if oob > 0 {
		h.Control = (*byte)(unsafe.Pointer(&b.oobs[i]))
		h.SetControllen(oob)
	}
}

// clear lets go of the content of the first n messages.
func (b *batch) clear(n int) {
	for i := range n {
		b.iovs[i].Base = nil
	}
}

func (b *batch) oob(i int) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(&b.oobs[i])), oobBytes)
}

// segment asks for message i to be cut into datagrams of size bytes, and returns
// the length of the control data that says so, which carries a 16-bit number.
func (b *batch) segment(i, size int) int {
	h := (*unix.Cmsghdr)(unsafe.Pointer(&b.oobs[i]))
	h.Level, h.Type = unix.IPPROTO_UDP, unix.UDP_SEGMENT
	h.SetLen(unix.CmsgLen(2))
	binary.NativeEndian.PutUint16(b.oob(i)[unix.CmsgLen(0):], uint16(size))
	return unix.CmsgSpace(2)
}

// arrival is what control data tells of a message.
type arrival struct {
	size    int    // of its datagrams, 0: it is one
	dropped uint32 // by the socket so far; 0 may also mean that nothing was said
}

// arrival reads the control data of message i.
func (b *batch) arrival(i int) (a arrival) {
	for p := b.oob(i)[:b.msgs[i].Hdr.Controllen]; len(p) >= unix.SizeofCmsghdr; {
		h, data, rest, err := unix.ParseOneSocketControlMessage(p)
		if err != nil {
			break
		}
		switch {
		case len(data) < 4: // both are of 32 bits, UDP_GRO a C int
		case h.Level == unix.IPPROTO_UDP && h.Type == unix.UDP_GRO:
			a.size = int(int32(binary.NativeEndian.Uint32(data)))
		case h.Level == unix.SOL_SOCKET && h.Type == unix.SO_RXQ_OVFL:
			a.dropped = binary.NativeEndian.Uint32(data)
		}
		p = rest
	}
	return a
}

// keepIP appends to p what the control data of message i says of IP: how it was
// addressed and marked.
func (b *batch) keepIP(i int, p []byte) []byte {
	for all := b.oob(i)[:b.msgs[i].Hdr.Controllen]; len(all) >= unix.SizeofCmsghdr; {
		h, _, rest, err := unix.ParseOneSocketControlMessage(all)
		if err != nil {
			break
		}
		if h.Level == unix.IPPROTO_IP || h.Level == unix.IPPROTO_IPV6 {
			p = append(p, all[:len(all)-len(rest)]...)
		}
		all = rest
	}
	return p
}

// name writes peer to names[i] as an address of the socket's family, and returns
// its length, or 0 if it has none there.
func (b *batch) name(i int, peer netip.AddrPort, v6 bool, scope uint32) uint32 {
	a := peer.Addr()
	if !a.IsValid() {
		return 0
	}
	port := binary.BigEndian.AppendUint16(make([]byte, 0, 2), peer.Port())
	network := binary.NativeEndian.Uint16(port)
	if v6 {
		b.names[i] = unix.RawSockaddrInet6{Family: unix.AF_INET6, Port: network, Addr: a.As16(), Scope_id: scope}
		return unix.SizeofSockaddrInet6
	}
	if a = a.Unmap(); !a.Is4() {
		return 0
	}
	*(*unix.RawSockaddrInet4)(unsafe.Pointer(&b.names[i])) =
		unix.RawSockaddrInet4{Family: unix.AF_INET, Port: network, Addr: a.As4()}
	return unix.SizeofSockaddrInet4
}

// peer reads names[i], without its zone, whose number it returns.
func (b *batch) peer(i int) (netip.AddrPort, uint32) {
	sa := &b.names[i]
	port := binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(make([]byte, 0, 2), sa.Port))
	switch sa.Family {
	case unix.AF_INET:
		four := (*unix.RawSockaddrInet4)(unsafe.Pointer(sa))
		return netip.AddrPortFrom(netip.AddrFrom4(four.Addr), port), 0
	case unix.AF_INET6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr).Unmap(), port), sa.Scope_id
	}
	return netip.AddrPort{}, 0
}
