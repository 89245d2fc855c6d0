package socks

import (
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// What an association's flows may take. Each is a socket at the node, and a
// silent one still has to be asked whether something came: the sooner it ends,
// the fewer exchanges that is.
const (
	maxFlows = 256

	// newFlows is how many of them may be unanswered at the cost of those that
	// are answered; beyond, they push each other out. A program that looks for
	// its peers knocks at thousands of doors in a moment, and must not end its
	// own call.
	newFlows = maxFlows / 4
)

// How long a flow may be silent.
const (
	// dnsIdle: a resolver gives up after two attempts of 5 s (resolv.conf(5),
	// timeout and attempts), and the answer to a query is one datagram.
	dnsIdle = 10 * time.Second
	dnsPort = 53

	// newIdle is for a flow that was never answered, idle for one that was: a
	// NAT must not forget it for 2 minutes (RFC 4787, section 4.3), and no node
	// keeps it for longer.
	newIdle = time.Minute
	idle    = 2 * time.Minute

	// drainIdle is for all of them when the program stops.
	drainIdle = time.Second

	// sweepEvery is the shortest time between two looks at all flows.
	sweepEvery = time.Second
)

// flow is one destination of an association.
type flow struct {
	a     *association
	out   Flow
	port  uint16
	named bool   // the application wrote a name, and no IP literal
	head  []byte // in front of its replies
	key   string // in flows.by: the address of the canonical destination
	spelt string // in flows.spelt: as the application wrote it first, if otherwise

	up   time.Duration // when it was last sent on, since the association began; guarded by flows.mu
	down atomic.Int64  // when it last was answered, as up; 0: never
	gone bool          // guarded by flows.mu
}

// flows are the flows of an association. No method of a Flow is called while mu
// is held.
type flows struct {
	a *association

	mu       sync.Mutex
	by       map[string]*flow
	spelt    map[string]*flow // some of them a second time
	sweeper  *time.Timer
	due      time.Duration // when sweeper runs, as flow.up; 0: it does not
	draining bool
	closed   bool
}

// to returns the flow to where to leads, nil if nothing can. It is the reader's.
func (fs *flows) to(to address) *flow {
	fs.mu.Lock()
	f := fs.by[string(to)]
	if f == nil {
		f = fs.spelt[string(to)]
	}
	if f != nil {
		f.up = fs.now()
	}
	fs.mu.Unlock()
	if f != nil {
		return f
	}
	host, port, ok := fs.a.destination(to)
	if !ok {
		return nil
	}
	return fs.open(to, host, port)
}

// open returns the flow to host and port, which the application wrote as to.
func (fs *flows) open(to address, host string, port uint16) *flow {
	f := &flow{a: fs.a, port: port, key: string(appendHost(nil, host, port))}
	if f.named = f.key[0] == atypName; f.named {
		f.head = slices.Concat(make([]byte, addressAt), to)
	} else {
		f.head = slices.Concat(make([]byte, addressAt), []byte(f.key))
	}
	if string(to) != f.key {
		f.spelt = string(to)
	}
	if known := fs.makeRoom(f.key); known != nil {
		return known
	}
	fs.a.opened++
	f.out = fs.a.udp.Open(host, port, f.deliver, f.ended)
	fs.mu.Lock()
	defer fs.mu.Unlock()
	f.up = fs.now()
	if f.gone {
		return f // what is sent on it is dropped there, and counted
	}
	fs.insert(f)
	fs.wake(f.limit())
	return f
}

// makeRoom returns the flow that has the key, or else lets a further one in.
func (fs *flows) makeRoom(key string) *flow {
	fs.mu.Lock()
	if known := fs.by[key]; known != nil {
		known.up = fs.now()
		fs.mu.Unlock()
		return known
	}
	var out *flow
	if len(fs.by) >= maxFlows {
		out = fs.leastUsed()
		fs.remove(out)
	}
	fs.mu.Unlock()
	if out != nil {
		out.out.Close()
	}
	return nil
}

// leastUsed is the flow that goes when there are too many: of the unanswered
// ones if these are many, else of the answered ones, the one that was silent
// for the longest time. mu is held.
func (fs *flows) leastUsed() *flow {
	var unanswered, answered *flow
	n := 0
	for _, f := range fs.by {
		of := &answered
		if f.down.Load() == 0 {
			of = &unanswered
			n++
		}
		if *of == nil || f.used() < (*of).used() {
			*of = f
		}
	}
	if n > newFlows || answered == nil {
		return unanswered
	}
	return answered
}

// insert adds f. mu is held.
func (fs *flows) insert(f *flow) {
	if fs.by == nil {
		fs.by, fs.spelt = make(map[string]*flow), make(map[string]*flow)
	}
	fs.by[f.key] = f
	if f.spelt != "" {
		fs.spelt[f.spelt] = f
	}
}

// remove forgets f. Without any flow there are no maps either, and when the
// program stops no association. mu is held.
func (fs *flows) remove(f *flow) {
	f.gone = true
	if fs.by[f.key] == f {
		delete(fs.by, f.key)
		delete(fs.spelt, f.spelt)
	}
	if len(fs.by) > 0 {
		return
	}
	fs.by, fs.spelt = nil, nil
	if fs.draining {
		fs.a.c.Conn.Close()
	}
}

// wake sees to it that sweep runs in at most in. mu is held.
func (fs *flows) wake(in time.Duration) {
	if fs.draining {
		in = min(in, drainIdle)
	}
	at := fs.now() + in
	switch {
	case fs.closed || fs.due != 0 && fs.due <= at:
		return
	case fs.sweeper == nil:
		fs.sweeper = time.AfterFunc(in, fs.sweep)
	default:
		fs.sweeper.Reset(in)
	}
	fs.due = at
}

// sweep ends the flows that were silent for too long.
func (fs *flows) sweep() {
	var silent []*flow
	fs.mu.Lock()
	fs.due = 0
	now, next := fs.now(), idle
	for _, f := range fs.by {
		left := f.used() + f.limit() - now
		if fs.draining {
			left = f.used() + drainIdle - now
		}
		if left <= 0 {
			silent = append(silent, f)
		} else {
			next = min(next, left)
		}
	}
	for _, f := range silent {
		fs.remove(f)
	}
	if len(fs.by) > 0 {
		fs.wake(max(next, sweepEvery))
	}
	fs.mu.Unlock()
	for _, f := range silent {
		f.out.Close()
	}
}

// drain ends what is silent, and the association with its last flow.
func (fs *flows) drain() {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.draining = true
	if len(fs.by) == 0 {
		fs.a.c.Conn.Close()
		return
	}
	fs.wake(drainIdle)
}

// close ends all flows. None is opened any more.
func (fs *flows) close() {
	fs.mu.Lock()
	all := fs.by
	fs.by, fs.spelt, fs.closed = nil, nil, true
	if fs.sweeper != nil {
		fs.sweeper.Stop()
	}
	fs.mu.Unlock()
	for _, f := range all {
		f.out.Close()
	}
}

func (fs *flows) now() time.Duration { return time.Since(fs.a.begun) }

// used is when something last went either way. mu is held.
func (f *flow) used() time.Duration { return max(f.up, time.Duration(f.down.Load())) }

func (f *flow) limit() time.Duration {
	switch {
	case f.port == dnsPort:
		return dnsIdle
	case f.down.Load() == 0:
		return newIdle
	default:
		return idle
	}
}

// deliver takes replies. They come from the address that the node has found for
// a name, since there are applications that compare, or else from the name.
func (f *flow) deliver(from netip.Addr, pkts [][]byte) {
	f.down.Store(int64(max(time.Since(f.a.begun), 1)))
	var room [headerIPv6]byte
	head := f.head
	if f.named && from.IsValid() {
		head = appendIP(room[:addressAt], from, f.port)
	}
	f.a.reply(head, pkts)
}

func (f *flow) ended(error) {
	fs := &f.a.flows
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.remove(f)
}
