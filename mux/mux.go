// Package mux carries many flows by few exchanges.
//
// Words: an application's flow is one TCP connection or one UDP pair, that is
// what it exchanges with one destination. It becomes ops; a batch of ops is the body of one exchange, a request
// and its answer; an exchange goes through a deployment, one relay URL, and
// takes one of the slots that the deployment's account has. A hold is an
// exchange that only asks for data, and that the node keeps open until there
// is some.
//
// One goroutine, the loop, knows what every flow wants and decides what goes
// into which exchange, when, and through which deployment (loop.go, and the
// pure decisions in batch.go, pick.go, poll.go). It never blocks: each
// exchange has a worker (worker.go), which encodes, waits for the relay,
// decodes in place and hands the payload to the flows. Streams (stream.go,
// relay.go; tcp.go is what the loop knows of them) and UDP flows (udp.go,
// packets.go) are the applications' side.
package mux

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"relaymux/mux/buf"
	"relaymux/mux/stats"
	"relaymux/mux/wire"
	"relaymux/relay"
)

// Config is what a Mux is made of.
type Config struct {
	Deployments  []Deployment // at least one
	MaxOps       int          // ops of one batch, at least 1; with 1 no poll goes along with others
	MaxBytes     int          // encoded bytes of one body
	CoalesceStep time.Duration
	CoalesceMax  time.Duration

	// Memory bounds what buffers hold, in bytes: half is for what has arrived
	// and its application has not taken, a quarter for what is on its way up,
	// a quarter, and what is free of that half, for answers that are coming in. Every flow may have a little in any case (64 KiB
	// each way), for without it nothing would move.
	Memory int64

	// Stale is the age at which a waiting datagram is dropped; 0 keeps them all.
	Stale time.Duration

	// Link is for the deployments that carry the native link. Without it all of
	// them speak the JSON wire.
	Link *Link

	Log   *slog.Logger
	Stats *stats.Mux // may be nil
	UDP   *stats.UDP // may be nil
}

// A Mux carries flows. Its methods are safe for concurrent use.
type Mux struct {
	log    *slog.Logger
	stats  *stats.Mux
	udp    *stats.UDP
	stale  time.Duration
	memory int64       // bytes that may be used in all: half for budget, a quarter each for uploads and bodies
	budget *buf.Budget // payload that waits in inboxes, or that polls may bring

	unacked *buf.Budget // of the link: on its way up
	answers *buf.Budget // that are coming in, see claim.take

	promised atomic.Int64 // of what is charged to budget: nothing has come of it yet

	heavies *semaphore.Weighted // who may keep a core busy

	done    chan *exchange // a slot came free
	quit    chan struct{}  // closed: no new flows, end the old ones
	stopped chan struct{}  // closed: the loops have ended
	ctx     context.Context
	cancel  context.CancelFunc // ends the exchanges

	outMost atomic.Int64 // bytes that a flow may have on their way up

	mu      sync.Mutex
	flows   map[*flow]struct{} // all that the loop has not let go of
	live    int                // of which are not over yet
	streams int                // of which are TCP
	opened  uint64             // all that there were
	closing bool
	drained chan struct{} // not nil: somebody waits for streams to be 0

	complained atomic.Int64 // when the log heard of a refused UDP flow, UnixNano

	loop loop      // of the JSON wire
	link *linkLoop // nil without a Link
}

// New returns a Mux that runs until Close. The deployments' transports are
// borrowed.
func New(c Config) *Mux {
	m := &Mux{
		log: c.Log, stats: c.Stats, udp: c.UDP, stale: c.Stale,
		memory:  c.Memory,
		budget:  buf.NewBudget(c.Memory / 2),
		unacked: buf.NewBudget(c.Memory / 4),
		answers: buf.NewBudget(c.Memory / 4 * 3),
		heavies: semaphore.NewWeighted(int64(max(1, runtime.GOMAXPROCS(0)-1))),
		quit:    make(chan struct{}),
		stopped: make(chan struct{}),
		flows:   make(map[*flow]struct{}),
	}
	if m.stats == nil {
		m.stats = new(stats.Mux)
	}
	if m.udp == nil {
		m.udp = new(stats.UDP)
	}
	if m.log == nil {
		m.log = slog.New(slog.DiscardHandler)
	}
	m.ctx, m.cancel = context.WithCancel(context.Background())
	var plain, linked []*deployment
	for _, d := range c.Deployments {
		if d.Stats == nil {
			d.Stats = new(stats.Deployment)
		}
		if d.Link && c.Link != nil {
			linked = append(linked, &deployment{Deployment: d})
		} else {
			plain = append(plain, &deployment{Deployment: d})
		}
	}
	how := pacing{step: c.CoalesceStep, max: c.CoalesceMax, maxOps: c.MaxOps}
	var loops sync.WaitGroup
	m.startLoop(plain, how, c.MaxBytes, &loops)
	if c.Link != nil {
		m.link = newLinkLoop(m, *c.Link, linked, how, c.MaxBytes)
		loops.Go(m.link.run)
	}
	go func() {
		loops.Wait()
		m.cancel()
		close(m.stopped)
	}()
	return m
}

// startLoop starts the loop of the JSON wire.
func (m *Mux) startLoop(ds []*deployment, how pacing, maxBytes int, loops *sync.WaitGroup) {
	l := &m.loop
	l.m, l.lane, l.ds, l.pacing, l.maxBytes = m, newLane(len(ds)), ds, how, maxBytes
	// Room for about all exchanges there can be: a worker hardly ever waits.
	m.done = make(chan *exchange, slotsOf(ds))
	l.launch = func(x *exchange) { go m.carry(x) }
	loops.Go(l.run)
}

