package stats

import "sync/atomic"

// UDP counts the datagrams of one side, the proxy or the node.
type UDP struct {
	Flows     atomic.Uint64 // UDP flows, or sessions, since the start
	FlowsOpen atomic.Int64

	Sent, Received Trains // of the sockets towards applications, or targets

	Fallback [Fallbacks]atomic.Uint64 // trains that went out as single datagrams, by reason
	Dropped  [Drops]atomic.Uint64     // datagrams, by reason
}

// Trains counts system calls' worth of datagrams: Datagrams/Trains is what
// segmentation offload gains.
type Trains struct {
	Trains, Datagrams, Bytes atomic.Uint64
}

// Add counts one train.
func (t *Trains) Add(datagrams, bytes int) {
	t.Trains.Add(1)
	t.Datagrams.Add(uint64(datagrams))
	t.Bytes.Add(uint64(bytes))
}

// Drop counts n datagrams that were not carried.
func (u *UDP) Drop(why Drop, n int) { u.Dropped[why].Add(uint64(n)) }

// Drop is why a datagram was not carried. Its text is the label of the metric.
type Drop uint8

const (
	DropHeader   Drop = iota // shorter than its header says, or of an unknown address type
	DropFragment             // FRAG is not 0 (RFC 1928, section 7)
	DropSource               // from somebody else than the association's application
	DropName                 // no datagram can lead to its destination, or it is this program
	DropQUIC                 // block_quic
	DropSTUN                 // block_stun
	DropTooLarge             // fits no body, or no datagram of the application's address family
	DropQueue                // the oldest of a full queue
	DropStale                // waited for longer than stale
	DropRelay                // its exchange failed
	DropSocket               // the system did not send it
	DropOverflow             // the system's receive queue was full
	DropEnded                // its flow ended while it waited
	DropDenied               // the node's egress policy
	DropBlocked              // a rule of [route] block
	DropCut                  // the system gave only a part of it, or not where it ends
	Drops                    // how many there are
)

func (d Drop) String() string { return dropText[d] }

var dropText = [Drops]string{
	"header", "fragment", "source", "name", "quic", "stun", "too_large",
	"queue", "stale", "relay", "socket", "overflow", "ended", "denied", "blocked", "cut",
}

// Fallback is why a train went out as single datagrams.
type Fallback uint8

const (
	FallbackSize        Fallback = iota // EMSGSIZE: larger than the path's MTU allows in a train
	FallbackInvalid                     // EINVAL: the system, or the route, does not take it
	FallbackDevice                      // EIO: the device cannot compute the checksums
	FallbackUnsupported                 // the socket does not know segmentation offload
	FallbackKernel                      // a kernel that is known to corrupt trains
	Fallbacks                           // how many there are
)

func (f Fallback) String() string { return fallbackText[f] }

var fallbackText = [Fallbacks]string{"size", "invalid", "device", "unsupported", "kernel"}
