package doctor

import (
	"cmp"
	"context"
	"net/netip"
	"sync"
	"time"

	"relaymux/config"
	"relaymux/mux/link"
	"relaymux/relay"
	"relaymux/relay/fronted"
	"relaymux/relay/h3"
)

// A Deployment is one to be looked at.
type Deployment struct {
	fronted.Config      // its HTTP may be "3" too
	Link           bool // it carries the link, not the JSON wire
}

// direct reports whether d leads to the node itself, as far as can be told: on the link
// the node wants no key, but a Worker does.
func (d *Deployment) direct() bool {
	return (d.URL.Path == "" || d.URL.Path == "/") && (!d.Key.IsSet() || !d.Link)
}

// udp reports whether its exchanges may go by HTTP/3.
func (d *Deployment) udp() bool {
	return d.HTTP == "3" || (d.HTTP == "auto" || d.HTTP == "") && d.URL.Scheme == "https" && !d.Script()
}

// A Client is the proxy's side.
type Client struct {
	Deployments []Deployment
	Secret      link.Secret // of the link; not used where no deployment carries it
	Target      string      // host:port to have the node connect to; empty: none
	QUIC        h3.Config   // how UDP is to be used; its Config is each deployment's

	// Lookup finds addresses; nil asks the system.
	Lookup func(ctx context.Context, host string) ([]netip.Addr, error)
}

// mostAnswer bounds the wait for a relay, whatever its exchange_limit: it is asked for
// nothing that takes long.
const mostAnswer = 60 * time.Second

// Examine looks at all deployments at once. It takes at most about twice mostAnswer,
// and less if ctx ends.
func (c *Client) Examine(ctx context.Context) *Report {
	r := &Report{Findings: make([]Finding, len(c.Deployments))}
	var all sync.WaitGroup
	for i := range c.Deployments {
		d := c.Deployments[i] // a copy, which examine changes
		all.Go(func() { r.Findings[i] = c.examine(ctx, &d) })
	}
	all.Wait()
	return r
}

// An exam is of one deployment.
type exam struct {
	*Client
	d *Deployment
	Finding
}

func (c *Client) examine(ctx context.Context, d *Deployment) Finding {
	d.ExchangeLimit = min(cmp.Or(d.ExchangeLimit, mostAnswer), mostAnswer)
	e := &exam{Client: c, d: d, Finding: Finding{Name: d.Name}}
	if part := config.Placeholder(d.URL.String()); part != "" {
		e.add(Leg{Name: LegName, Status: Broken, Detail: "the url still has " + part + " in it",
			Remedy: "put the relay's address in its place, of a script the deployment id: url of the [[deployment]]"})
		return e.Finding
	}
	udp := e.besides(ctx)
	var last Leg
	well := d.HTTP == "3" || e.name(ctx) && e.connect(ctx)
	switch {
	case d.HTTP == "3":
		last = <-udp.leg
		well = last.Status == OK
	case !well:
		switch last = udp.wait(udpFold); last.Status {
		case OK: // as http = "auto" would find out
			e.soften()
			d.HTTP, well = "3", true
		case Warning: // it is no way around TCP either
			last = Leg{Name: LegUDP, Status: Skipped, Detail: "no HTTP/3 there either"}
		}
	}
	if well {
		well = e.carry(ctx)
	} else {
		e.skip("not reached", LegRelay, LegNode, LegSecret)
	}
	if well {
		e.dial(ctx)
	} else {
		e.skip("not reached", LegDial)
	}
	if last.Name == "" {
		last = udp.wait(1)
	}
	e.add(last)
	return e.Finding
}

// soften makes warnings of what is broken by TCP alone.
func (e *exam) soften() {
	for i := range e.Legs {
		if l := &e.Legs[i]; l.Status == Broken {
			l.Status, l.Remedy = Warning, "nothing has to be done: HTTP/3 gets through. For TCP: "+l.Remedy
		}
	}
}

// skip adds legs that were not gone, unless they are there.
func (e *exam) skip(why string, legs ...string) {
	for _, name := range legs {
		e.add(Leg{Name: name, Status: Skipped, Detail: why})
	}
}

// A carrier is a transport of either kind.
type carrier interface {
	relay.Transport
	Script() bool
}

// transport is what carries the exchanges of the deployment; not http = "auto"'s
// choice, so that what is said of TCP is said of TCP.
func (e *exam) transport() (carrier, error) {
	if e.d.HTTP == "3" {
		return e.overUDP(e.d.ExchangeLimit)
	}
	return fronted.New(e.d.Config)
}

func (e *exam) overUDP(limit time.Duration) (carrier, error) {
	q := e.QUIC
	q.Config = e.d.Config
	q.ExchangeLimit = limit
	return h3.New(q)
}