// slotsOf is how many slots the deployments' accounts have together.
func slotsOf(ds []*deployment) int { return sumOf(ds, func(a *Account) int { return a.slots }) }

// mostOf is slotsOf, less what other devices take of them.
func mostOf(ds []*deployment) int { return sumOf(ds, (*Account).most) }

// sumOf adds up a number of each account.
func sumOf(ds []*deployment, of func(*Account) int) (n int) {
	for i, d := range ds {
		if !slices.ContainsFunc(ds[:i], func(e *deployment) bool { return e.Account == d.Account }) {
			n += of(d.Account)
		}
	}
	return n
}

// laneOf is where a new flow goes: by the link if a deployment carries it, unless all
// those rest and there are others.
func (m *Mux) laneOf() *lane {
	switch {
	case m.link == nil || m.link.lane.ways.Load() == 0:
		return m.loop.lane
	case m.link.resting.Load() && m.loop.lane.ways.Load() > 0:
		m.link.missed.Store(true)
		return m.loop.lane
	}
	return m.link.lane
}

// Open returns a stream to host and port, which have been validated: a name
// of letters, digits, dots and hyphens, or an IP literal without brackets. It
// does not wait; Stream.Wait does.
func (m *Mux) Open(host string, port uint16) *Stream {
	s := newStream(m, host, port)
	m.stats.Flows.Add(1)
	m.stats.FlowsOpen.Add(1)
	s.fl.lane = m.laneOf()
	if !m.enter(&s.fl.flow) {
		s.end(ErrStopped, false)
	}
	return s
}

// enter makes f live, and reports whether the loop will hear of it: not when
// the Mux is being closed.
func (m *Mux) enter(f *flow) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.live++
	m.opened++
	f.id, f.born = m.opened, time.Now()
	if f.kind == wire.Data {
		m.streams++
	}
	m.shareOut()
	if m.closing {
		return false
	}
	m.flows[f] = struct{}{}
	return true
}

// Dial is Open as a dial function: the connection opens with what is written
// to it first, or after a moment without. Failures come out of Read and Write.
func (m *Mux) Dial(ctx context.Context, host string, port uint16) (net.Conn, error) {
	s := m.Open(host, port)
	time.AfterFunc(firstWait, s.start)
	return s, nil
}

// forget lets a flow go. The loop calls it, once for each.
func (m *Mux) forget(f *flow) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.flows, f)
}

// shareOut divides a quarter of the memory among the live flows, for what is on
// its way up: each may have what two ops take, or a read at least. m.mu is held.
func (m *Mux) shareOut() {
	share := m.memory / 4 / int64(max(m.live, 1))
	m.outMost.Store(min(max(share, buf.Max), outLimit))
}

// ended counts a flow that is over for its application. What the node has to
// hear of that may still wait for company.
func (m *Mux) ended(f *flow) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.live--
	m.shareOut()
	if f.kind == wire.UDPData {
		m.udp.FlowsOpen.Add(-1)
		return
	}
	m.stats.FlowsOpen.Add(-1)
	m.streams--
	if m.streams == 0 && m.drained != nil {
		close(m.drained)
		m.drained = nil
	}
}

// Drain returns when all streams are over, or when ctx is done; UDP flows have
// no end to wait for. Only one may wait.
func (m *Mux) Drain(ctx context.Context) {
	m.mu.Lock()
	if m.streams == 0 {
		m.mu.Unlock()
		return
	}
	drained := make(chan struct{})
	m.drained = drained
	m.mu.Unlock()
	select {
	case <-drained:
	case <-ctx.Done():
	}
}

// Close ends all flows, tells the node so, and returns when the last
// exchange has ended, or cancels what still runs when ctx is done.
func (m *Mux) Close(ctx context.Context) error {
	m.mu.Lock()
	first := !m.closing
	m.closing = true
	m.mu.Unlock()
	if first {
		close(m.quit)
	}
	select {
	case <-m.stopped:
		return nil
	case <-ctx.Done():
	}
	m.cancel()
	<-m.stopped
	return fmt.Errorf("closing flows: %w", ctx.Err())
}

// lingering is how many flows are over for their applications, and not yet for
// the loop.
func (m *Mux) lingering() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.flows) - m.live
}

// all returns the flows of one loop.
func (m *Mux) all(of *lane) (list []*flow) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for f := range m.flows {
		if f.lane == of {
			list = append(list, f)
		}
	}
	return list
}

// unsupported reports whether a node said that it does not know connect_data.
func unsupported(r *wire.Result) bool {
	if string(r.Code) == wire.CodeUnsupported {
		return true
	}
	e := string(r.Err)
	return strings.Contains(e, "connect_data") &&
		(strings.Contains(e, "unknown op") || strings.Contains(e, "unknown tunnel op"))
}

// printable makes text from outside fit for an error: no control characters,
// not endless.
func printable(text []byte) string {
	const most = 200
	s := strings.Map(func(r rune) rune {
		if !strconv.IsPrint(r) {
			return ' '
		}
		return r
	}, string(text[:min(len(text), most)]))
	return strings.TrimSpace(s)
}

func joinHostPort(host string, port uint16) string {
	return net.JoinHostPort(host, strconv.Itoa(int(port)))
}

// asFailure makes sure that an exchange's error is typed.
func asFailure(err error) *relay.Failure {
	if err == nil {
		return nil
	}
	if f, ok := err.(*relay.Failure); ok {
		return f
	}
	return &relay.Failure{Kind: relay.Broken, Detail: err.Error(), Err: err}
}
