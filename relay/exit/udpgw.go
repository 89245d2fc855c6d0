package exit

import (
	"io"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"relaymux/mux/buf"
	"relaymux/mux/gso"
	"relaymux/mux/stats"
)

const (
	gatewayPort = 7300

	// maxGatewayFlows is how many UDP sockets one gateway has at a time. The
	// one that was silent for longest makes room: a client of udpgw gives a
	// flow up without a word.
	maxGatewayFlows = 256

	maxControl = 4 << 10 // bytes of keepalives and errors that wait
)

// isGateway knows the target that is not dialled but served: 192.0.2.1 is for
// documentation (RFC 5737), 198.18.0.1, which older clients use, for benchmarks
// (RFC 2544), so that neither can be anybody's.
func isGateway(host string, port uint16) bool {
	return port == gatewayPort && (host == "192.0.2.1" || host == "198.18.0.1")
}

// A gateway is a udpgw server, and at once the connection to it: what a session
// writes are frames for it, and what it reads are those that come back. There is
// no goroutine between, for datagrams wait for nobody: what cannot be carried is
// dropped, the oldest first.
type gateway struct {
	net.Conn // nil: what is not overridden is not used
	node     *Node
	use      *clientUse // of the client who has it

	mu      sync.Mutex
	news    sync.Cond // there is something to read, or the end
	in      assembler
	flows   map[string]*gatewayFlow // by path
	control []byte                  // frames without data, which go first and are never dropped for others
	out     datagrams               // of one frame each
	part    []byte                  // what is left of the frame that is being read
	held    *buf.Buf                // where part lies, nil: in what was control
	end     error                   // what comes after the last frame
	closed  bool
}

// A gatewayFlow is the socket of one CONN_ID and destination.
type gatewayFlow struct {
	g      *gateway
	path   string
	sock   *udpSocket
	active time.Time
}

func newGateway(n *Node, use *clientUse) *gateway {
	g := &gateway{node: n, use: use, flows: make(map[string]*gatewayFlow)}
	g.news.L = &g.mu
	g.in.claim = claim{budget: n.uploads, of: &use.uploads}
	g.out.claim, g.out.st = claim{budget: n.downloads, of: &use.downloads}, n.udp.Stats
	return g
}

// Write carries out the frames in p. It never waits.
func (g *gateway) Write(p []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.end != nil {
		return 0, syscall.EPIPE
	}
	for done := 0; done < len(p); {
		f, used, err := g.in.next(p[done:])
		if done += used; err == nil && f != nil {
			err = g.carry(f)
		}
		if err != nil {
			g.finish(err)
			return done, err
		}
	}
	return len(p), nil
}

// carry carries out one frame.
func (g *gateway) carry(p []byte) error {
	f, err := parseFrame(p)
	switch {
	case err != nil:
		return err
	case f.flags&flagKeepalive != 0:
		g.tell(flagKeepalive, f.id)
	case f.flags&flagError != 0:
		// The client has nobody to deliver to. Its flow ends by idleness.
	case f.path == nil:
		g.tell(flagError, f.id)
	default:
		g.datagram(&f)
	}
	return nil
}

// datagram sends a datagram on.
func (g *gateway) datagram(f *frame) {
	if why, blocked := g.node.udp.blocks(f.port(), true, f.data); blocked {
		g.node.udp.Stats.Drop(why, 1)
		g.tell(flagError, f.id)
		return
	}
	if fl := g.flows[string(f.path)]; fl != nil {
		fl.active = time.Now()
		fl.sock.write(f.data)
	} else if g.open(f) != nil { // a limit's, of which the client needs no more
		g.node.udp.Stats.Drop(stats.DropEnded, 1)
		g.tell(flagError, f.id)
	}
}

// open makes a flow, f its first datagram.
func (g *gateway) open(f *frame) (err error) {
	if len(g.flows) >= maxGatewayFlows {
		g.evict()
	}
	fl := &gatewayFlow{g: g, path: string(f.path), active: time.Now()}
	if fl.sock, err = g.node.newUDPSocket(fl, g.use); err != nil {
		return err
	}
	g.flows[fl.path] = fl
	fl.sock.write(f.data)
	fl.sock.dial(f.host(), f.port())
	return nil
}

