package wire

import "strings"

// Reason says why a destination could not be reached. The node finds it out, a
// RESULT's "e" text carries it, and the SOCKS code or HTTP status that the
// application sees comes from it.
type Reason uint8

const (
	OK              Reason = iota // connected
	Failed                        // did not work, and nothing more is known
	Refused                       // the target answered with RST
	NetUnreachable                // no route to the network
	HostUnreachable               // no route to the host
	TimedOut                      // no answer from the target in time
	NameNotFound                  // the name does not exist or has no address
	Denied                        // forbidden by a policy, the node's or our own
	RelayDown                     // no relay carried the request to the node
)

// reasonText is what our node writes after "connect failed: ".
var reasonText = [...]string{
	OK:              "connected",
	Failed:          "failed",
	Refused:         "connection refused",
	NetUnreachable:  "network is unreachable",
	HostUnreachable: "no route to host",
	TimedOut:        "connection timed out",
	NameNotFound:    "name not found",
	Denied:          "not allowed by the node's egress policy",
	RelayDown:       "no relay is available",
}

func (r Reason) String() string {
	if int(r) < len(reasonText) {
		return reasonText[r]
	}
	return "unknown reason"
}

// reasonWords are fragments of the error texts of nodes in the field, lower
// case: Rust's std::io::Error and tokio's resolver as well as ours. The wire
// has no code for them, so the text is all there is to go by.
var reasonWords = [...]struct {
	word string
	is   Reason
}{
	{"connection refused", Refused},
	{"network is unreachable", NetUnreachable},
	{"network unreachable", NetUnreachable},
	{"no route to host", HostUnreachable},
	{"host is unreachable", HostUnreachable},
	{"timed out", TimedOut},
	{"timeout", TimedOut},
	{"deadline has elapsed", TimedOut},
	{"lookup address", NameNotFound},
	{"name not found", NameNotFound},
	{"name or service not known", NameNotFound},
	{"no such host", NameNotFound},
	{"egress policy", Denied},
	{"not allowed", Denied},
}

// ReasonOf reads the reason out of a RESULT's error text. A text that names
// none of the known kinds is Failed.
func ReasonOf(e string) Reason {
	e = strings.ToLower(e)
	for _, w := range reasonWords {
		if strings.Contains(e, w.word) {
			return w.is
		}
	}
	return Failed
}

// DialError is the failure to reach a destination, as an error.
type DialError struct {
	Reason Reason
	Detail string // the node's own words, free of control characters; may be empty

	// Why is of RelayDown, in words that name no address and no deployment; may be
	// empty.
	Why string
}

func (e *DialError) Error() string {
	if e.Detail != "" {
		return e.Detail
	}
	return e.Reason.String()
}
