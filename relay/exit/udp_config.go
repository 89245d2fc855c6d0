package exit

import (
	"time"

	"relaymux/mux/stats"
	"relaymux/mux/wire"
)

// UDP is how a node carries datagrams. Its zero value is good, and drops nothing
// for its age.
type UDP struct {
	// GSO sends trains with one system call where the system can (mux/gso).
	// There is no GRO: these sockets are many, and each has little to read.
	GSO bool

	Stale time.Duration // what waits for longer when an answer is made is dropped; 0: nothing is
	Reap  time.Duration // a session without a datagram either way for so long ends, polled or not; 120 s

	// BlockQUIC refuses port 443, whereupon browsers use TCP, which gains
	// more from a relay. BlockAuto refuses it in udpgw, which is carried in
	// a TCP session already, and leaves it to the client elsewhere.
	BlockQUIC Block

	// BlockSTUN refuses STUN and its ports, by which WebRTC tells a page
	// which addresses there are.
	BlockSTUN bool

	// Stats is what is counted in; if nil, a struct of its own.
	Stats *stats.UDP
}

// Block is whether a kind of traffic is refused.
type Block uint8

const (
	BlockAuto Block = iota
	BlockOn
	BlockOff
)

const defaultUDPReap = 120 * time.Second

func (u UDP) withDefaults() UDP {
	orDefault(&u.Reap, defaultUDPReap)
	if u.Stats == nil {
		u.Stats = &stats.UDP{}
	}
	return u
}

// refuses reports whether a target at port is blocked, and as what; auto is what
// BlockAuto means there.
func (u *UDP) refuses(port uint16, auto bool) (stats.Drop, bool) {
	switch {
	case port == portHTTPS && (u.BlockQUIC == BlockOn || u.BlockQUIC == BlockAuto && auto):
		return stats.DropQUIC, true
	case u.BlockSTUN && wire.IsSTUNPort(port):
		return stats.DropSTUN, true
	}
	return 0, false
}

const portHTTPS = 443

// blocks is refuses, and whether a flow that begins with p is blocked for what is
// in p.
func (u *UDP) blocks(port uint16, auto bool, p []byte) (stats.Drop, bool) {
	if why, blocked := u.refuses(port, auto); blocked {
		return why, true
	}
	return stats.DropSTUN, u.refusesPayload(p)
}

// blockedText is what a client reads of a flow that was blocked as why.
func blockedText(why stats.Drop) string { return "not allowed: block_" + why.String() + " at the node" }

// refusesPayload reports whether a datagram is blocked for what is in it.
func (u *UDP) refusesPayload(p []byte) bool { return u.BlockSTUN && wire.IsSTUN(p) }
