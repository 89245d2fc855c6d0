package socks

import (
	"encoding/binary"
	"net/netip"
)

// In front of every datagram of an association, both ways, stands a header
// (RFC 1928, section 7), and all of it is one UDP datagram:
//
//	RSV(2) FRAG(1) ATYP(1) ADDR(4 | 1+n | 16) PORT(2) DATA
const (
	addressAt = 2 + 1 // RSV FRAG

	headerIPv4 = addressAt + 1 + 4 + 2
	headerIPv6 = addressAt + 1 + 16 + 2
)

// The largest UDP datagrams, in bytes. The length field of IPv4 counts the
// headers of IP and UDP, that of IPv6 only the header of UDP.
const (
	maxIPv4 = 1<<16 - 1 - 20 - 8
	maxIPv6 = 1<<16 - 1 - 8
)

// An address is where a datagram goes to, or comes from, as its header says it:
// ATYP ADDR PORT.
type address []byte

// parseDatagram takes p apart, in place. It reports false when p is shorter
// than its header, or of an unknown address type. RSV may be anything.
func parseDatagram(p []byte) (frag byte, to address, payload []byte, ok bool) {
	if len(p) < addressAt+2 { // up to the length of a name
		return 0, nil, nil, false
	}
	var end int
	switch p[addressAt] {
	case atypIPv4:
		end = headerIPv4
	case atypIPv6:
		end = headerIPv6
	case atypName:
		end = addressAt + 2 + int(p[addressAt+1]) + 2
	default:
		return 0, nil, nil, false
	}
	if len(p) < end {
		return 0, nil, nil, false
	}
	return p[addressAt-1], p[addressAt:end:end], p[end:], true
}

func (a address) port() uint16 { return binary.BigEndian.Uint16(a[len(a)-2:]) }

// host is what the application wrote, a name or an IP literal.
func (a address) host() string {
	switch host := a[1 : len(a)-2]; a[0] {
	case atypIPv4:
		return netip.AddrFrom4([4]byte(host)).String()
	case atypIPv6:
		return netip.AddrFrom16([16]byte(host)).String()
	default:
		return string(host[1:])
	}
}

// appendHost appends the address of a canonical host.
func appendHost(b []byte, host string, port uint16) []byte {
	if ip, err := netip.ParseAddr(host); err == nil {
		return appendIP(b, ip, port)
	}
	b = append(b, atypName, byte(len(host)))
	b = append(b, host...)
	return binary.BigEndian.AppendUint16(b, port)
}

// appendIP appends the address of ip, in the form of IPv4 if it is mapped.
func appendIP(b []byte, ip netip.Addr, port uint16) []byte {
	if ip = ip.Unmap(); ip.Is4() {
		four := ip.As4()
		b = append(append(b, atypIPv4), four[:]...)
	} else {
		sixteen := ip.As16()
		b = append(append(b, atypIPv6), sixteen[:]...)
	}
	return binary.BigEndian.AppendUint16(b, port)
}

// quicPort is HTTP/3's. Without it browsers and applications go by TCP.
const quicPort = 443
