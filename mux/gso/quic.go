package gso

import (
	"net"

	"relaymux/mux/stats"
)

// NewQUIC returns u, which it owns from then on, as a socket for a quic.Transport
// of quic-go (v0.65), whose documentation says what such a socket may have beyond
// net.PacketConn.
//
// quic-go sends trains by itself, of at most 16 segments, but reads single
// datagrams, eight at a time. On Linux the result reads trains for it, and stands
// below its sends: a train that the system refuses goes out as single datagrams,
// where quic-go would end the connection, and a destination that refuses a few in
// a row gets no more of them. Elsewhere it is u with the buffers that o asks for.
func NewQUIC(u *net.UDPConn, o Options) net.PacketConn {
	if o.Stats == nil {
		o.Stats = new(stats.UDP)
	}
	return newQUIC(u, o)
}
