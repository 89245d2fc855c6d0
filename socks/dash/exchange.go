package dash

import (
	"time"

	"relaymux/mux"
)

// Exchange is one that has ended, and where its time went. The parts from queued_ms to
// answer_ms follow each other, but that the relay's is there and back. What is not
// known is in the relay's: of the JSON wire all of the node's.
type Exchange struct {
	Deployment string    `json:"deployment"`
	Wire       string    `json:"wire"`    // link or json
	Kind       string    `json:"kind"`    // data; poll, if it only listened; hello, a handshake of the link
	Outcome    string    `json:"outcome"` // ok, timeout, quota, ...
	Began      time.Time `json:"began"`   // when it was sent
	Took       float64   `json:"took_ms"` // from then on

	Queued  float64 `json:"queued_ms"` // what the oldest of what it carried had waited here before
	Send    float64 `json:"send_ms"`   // until the request was handed down
	Relay   float64 `json:"relay_ms"`  // on the way, in the relay, and back
	Dial    float64 `json:"dial_ms"`   // at most, the node connecting to targets, and the first word of these
	Node    float64 `json:"node_ms"`   // the node waiting for data
	Answer  float64 `json:"answer_ms"` // from the answer's first byte to its last
	Reached int     `json:"reached"`   // targets of which it brought the first word

	Ops  int `json:"ops"`
	Up   int `json:"up_bytes"` // of bodies
	Down int `json:"down_bytes"`
}

func exchangeOf(x *mux.ExchangeSnapshot) Exchange {
	first := x.First
	if first <= 0 || first > x.Took {
		first = x.Took
	}
	wrote := min(x.Wrote, first)
	held := min(x.Held, first-wrote)
	dial := min(x.Dial, held)
	e := Exchange{
		Deployment: x.Deployment, Wire: oneOf(x.Link, "link", "json"), Kind: "data", Outcome: "ok", Began: x.Began, Took: milliseconds(x.Took),
		Queued: milliseconds(max(0, x.Queued)), Send: milliseconds(wrote), Relay: milliseconds(first - wrote - held),
		Dial: milliseconds(dial), Node: milliseconds(held - dial), Answer: milliseconds(x.Took - first),
		Reached: x.Reached, Ops: x.Ops, Up: x.Up, Down: x.Down,
	}
	switch {
	case x.Hello:
		e.Kind = "hello"
	case x.Poll:
		e.Kind = "poll"
	}
	if x.Kind != 0 {
		e.Outcome = x.Kind.String()
	}
	return e
}
