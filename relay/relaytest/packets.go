package relaytest

import (
	"encoding/binary"
	"io"
	"net"
)

// ServePackets runs handle for every datagram that c gets, whose payload it
// borrows, one after the other, and returns when c is closed.
func ServePackets(c net.PacketConn, handle func(c net.PacketConn, from net.Addr, p []byte)) {
	p := make([]byte, maxDatagram6)
	for {
		n, from, err := c.ReadFrom(p)
		if err != nil {
			return
		}
		handle(c, from, p[:n])
	}
}

// EchoPacket sends back what comes.
func EchoPacket(c net.PacketConn, from net.Addr, p []byte) {
	_, _ = c.WriteTo(p, from) // UDP promises nothing
}

// A BurstRequest is what Burst understands, in network byte order.
type BurstRequest struct {
	Count uint32 // of datagrams
	Size  uint32 // of each but the last
	Last  uint32 // size of the last
}

// Burst answers a BurstRequest with a train: all at once, each of BurstPacket.
func Burst(c net.PacketConn, from net.Addr, p []byte) {
	var r BurstRequest
	if _, err := binary.Decode(p, binary.BigEndian, &r); err != nil {
		return
	}
	for i := range r.Count {
		_, _ = c.WriteTo(r.Packet(i), from)
	}
}

// Packet is the i-th datagram of the answer: no two are the same.
func (r BurstRequest) Packet(i uint32) []byte {
	size := r.Size
	if i == r.Count-1 {
		size = r.Last
	}
	p := make([]byte, size)
	_, _ = io.ReadFull(noise(uint64(i), int64(size)), p)
	return p
}
