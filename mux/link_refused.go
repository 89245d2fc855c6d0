package mux

import (
	"slices"
	"strings"
	"time"

	"relaymux/relay"
)

// How soon a handshake follows one that failed: the sooner after which fewer have.
const (
	helloAgain     = 200 * time.Millisecond
	helloAgainMost = 30 * time.Second
)

// secretHint is what a handshake that nobody answers calls for.
const secretHint = "the secret under [link] must be that of one of the node's [[node.client]], and url and key must lead to the node"

// notTaken draws the consequences of a handshake that failed by x.
func (l *linkLoop) notTaken(x *linkExchange, now time.Time) {
	l.trying--
	f, d := x.failure, x.d
	if f.Kind == relay.Rejected && strings.HasPrefix(f.Detail, strangerWords) {
		f.Kind = relay.Refused
	}
	if (f.Kind == relay.Refused || f.Kind == relay.Rejected) && !x.unsupported {
		f.Hint = secretHint
	}
	x.repeated = d.refused && f.Kind == relay.Refused
	if l.otherWay(x, now) {
		l.again = now
		return
	}
	l.tries++
	l.again = now.Add(double(helloAgain, l.tries, helloAgainMost))
}

// strangerWords is how a node begins that says in text that it does not know the
// secret.
const strangerWords = "link refused"

// otherWay notes whether x's deployment has been refused for good, and reports whether
// there is another way that has not, which is tried at once.
func (l *linkLoop) otherWay(x *linkExchange, now time.Time) bool {
	d := x.d
	switch {
	case x.failure.Kind == relay.Cancelled:
		return false
	case x.failure.Kind != relay.Refused:
		d.refused = false
		return false
	case !d.Script && x.binary && !d.proven:
		d.text = true // perhaps it lets only the JSON wire's path through
		return true
	}
	d.text, d.refused = false, true
	return slices.ContainsFunc(l.ds, func(e *deployment) bool { return e != d && !e.refused && e.usable(now) })
}

// refused reports whether there is no link, and every deployment has been refused one
// for good, in whichever form its messages go: waiting would be for a person who puts
// it right. Handshakes go on meanwhile, as deployments that rest are tried again.
func (l *linkLoop) refused() bool {
	return l.conn == nil && len(l.ds) > 0 && !slices.ContainsFunc(l.ds, func(d *deployment) bool { return !d.refused })
}
