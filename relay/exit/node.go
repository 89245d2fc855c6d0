package exit

import (
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"relaymux/mux/buf"
	"relaymux/mux/link"
	"relaymux/mux/secret"
)

// shortEvery is the shortest time between two log lines about what the machine lacks.
const shortEvery = 10 * time.Second

// A Node is the exit. It is an http.Handler; Server gives it a listener.
type Node struct {
	keySum      [sha256.Size]byte
	keyed       bool // there is a key, and so a JSON wire
	identity    secret.Text
	diagnostics bool
	dialer      Dialer
	dials       *rate.Limiter
	shared      atomic.Bool // there are several clients, those who have the key counted as one
	keyUse      *clientUse  // of those who have it
	timing      timing
	reapAfter   time.Duration
	udp         UDP
	log         *slog.Logger

	table   table
	links   links
	sockets udpSockets // TCP has the rest of the sessions to itself
	began   time.Time
	visits  visits
	refused visits         // likewise: strangers must not crowd out what is said of clients
	short   rate.Sometimes // likewise, of dials that fail for want of descriptors

	downloads *buf.Budget // what targets sent
	uploads   *buf.Budget // what they have not read yet
	windows   *link.Pool  // of the streams of links, out of uploads
	bodies    *buf.Budget // what exchanges hold: requests and answers
	strange   *buf.Budget // what requests by strangers' connections hold of bodies
	codec     codec
	spare     sync.Pool // of *exchange
	count     counters

	ctx  context.Context // of every dial and hold; ends with Close
	stop context.CancelFunc
	work sync.WaitGroup // every goroutine of the node
}

// New returns a node that is at work until Close.
func New(c Config) (*Node, error) {
	if !c.Key.IsSet() && len(c.Clients) == 0 {
		return nil, errNoKey
	}
	c = c.withDefaults()
	if c.Dialer == nil {
		d, err := NewDialer(c.Policy)
		if err != nil {
			return nil, fmt.Errorf("exit: reading the egress policy: %w", err)
		}
		c.Dialer = d
	}
	n := &Node{
		keySum:      sha256.Sum256([]byte(c.Key.Reveal())),
		keyed:       c.Key.IsSet(),
		identity:    cmp.Or(c.Identity, c.Key),
		diagnostics: c.Diagnostics,
		dialer:      c.Dialer,
		dials:       dialLimiter(c.DialsPerSecond),
		timing:      timing{longPoll: c.LongPoll},
		reapAfter:   c.Reap,
		udp:         c.UDP,
		sockets:     udpSockets{most: socketsOf(c.Streams), one: oneOf(c.ClientStreams), all: make(map[*udpSocket]struct{})},
		began:       time.Now(),
		visits:      newVisits(),
		refused:     newVisits(),
		short:       rate.Sometimes{First: 1, Interval: shortEvery},
		log:         c.Log,
		table:       newTable(c.Streams),
	}
	n.table.one, n.table.shared, n.sockets.shared = c.ClientStreams, &n.shared, &n.shared
	n.keyUse = newClientUse(c.ClientDialsPerSecond, &n.shared)
	n.links.clientDials = c.ClientDialsPerSecond
	// Each has its own, so that no flood of requests, no targets that do not read,
	// and no clients that do not collect starve the others. Downloads have what is
	// left, half unless the memory is small: those of a link are kept for a whole way
	// there and back.
	n.bodies = buf.NewBudget(max(c.Memory/4, min(c.Memory/8*3, bodiesEnough)))
	// One request, or else half: the rest is for who has shown to be a client.
	n.strange = buf.NewBudget(max(n.bodies.Limit()/2, min(n.bodies.Limit(), bodiesEnough)))
	n.uploads = buf.NewBudget(c.Memory / 4)
	n.downloads = buf.NewBudget(c.Memory - n.uploads.Limit() - n.bodies.Limit())
	n.windows = link.NewPool(int(c.Memory / 8)) // half of uploads: a buffer may be twice what is in it
	n.links.init(n.identity)
	n.SetClients(c.Clients)
	if err := n.codec.init(); err != nil {
		return nil, fmt.Errorf("exit: preparing zstd: %w", err)
	}
	n.ctx, n.stop = context.WithCancel(context.Background())
	n.work.Go(n.reapLoop)
	return n, nil
}

// Close resets all sessions, answers the held exchanges, and returns when the
// node's goroutines have ended. Exchanges that come later are answered as if
// their sessions had been reset.
func (n *Node) Close() {
	n.stop()
	for _, o := range n.table.close() {
		o.abort()
	}
	n.links.close()
	n.work.Wait()
}

// Stats is a snapshot of a node's counters.
type Stats struct {
	Sessions     int    // open now
	UDPSockets   int    // likewise, those of udpgw included
	Memory       int64  // bytes charged now
	Exchanges    uint64 // with the right key, or of a link
	Probes       uint64 // answered with the 404
	Overloads    uint64 // answered with 503 for want of memory
	AnswersLost  uint64 // that could not be written
	Dials        uint64
	DialFailures uint64
	Refused      uint64 // not dialled: a limit was reached
	Reaped       uint64 // sessions ended for being idle
	Overruns     uint64 // sessions reset because their upload queue was full
	BytesUp      uint64 // to targets, of udpgw the frames too
	BytesDown    uint64 // from targets

	Links        int    // that are known now
	LinkStreams  int    // of them, that have a socket or bytes that wait
	LinkRepeated uint64 // requests that came again
	LinkReplayed uint64 // records that came again
	LinkForged   uint64 // records that did not open
	LinkBroken   uint64 // links ended because their client broke the protocol
}

type counters struct {
	exchanges, probes, overloads               atomic.Uint64
	dials, dialFailures, refused               atomic.Uint64
	reaped, overruns, bytesUp, bytesDown, lost atomic.Uint64
}

// Stats returns the counters as they are now.
func (n *Node) Stats() Stats {
	links, streams := n.links.size()
	return Stats{
		Sessions:     n.table.len(),
		UDPSockets:   n.sockets.len(),
		Memory:       n.downloads.Used() + n.uploads.Used() + n.bodies.Used(),
		Exchanges:    n.count.exchanges.Load(),
		Probes:       n.count.probes.Load(),
		Overloads:    n.count.overloads.Load(),
		AnswersLost:  n.count.lost.Load(),
		Dials:        n.count.dials.Load(),
		DialFailures: n.count.dialFailures.Load(),
		Refused:      n.count.refused.Load(),
		Reaped:       n.count.reaped.Load(),
		Overruns:     n.count.overruns.Load(),
		BytesUp:      n.count.bytesUp.Load(),
		BytesDown:    n.count.bytesDown.Load(),

		Links:        links,
		LinkStreams:  streams,
		LinkRepeated: n.links.count.repeated.Load(),
		LinkReplayed: n.links.count.replayed.Load(),
		LinkForged:   n.links.count.forged.Load(),
		LinkBroken:   n.links.count.broken.Load(),
	}
}
