// Package stats holds the program's counters as plain structs. Whoever counts
// is handed one; nothing is global, so that two proxies in one process, or two
// tests, do not mix.
package stats

import "sync/atomic"

// Outcomes is more than relay.Kind has values; index 0 is a good answer.
const Outcomes = 24

// Mux counts what the client side carries.
type Mux struct {
	Flows     atomic.Uint64 // TCP flows opened since the start
	FlowsOpen atomic.Int64
	Up, Down  atomic.Uint64 // payload bytes taken from and delivered to applications,
	UpUDP     atomic.Uint64 // of which in datagrams: counted after the former, so that who
	DownUDP   atomic.Uint64 // reads these before those finds no more than there are
	Exchanges atomic.Uint64 // requests sent, of all deployments
	Ops       atomic.Uint64 // ops sent; Ops/Exchanges tells how well they were gathered
	Polls     atomic.Uint64 // exchanges that only asked for data
	Resent    atomic.Uint64 // ops sent again after a failed exchange; by the link, bytes

	Hedged    atomic.Uint64 // exchanges of the link whose content went another way too, for they were slow
	Suspected atomic.Uint64 // exchanges of the link that were given up for being silent
	Forged    atomic.Uint64 // records of the link that were not the node's, or came twice
}

// Deployment counts one deployment's exchanges.
type Deployment struct {
	Outcome  [Outcomes]atomic.Uint64 // by relay.Kind; 0: a good answer
	Up, Down atomic.Uint64           // bytes of bodies
}
