package exit

import "time"

// When a batch is answered. Clients of mhrv-rs count on 350 ms at most for a batch
// that writes, and give up a poll after 30 s. A way through a relay takes about
// 1.5 s, so it pays to wait a little for what would otherwise cost another.
const (
	// writeLimit is the longest that a batch with a write or a connect waits.
	writeLimit = 350 * time.Millisecond

	// settleStep is how long such a batch, once one session has news, waits
	// for those of the next. The origins of one page answer within 20..150 ms
	// of each other, one after the other.
	settleStep = 30 * time.Millisecond

	// settleShare is the part of a way through the relay that an exchange which
	// could be answered waits for more: for the second segment of an answer
	// whose first has just arrived. 3 ms of 1.5 s, where the segment would
	// cost another 1.5 s; nothing where a round trip takes no time.
	settleShare = 500

	// settleMost bounds that, and settleGuess is for a client that does not
	// tell its round trip.
	settleMost  = 5 * time.Millisecond
	settleGuess = 2 * time.Millisecond

	// settleYields is how often such an exchange lets others run at least. It
	// is in place of a timer below a millisecond, which would take one.
	settleYields = 2

	// settlePoll is how long a poll leaves news to the upload that is waiting
	// for it too, so that an upload and its echo go by one exchange and the
	// held poll stays held.
	settlePoll = 2 * time.Millisecond
)

// A sender that has filled its initial window goes on a round trip later, for
// that is TCP's slow start: between initialWindow (RFC 6928: ten segments, here
// of 1,200 bytes at least) and streaming, where more than one answer will be
// needed anyway, it pays to wait for that, if the way through the relay is
// patience times as long.
const (
	initialWindow = 10 * 1200
	streaming     = 256 << 10
	patience      = 4

	// dialMost bounds the round trip that a dial is taken for: looking up a
	// name may be a part of it.
	dialMost = 150 * time.Millisecond
)

// ripe returns how long after its latest byte a session that holds size bytes,
// whose target is rtt away, is likely to get no more; way is the round trip
// through the relay.
func ripe(size int, rtt, way time.Duration) time.Duration {
	if size < initialWindow || size >= streaming || rtt*patience > way {
		return 0
	}
	return rtt + rtt/4
}

type timing struct{ longPoll time.Duration }

// progress is how far the ops of a batch have got.
type progress struct {
	settle  time.Duration // how long news may wait for more
	polling bool          // only polls and closes
	open    int           // ops without an answer; beside writes and connects, polls do not count
	blocked int           // of open: their target does not read, and there is nothing else to wait for
	told    int           // have an answer that did not come from a target, as of an unknown session
	shared  bool          // another exchange looks at one of those with news too
	news    int           // sessions with data, an end, or the outcome of a dial

	since time.Duration // from the start of the exchange until news last grew
	first time.Duration // and until there was any
	ripe  time.Duration // and until the sessions with news are likely to get no more
}

// stage is how far one op has got.
type stage uint8

const (
	waiting stage = iota // nothing is there
	blocked              // its bytes wait for the target to read
	settled              // done, without anything to say
	told                 // its session's end was told before
	news                 // its session has something to tell
)

// count adds an op; urgent ops are those that the answer waits for.
func (p *progress) count(s stage, urgent bool) {
	switch s {
	case waiting, blocked:
		if urgent {
			p.open++
		}
		if urgent && s == blocked {
			p.blocked++
		}
	case told:
		p.told++
	case news:
		p.news++
	}
}

// settleFor is how long news may wait for more when the client says that an
// exchange takes rtt ms; 0: it does not say. Below a millisecond it is nothing.
func settleFor(rtt uint64) time.Duration {
	if rtt == 0 {
		return settleGuess
	}
	d := min(time.Duration(min(rtt, 1e6))*time.Millisecond/settleShare, settleMost)
	if d < time.Millisecond {
		return 0
	}
	return d
}

// left returns how much longer to wait, now being the age of the exchange; not
// more than 0 is to answer.
func (t timing) left(p *progress, now time.Duration) time.Duration {
	return t.due(p) - now
}

// due returns the age at which to answer if nothing changes.
func (t timing) due(p *progress) time.Duration {
	switch {
	case p.polling && p.told > 0:
		return 0
	case p.polling && p.news > 0:
		settle := p.settle
		if p.shared {
			settle += settlePoll
		}
		return min(max(p.since+settle, min(p.ripe, p.first+writeLimit)), t.longPoll)
	case p.open == 0 && p.news == 0:
		return 0
	case p.open == 0:
		return min(max(p.since+p.settle, p.ripe), writeLimit)
	case p.polling:
		return t.longPoll
	case p.news > 0:
		return min(max(p.since+settleStep, p.ripe), writeLimit)
	case p.blocked == p.open && p.told == 0:
		// Nobody is delayed by it but a client that sends faster than its
		// target reads: this is the wire's only way to slow it down.
		return t.longPoll
	}
	return writeLimit
}