// evict closes the flow that was silent for longest.
func (g *gateway) evict() {
	var oldest *gatewayFlow
	for _, fl := range g.flows {
		if oldest == nil || fl.active.Before(oldest.active) {
			oldest = fl
		}
	}
	g.drop(oldest)
}

// drop closes a flow, of which the client hears nothing more.
func (g *gateway) drop(fl *gatewayFlow) {
	delete(g.flows, fl.path)
	fl.sock.close()
}

// reap drops the flows that were silent for too long.
func (g *gateway) reap() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, fl := range g.flows {
		if time.Since(fl.active) > g.node.udp.Reap {
			g.drop(fl)
		}
	}
}

// tell queues a frame without data.
func (g *gateway) tell(flags byte, id []byte) {
	if len(g.control) < maxControl {
		g.control = appendFrame(g.control, flags, id, nil)
	}
	g.news.Signal()
}

func (fl *gatewayFlow) opened(netip.Addr) {}

// arrived queues what a target has sent, as frames.
func (fl *gatewayFlow) arrived(ts []gso.Train) {
	g := fl.g
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	fl.active = now
	for i := range ts {
		for k := range ts[i].Count() {
			g.push(fl, ts[i].At(k), now)
		}
		ts[i].Buf.Release()
	}
	g.news.Signal()
}

// push queues a datagram of fl.
func (g *gateway) push(fl *gatewayFlow, p []byte, now time.Time) {
	n := 1 + len(fl.path) + len(p)
	switch {
	case g.flows[fl.path] != fl:
		g.node.udp.Stats.Drop(stats.DropEnded, 1)
		return
	case n > maxFrame:
		g.node.udp.Stats.Drop(stats.DropTooLarge, 1)
		return
	}
	b := buf.Get(lenLen + n)
	b.B = appendFrame(b.B, flagData, []byte(fl.path), p)
	g.out.push(gso.Train{Buf: b}, now)
}

// ended tells the client of a flow that its target ended.
func (fl *gatewayFlow) ended(error) {
	g := fl.g
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.flows[fl.path] == fl {
		delete(g.flows, fl.path)
		g.tell(flagError, []byte(fl.path[:2]))
	}
}

// Read waits for frames, and then brings as many as there are, and fit.
func (g *gateway) Read(p []byte) (n int, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for {
		if g.closed {
			return 0, net.ErrClosed
		}
		for n < len(p) && g.fetch() {
			k := copy(p[n:], g.part)
			n += k
			g.part = g.part[k:]
		}
		if n > 0 {
			return n, nil
		}
		if g.end != nil {
			return 0, g.end
		}
		g.news.Wait()
	}
}

// fetch makes the next frame part, if there is none left of the last one, and
// reports whether there is one.
func (g *gateway) fetch() bool {
	if len(g.part) > 0 {
		return true
	}
	g.release()
	if len(g.control) > 0 {
		g.part, g.control = g.control, nil
		return true
	}
	if stale := g.node.udp.Stale; stale > 0 {
		g.out.expire(time.Now().Add(-stale))
	}
	if len(g.out.list) == 0 {
		return false
	}
	g.held = g.out.shift()
	g.part = g.held.B
	return true
}

// release gives back the frame that has been read.
func (g *gateway) release() {
	if g.held != nil {
		g.out.claim.release(g.held)
	}
	g.part, g.held = nil, nil
}

// CloseWrite is the client's end: it wants nothing more.
func (g *gateway) CloseWrite() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.finish(io.EOF)
	return nil
}

// SetWriteDeadline has nothing to do, for no write waits.
func (g *gateway) SetWriteDeadline(time.Time) error { return nil }

// Close ends everything at once.
func (g *gateway) Close() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
	g.finish(net.ErrClosed)
	g.release()
	g.out.drop(stats.DropEnded)
	return nil
}

// finish closes the sockets; what has come from them can still be read, and err
// after it.
func (g *gateway) finish(err error) {
	if g.end == nil {
		g.end = err
	}
	for _, fl := range g.flows {
		g.drop(fl)
	}
	g.in.drop()
	g.news.Signal()
}
