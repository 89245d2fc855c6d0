package stats

import "sync/atomic"

// Route counts the flows, TCP and UDP, that rules keep out of the tunnel.
type Route struct {
	Direct     atomic.Uint64 // connected from this machine, since the start
	DirectOpen atomic.Int64
	Blocked    atomic.Uint64
}
