package exit

import (
	"encoding/binary"
	"errors"
	"net/netip"

	"relaymux/mux/buf"
)

// udpgw, as tun2proxy and mhrv-rs speak it, carries datagrams in a TCP stream.
// All numbers are big-endian; LEN counts what comes after it:
//
//	| LEN | FLAGS | CONN_ID | ATYP | ADDR | PORT | DATA
//	   2      1        2        1     var.    2    var.
//
//	0003   01     0007                                     keepalive
//	000c   02     0007     01   08080808 0035 aabb         to 8.8.8.8:53
//	0003   20     0007                                     it could not be carried
//
// ATYP is that of SOCKS5 (RFC 1928 section 5): 01 IPv4, 03 a name after its
// length, 04 IPv6. ATYP, ADDR and PORT are there in data frames alone, those back
// too, which repeat what the client wrote. A client chooses CONN_ID for each of
// its flows.
const (
	flagKeepalive = 0x01
	flagData      = 0x02
	flagError     = 0x20

	frameHead = 3                // FLAGS and CONN_ID: the least that LEN may say
	maxFrame  = buf.Max - lenLen // and the most, which holds 65,507 bytes to any IPv4 address
	lenLen    = 2
)

// errFrame ends a stream: where its next frame begins is unknown.
var errFrame = errors.New("exit: a udpgw frame of an impossible length")

// frameSize returns how long the frame is that p begins with, LEN included, or 0
// if p is too short to tell.
func frameSize(p []byte) (int, error) {
	if len(p) < lenLen {
		return 0, nil
	}
	n := int(binary.BigEndian.Uint16(p))
	if n < frameHead || n > maxFrame {
		return 0, errFrame
	}
	return lenLen + n, nil
}

// An assembler cuts a stream into frames, in whatever pieces it comes. Between
// two frames it has no buffer.
type assembler struct {
	claim claim
	b     *buf.Buf // a frame that has begun
	size  int      // how long it is going to be, 0: not known yet
}

// next consumes the beginning of p, which is not empty. When that completes a
// frame, it returns it without its LEN; it is good until the next call.
func (a *assembler) next(p []byte) (frame []byte, used int, err error) {
	if a.b != nil && a.size > 0 && len(a.b.B) == a.size {
		a.drop()
	}
	if a.b == nil {
		size, err := frameSize(p)
		if err != nil {
			return nil, 0, err
		}
		if size > 0 && size <= len(p) {
			return p[lenLen:size], size, nil
		}
		return nil, len(p), a.keep(p, size)
	}
	if a.size == 0 { // of LEN there is one byte
		head := []byte{a.b.B[0], p[0]}
		size, err := frameSize(head)
		if err != nil {
			return nil, 0, err
		}
		a.drop()
		return nil, 1, a.keep(head, size)
	}
	used = min(len(p), a.size-len(a.b.B))
	if a.b.B = append(a.b.B, p[:used]...); len(a.b.B) == a.size {
		frame = a.b.B[lenLen:]
	}
	return frame, used, nil
}

// keep begins a frame with p.
func (a *assembler) keep(p []byte, size int) error {
	b := buf.Get(max(size, len(p)))
	if !a.claim.allows(cap(b.B)) {
		b.Release()
		return errMemory
	}
	a.claim.charge(cap(b.B))
	b.B = append(b.B, p...)
	a.b, a.size = b, size
	return nil
}

// drop gives the buffer back.
func (a *assembler) drop() {
	if a.b != nil {
		a.claim.release(a.b)
		a.b, a.size = nil, 0
	}
}

// A frame is one of udpgw, taken apart.
type frame struct {
	flags byte
	id    []byte // CONN_ID
	path  []byte // CONN_ID, ATYP, ADDR and PORT; nil without, or of an unknown ATYP
	data  []byte
}

// parseFrame takes p apart, which is at least frameHead long and which the parts
// alias. The error is of an address that does not fit in.
func parseFrame(p []byte) (f frame, err error) {
	f.flags, f.id = p[0], p[1:frameHead]
	if f.flags&flagData == 0 || f.flags&flagKeepalive != 0 {
		return f, nil
	}
	rest := p[frameHead:]
	if len(rest) == 0 {
		return f, errFrame
	}
	n := 0
	switch rest[0] {
	case atypIPv4:
		n = 1 + 4 + 2
	case atypIPv6:
		n = 1 + 16 + 2
	case atypName:
		if len(rest) < 2 {
			return f, errFrame
		}
		n = 2 + int(rest[1]) + 2
	default:
		return f, nil
	}
	if n > len(rest) {
		return f, errFrame
	}
	f.path, f.data = p[1:frameHead+n], rest[n:]
	return f, nil
}

// The address types of SOCKS5.
const (
	atypIPv4 = 1
	atypName = 3
	atypIPv6 = 4
)

// port is where f goes to; it has a path.
func (f *frame) port() uint16 { return binary.BigEndian.Uint16(f.path[len(f.path)-2:]) }

// host is likewise, a name or the text of an address.
func (f *frame) host() string {
	addr := f.path[3 : len(f.path)-2]
	if f.path[2] == atypName {
		return string(addr[1:])
	}
	a, _ := netip.AddrFromSlice(addr)
	return a.String()
}

// appendFrame appends a frame whose path is CONN_ID and perhaps an address.
func appendFrame(dst []byte, flags byte, path, data []byte) []byte {
	dst = binary.BigEndian.AppendUint16(dst, uint16(1+len(path)+len(data)))
	dst = append(dst, flags)
	dst = append(dst, path...)
	return append(dst, data...)
}
