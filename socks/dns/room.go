package dns

import (
	"net"
	"net/netip"
	"sync"
	"time"

	"relaymux/mux/rule"
)

// waiting counts the queries that wait for the server. One program that asks for more
// than it gets answers to must not take all the places.
type waiting struct {
	mu  sync.Mutex
	all int
	by  map[netip.Prefix]int // by who asks (rule.Source); none is 0
}

// enter reports whether a query of source may wait; leave must follow then.
func (w *waiting) enter(source netip.Addr) bool {
	from := rule.Source(source)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.all >= maxQueries || w.by[from] >= maxQueriesOf {
		return false
	}
	w.all++
	w.by[from]++
	return true
}

func (w *waiting) leave(source netip.Addr) {
	from := rule.Source(source)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.all--
	if w.by[from]--; w.by[from] == 0 {
		delete(w.by, from)
	}
}

// A client is a connection of a program.
type client struct {
	net.Conn
	source netip.Addr

	// The rest is guarded by clients.mu.
	answering int       // of its queries
	since     time.Time // when it last asked, or came
}

// clients are those that are open. A further one takes the place of the one that has
// asked nothing for the longest: a program that needs it connects again (RFC 7766,
// section 6.2.3).
type clients struct {
	mu   sync.Mutex
	open map[*client]struct{}
}

// enter takes c in, and reports false when there is no room for it: all others, or all
// of its source, are being answered.
func (cs *clients) enter(c *client) bool {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	ofSource := func(o *client) bool { return rule.Source(o.source) == rule.Source(c.source) }
	of := 0
	for o := range cs.open {
		if ofSource(o) {
			of++
		}
	}
	if of >= maxConnsOf && !cs.makeRoom(ofSource) {
		return false
	}
	if len(cs.open) >= maxConns && !cs.makeRoom(func(*client) bool { return true }) {
		return false
	}
	c.since = time.Now()
	cs.open[c] = struct{}{}
	return true
}

// makeRoom closes the one of which that has asked nothing for the longest, and is not being
// answered, unless none is. mu is held.
func (cs *clients) makeRoom(which func(*client) bool) bool {
	var out *client
	for c := range cs.open {
		if which(c) && c.answering == 0 && (out == nil || c.since.Before(out.since)) {
			out = c
		}
	}
	if out == nil {
		return false
	}
	delete(cs.open, out)
	out.Conn.Close() // its reader sees the error
	return true
}

func (cs *clients) leave(c *client) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	delete(cs.open, c)
}

// begins and ended enclose the time in which a query of c is answered.
func (cs *clients) begins(c *client) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	c.answering++
	c.since = time.Now()
}

func (cs *clients) ended(c *client) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	c.answering--
}
