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

// pollMax is how many bytes a poll may ask for, given what is free in the
// memory budget: never all of it, for others ask too.
func pollMax(free int64) int {
	const most, least = 16 << 20, 64 << 10
	return int(min(max(free/4, least), most))
}

// maxHolds is how many exchanges may be held by polls, of all the slots there
// are: half, and never the last one. Flows beyond that wait, and share the
// next poll that goes out.
func maxHolds(slots int) int { return max(1, min(slots/2, slots-1)) }
