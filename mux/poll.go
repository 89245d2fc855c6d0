package mux

import "time"

// pollWait is how long a flow waits before it asks for more after an answer
// that brought n bytes. A pure function; rtt is 0 while it is unknown.
//
// After bulk there is more, so at once. After a little, the application most
// likely says something next, and the op that carries it brings the answer
// too: a poll sent meanwhile would be an exchange for nothing, and towards a
// stock node it would even stand in the way. After nothing, the question is
// still open, so at once again.
func pollWait(n int, rtt time.Duration, ours bool) time.Duration {
	const bulk = 64 << 10
	if n == 0 || n >= bulk {
		return 0
	}
	part := time.Duration(16)
	if !ours {
		part = 8
	}
	return min(rtt/part, 100*time.Millisecond)
}

// A UDP flow asks the more seldom the longer it has been silent: half as long as
// that, and within these. It need not be soon: what the application sends next
// brings what has come meanwhile, and so does any poll of another flow.
const (
	packetPause     = time.Second
	packetPauseMost = 32 * time.Second

	// packetPatience is how long, beside two round trips, a datagram may stay
	// without an answer and still be asked for all the time.
	packetPatience = 2 * time.Second
)

// A query of DNS has one answer, and nothing follows. Resolvers give up on it
// after 10 s (resolv.conf(5), timeout and attempts).
const (
	portDNS = 53
	dnsLate = 10 * time.Second
)

// packetWait is how long a UDP flow waits before it asks for more, or that it
// does not until it has sent something. n datagrams came with the last answer,
// which was a poll's or not; due were sent and have no answer; none came or
// went for so long as quiet. Pure.
func packetWait(n, due int, quiet, rtt time.Duration, poll bool, port uint16) (wait time.Duration, ok bool) {
	const flowing = 4 // more in one answer than a dialogue has
	dns := port == portDNS
	switch {
	case n >= flowing, n > 0 && due > 0, n > 0 && poll:
		return 0, true
	case dns && (due == 0 || quiet > dnsLate+2*rtt):
		return 0, false
	case due > 0 && (dns || quiet < packetPatience+2*rtt):
		return 0, true
	}
	return min(max(quiet/2, packetPause), packetPauseMost), true
}

// A flow's window is how many bytes it asks for at once. It follows what came
// last: all there can be during a download, little for a flow that says
// little, so that a thousand of those reserve nothing.
const (
	windowMost  = 16 << 20 // what a node drains of a session at most
	windowFirst = 1 << 20  // of a flow that was active just now
	windowLeast = 64 << 10 // an idle flow's; everyone may have that, budget or not
	windowUDP   = 4 << 20  // of a UDP flow: 20 Mbit/s at 1.5 s, and what its application can be given at once
	windowSign  = 512      // of a flow whose application does not read
)

// nextWindow is the window after an answer of n bytes to an op that allowed
// most, while the node has more bytes left. Pure.
func nextWindow(n, more, most int, poll bool) int {
	const stream = 256 << 10 // as much as says that more is on its way
	switch {
	case n >= stream || n >= most/4*3 && n > 0 || more > 0:
		return windowMost
	case n == 0 && poll:
		return windowLeast
	}
	return windowFirst
}

// pollMax cuts a window to what the memory budget has: never all that is
// free, for others ask too.
func pollMax(window int, free int64) int {
	if window <= windowLeast {
		return window
	}
	return int(max(min(int64(window), free/4), windowLeast))
}

// idleAge is how long an exchange must have been held to count as idle: longer
// than any answer that was on its way takes.
func idleAge(rtt time.Duration) time.Duration { return max(2*rtt, time.Second) }

// maxHolds is how many exchanges may be held by polls, of all the slots there
// are: half, and not the last one of several. Flows beyond that wait, and share the
// next poll that goes out.
func maxHolds(slots int) int { return max(1, min(slots/2, slots-1)) }
