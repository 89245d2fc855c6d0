package wire

import "encoding/binary"

// IsSTUNPort knows the ports of RFC 8489, section 18.6, and the one of the
// server that most of WebRTC's examples name. It is for block_stun, at both ends.
func IsSTUNPort(port uint16) bool { return port == 3478 || port == 5349 || port == 19302 }

// IsSTUN tells a STUN message by its form (RFC 8489, section 5): two zero bits,
// a length of what follows the header of 20 bytes, in words, and the cookie.
func IsSTUN(p []byte) bool {
	const header, cookie = 20, 0x2112A442
	return len(p) >= header && p[0]>>6 == 0 && len(p)%4 == 0 &&
		int(binary.BigEndian.Uint16(p[2:])) == len(p)-header &&
		binary.BigEndian.Uint32(p[4:]) == cookie
}
