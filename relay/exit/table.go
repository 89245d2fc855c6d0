package exit

import (
	"errors"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// How long, and how many, ended sessions are remembered, so that an op that
// crossed the end on its way, or came twice, hears the same answer again. A
// minute is twice the longest exchange; 8192 of ~150 bytes are 1.2 MB.
const (
	rememberFor  = 60 * time.Second
	rememberMost = 8192
)

var (
	errStreams  = errors.New("too many connections at the node")
	errStopping = errors.New("the node is stopping")
)

// A table knows the sessions by their sid. Its lock is the innermost: nothing
// else is locked under it.
type table struct {
	mu     sync.Mutex
	most   int
	one    int                  // that one client may have; 0 is his share
	shared *atomic.Bool         // there are several clients
	live   map[owner]*clientUse // that have a socket or a dial, those being flushed included; streams of links too
	open   map[string]session   // that a client can name
	ended  map[string]ending
	order  []string // of ended, oldest first
	closed bool
}

// An owner has a socket, or a dial on its way to one.
type owner interface {
	// abort ends it without waiting for anything.
	abort()
}

// An ending is what is left of a session.
type ending struct {
	at      time.Time
	off     uint64 // bytes, or datagrams, delivered
	rst     bool
	failure string // "connect failed: ..." if it never was open
}

func newTable(most int) table {
	return table{
		most: most, live: make(map[owner]*clientUse),
		open: make(map[string]session), ended: make(map[string]ending),
	}
}

// add enters s of u, unless there are too many, and calls start under the lock, so
// that close either finds s or prevents it.
func (t *table) add(s session, u *clientUse, start func()) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.admit(s, u, start); err != nil {
		return err
	}
	t.open[s.key()] = s
	return nil
}

// addStream enters a stream of a link likewise, which nobody can name by a sid.
func (t *table) addStream(o owner, u *clientUse, start func()) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.admit(o, u, start)
}

func (t *table) admit(o owner, u *clientUse, start func()) error {
	if t.closed {
		return errStopping
	}
	if max(len(t.live), len(t.open)) >= t.most {
		return errStreams
	}
	if u.places >= mostOf(t.most, t.one, t.shared) {
		return errClientStreams
	}
	u.places++
	t.live[o] = u
	start()
	return nil
}

// find returns the session, or else what is remembered of it.
func (t *table) find(sid []byte) (s session, e ending, remembered bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s = t.open[string(sid)]; s != nil {
		return s, ending{}, false
	}
	e, remembered = t.ended[string(sid)]
	if remembered && time.Since(e.at) > rememberFor {
		remembered = false
	}
	return nil, e, remembered
}

// remove takes a session out and remembers how it ended. Only the first of
// several endings counts.
func (t *table) remove(id string, e ending) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.open[id] == nil {
		return
	}
	delete(t.open, id)
	e.at = time.Now()
	t.ended[id] = e
	t.order = append(t.order, id)
	t.forget(e.at)
}

// forget drops what is too old or too much.
func (t *table) forget(now time.Time) {
	n := 0
	for n < len(t.order) && (len(t.order)-n > rememberMost || now.Sub(t.ended[t.order[n]].at) > rememberFor) {
		delete(t.ended, t.order[n])
		n++
	}
	t.order = slices.Delete(t.order, 0, n)
}

// drop takes a session out without a trace: its client never learned the sid.
func (t *table) drop(id string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.open, id)
}

// freed makes room for another session: the socket of o is closed.
func (t *table) freed(o owner) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if u := t.live[o]; u != nil {
		u.places--
		delete(t.live, o)
	}
}

func (t *table) len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.open)
}

// all returns the sessions that are open now.
func (t *table) all() []session {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Collect(maps.Values(t.open))
}

// close refuses sessions from now on and returns those that are left, those
// included that no client can name any more.
func (t *table) close() []owner {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	return slices.Collect(maps.Keys(t.live))
}
