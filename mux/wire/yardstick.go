package wire

import "encoding/binary"

// The yardstick is a target inside the node, by which a client of it measures the way:
// it takes and sends as many bytes as it is asked to. Its address is for documentation
// (RFC 5737), so that it cannot be anybody's.
//
// A connection to it is any number of requests, one after the other: how many bytes
// follow, and how many to answer with once these have come, each in 8 bytes, big endian.
const (
	YardstickHost = "192.0.2.1"
	YardstickPort = 7301

	// YardstickHead is the length of what begins a request.
	YardstickHead = 16
)

// AppendYardstick appends what begins a request of up bytes with an answer of down.
func AppendYardstick(dst []byte, up, down uint64) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(dst, up), down)
}

// ParseYardstick is the inverse; head has YardstickHead bytes.
func ParseYardstick(head []byte) (up, down uint64) {
	return binary.BigEndian.Uint64(head), binary.BigEndian.Uint64(head[8:])
}
