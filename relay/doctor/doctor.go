// Package doctor is `relaymux doctor`: it goes each leg of the way from a proxy to
// its node by itself, and says which one is broken, and what to do about it.
//
// The files: client (the deployments of a proxy, leg by leg), tcp (name, connection
// and TLS), hello (what comes of a handshake of the link: it tells the relay, the
// node and the secret apart), meaning (whose fault a failure is), udp and dial (the
// other legs), node (what can be said of a node's config on the node's machine), and
// print.
package doctor

import "time"

// Status is the outcome of a leg.
type Status string

// The outcomes. A Warning does not keep connections from working.
const (
	OK      Status = "ok"
	Warning Status = "warning"
	Broken  Status = "broken"
	Skipped Status = "skipped"
)

// The legs of a deployment, in their order.
const (
	LegName    = "name"    // its host's address is found
	LegConnect = "connect" // there is a TCP connection
	LegTLS     = "tls"     // the server is the one that it should be
	LegRelay   = "relay"   // the relay does what it should
	LegNode    = "node"    // the node is reached through it
	LegSecret  = "secret"  // the node knows the secret, or on the JSON wire the key
	LegDial    = "dial"    // the node connects to a target
	LegUDP     = "udp"     // HTTP/3 gets through
)

// A Leg is one step of the way.
type Leg struct {
	Name   string  `json:"leg"`
	Status Status  `json:"status"`
	Millis float64 `json:"ms"`
	Detail string  `json:"detail,omitempty"`
	Remedy string  `json:"remedy,omitempty"`
}

// A Finding is what was found out about one deployment, or the node.
type Finding struct {
	Name string `json:"name"`
	Legs []Leg  `json:"legs"`
}

// A Report is all findings.
type Report struct {
	Findings []Finding `json:"findings"`
}

// FirstBroken is the first leg that is broken, with the name of its finding; nil if
// none is.
func (r *Report) FirstBroken() (name string, leg *Leg) {
	for i := range r.Findings {
		if l := r.Findings[i].broken(); l != nil {
			return r.Findings[i].Name, l
		}
	}
	return "", nil
}

func (f *Finding) broken() *Leg {
	for i := range f.Legs {
		if f.Legs[i].Status == Broken {
			return &f.Legs[i]
		}
	}
	return nil
}

func (f *Finding) add(l Leg) { f.Legs = append(f.Legs, l) }

// since is what a leg took.
func since(began time.Time) float64 {
	return float64(time.Since(began).Round(10*time.Microsecond)) / float64(time.Millisecond)
}
