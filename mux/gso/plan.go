package gso

import "net/netip"

// What one send may carry.
const (
	// maxSegments is what Linux takes since 6.9 (UDP_MAX_SEGMENTS, commit
	// 1382e3b6a350); before, it is oldSegments. A train of more than the
	// system's own limit is cut by the Conn when it goes out.
	maxSegments = 128
	oldSegments = 64

	// maxPacket is the total length of an IPv4 packet and the payload length of
	// an IPv6 one, 16 bits each (RFC 791, RFC 8200). The IPv6 header is not part
	// of its payload, so that an IPv6 datagram may be longer by 20.
	maxPacket = 65535
	headers4  = 20 + 8
	headers6  = 8
)

// headersTo is what counts towards maxPacket besides the datagrams. A v4-mapped
// peer is reached by IPv4, whatever the socket's family, and a connected
// socket's peer, which is not named, may be.
func headersTo(peer netip.AddrPort) int {
	if a := peer.Addr(); !a.IsValid() || a.Is4() || a.Is4In6() {
		return headers4
	}
	return headers6
}

// most is how many bytes a train of segments of size bytes may have: both caps,
// combined. It is 0 if not even one such segment fits: such a datagram is a
// train of its own, for the system to refuse.
func most(size, headers, segments int) int {
	if size <= 0 {
		return 0
	}
	return size * min(segments, (maxPacket-headers)/size)
}

// joins reports whether a datagram of n bytes may become the next one of a train
// of total bytes in segments of size: while every segment so far is full, if it
// is not larger than they are, and if the whole stays within cap bytes. A
// shorter one seals the train, and an empty one has no place in any, for the
// system sees only where bytes end.
func joins(size, total, n, cap int) bool {
	return n > 0 && n <= size && total%size == 0 && total+n <= cap
}

// A cursor stands between datagrams of trains that are to be sent.
type cursor struct {
	train  int  // the next one
	offset int  // of its next datagram
	alone  bool // the rest of this train goes as single datagrams
}

// A message is what one message to the system carries: bytes from..to of a
// train.
type message struct {
	train    int
	from, to int
	count    int // of datagrams
}

// next returns the message that follows and steps behind it. As many datagrams
// as fit go together, or one if the train is to go alone.
func (c *cursor) next(t *Train, headers, segments int) message {
	m := message{train: c.train, from: c.offset, to: len(t.Buf.B), count: 1}
	if t.Size > 0 && m.to-m.from > t.Size {
		whole := t.Size
		if !c.alone {
			whole = max(whole, most(t.Size, headers, segments))
		}
		m.to = min(m.to, m.from+whole)
		m.count = (m.to - m.from + t.Size - 1) / t.Size
	}
	if m.to == len(t.Buf.B) {
		*c = cursor{train: c.train + 1}
	} else {
		c.offset = m.to
	}
	return m
}
