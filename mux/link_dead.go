package mux

import (
	"time"

	"relaymux/mux/wire"
)

// deadHosts remembers dials that failed, for a browser tries a host that does not
// answer two or three times, and each would cost an exchange.
type deadHosts struct{ by map[string]deadHost }

type deadHost struct {
	err   *wire.DialError
	until time.Time
}

// How long that is remembered, and of how many hosts. A node's policy may change, by
// the hand of who then tries the same again: of what it refuses only the burst that a
// page opens at once is spared.
const (
	deadFor   = 30 * time.Second
	deniedFor = time.Second
	deadMost  = 1024
)

func (d *deadHosts) add(host string, port uint16, err *wire.DialError) {
	if d.by == nil || len(d.by) >= deadMost {
		d.by = make(map[string]deadHost)
	}
	remember := deadFor
	if err.Reason == wire.Denied {
		remember = deniedFor
	}
	d.by[joinHostPort(host, port)] = deadHost{err, time.Now().Add(remember)}
}

func (d *deadHosts) find(host string, port uint16) *wire.DialError {
	if len(d.by) == 0 {
		return nil
	}
	at := joinHostPort(host, port)
	h, ok := d.by[at]
	if ok && time.Now().After(h.until) {
		delete(d.by, at)
		return nil
	}
	return h.err
}
