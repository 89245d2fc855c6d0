package route

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"time"

	"relaymux/mux/buf"
	"relaymux/mux/gso"
	"relaymux/mux/stats"
	"relaymux/socks"
)

// Deliver takes what comes back on a UDP flow; see socks.UDP.
type Deliver = func(from netip.Addr, pkts [][]byte)

const (
	// What waits for the dial, which may have to look up a name: the first flight of
	// anything that is spoken over UDP.
	maxEarly      = 64
	maxEarlyBytes = 256 << 10

	maxUnsent  = 1 << 20 // bytes that wait for the system, of one flow
	readTrains = 4       // taken from the socket at a time

	// failedFor is how long a flow that could not be opened stays silent: each
	// datagram would else look the name up again.
	failedFor = 10 * time.Second
)

// Open is socks.UDP's Open.
func (r *Router) Open(host string, port uint16, deliver Deliver, ended func(error)) socks.Flow {
	switch v := r.rules.Load().Decide(host, port); v.Way {
	case Block:
		r.Stats.Blocked.Add(1)
		r.tell(host, port, v.Rule)
		return blocked{r.Options.Stats}
	case Direct:
		return r.openDirect(host, port, deliver, ended)
	default:
		return r.OpenUDP(host, port, deliver, ended)
	}
}

// tell logs why nothing comes back from a destination, now and then: UDP has no way to
// tell the application.
func (r *Router) tell(host string, port uint16, reason string) {
	r.silent.Do(func() { r.Log.Info("UDP goes nowhere", "host", host, "port", port, "reason", reason) })
}

// blocked is a flow to a destination that is refused: UDP knows no refusal.
type blocked struct{ st *stats.UDP }

func (b blocked) Send(_ *buf.Buf, pkts [][]byte) { b.st.Drop(stats.DropBlocked, len(pkts)) }
func (blocked) Close()                           {}

// A directUDP is a UDP flow by a socket of its own, which is connected by one
// goroutine, and read by the same.
type directUDP struct {
	r       *Router
	deliver Deliver
	ended   func(error)
	stop    context.CancelFunc // ends the dial

	mu       sync.Mutex
	early    []*buf.Buf // before there is a socket
	earlyLen int
	why      stats.Drop  // for what is sent when there is none any more
	over     *time.Timer // the dial has failed: then ended is called
	conn     gso.Conn
	send     *gso.Sender
	closed   bool
}

func (r *Router) openDirect(host string, port uint16, deliver Deliver, ended func(error)) socks.Flow {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return blocked{r.Options.Stats}
	}
	r.began()
	ctx, stop := context.WithTimeout(r.ctx, dialLimit)
	u := &directUDP{r: r, deliver: deliver, ended: ended, stop: stop, why: stats.DropEnded}
	r.work.Go(func() {
		defer r.ended()
		defer stop()
		conn, err := r.dial(ctx, "udp", host, port)
		if err != nil {
			r.tell(host, port, err.Error())
			u.failed(err)
			return
		}
		if u.connected(conn) {
			u.read(conn)
		}
	})
	return u
}

// Send implements socks.Flow.
func (u *directUDP) Send(_ *buf.Buf, pkts [][]byte) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for i, p := range pkts {
		switch {
		case u.closed || u.over != nil:
			u.r.Options.Stats.Drop(u.why, len(pkts)-i)
			return
		case u.send != nil:
			u.put(p)
		case len(u.early) >= maxEarly || u.earlyLen+len(p) > maxEarlyBytes:
			u.r.Options.Stats.Drop(stats.DropQueue, 1)
		default:
			u.early = append(u.early, buf.Copy(p))
			u.earlyLen += len(p)
		}
	}
}

// put gives one datagram to the Sender. mu is held.
func (u *directUDP) put(p []byte) {
	room := u.send.Reserve(netip.AddrPort{}, len(p))
	if room == nil {
		u.r.Options.Stats.Drop(stats.DropEnded, 1)
		return
	}
	copy(room, p)
	u.send.Commit(len(p))
}

// connected takes the socket, and sends what came early. It reports false when the
// flow was closed before.
func (u *directUDP) connected(conn net.Conn) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.closed {
		conn.Close()
		return false
	}
	u.conn = gso.NewConnected(conn, u.r.Options)
	u.send = gso.NewSender(u.conn, maxUnsent, u.r.Options.Stats, nil)
	for _, b := range u.early {
		u.put(b.B)
		b.Release()
	}
	u.early = nil
	return true
}

// read delivers what comes until the socket ends, which an ICMP error does, too: the
// application's next datagram opens another.
func (u *directUDP) read(conn net.Conn) {
	from, _ := netip.ParseAddrPort(conn.RemoteAddr().String())
	ip := from.Addr().Unmap().WithZone("")
	trains := make([]gso.Train, readTrains)
	var pkts [][]byte
	for {
		n, err := u.conn.ReadTrains(trains)
		if err != nil {
			u.finish(err)
			return
		}
		for i := range trains[:n] {
			t := &trains[i]
			pkts = pkts[:0]
			for j := range t.Count() {
				pkts = append(pkts, t.At(j))
			}
			u.deliver(ip, pkts)
			t.Buf.Release()
			*t = gso.Train{}
		}
	}
}

// finish frees the socket, and tells the association unless it knows.
func (u *directUDP) finish(err error) {
	u.mu.Lock()
	known := u.closed
	u.closed = true
	u.mu.Unlock()
	u.conn.Close()
	u.send.Close()
	if !known {
		u.ended(err)
	}
}

// failed has the flow be silent for a while, and then end.
func (u *directUDP) failed(err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.why = stats.DropSocket
	if isBlocked(err) {
		u.why = stats.DropBlocked
	}
	u.r.Options.Stats.Drop(u.why, len(u.early))
	u.dropEarly()
	if u.closed {
		return
	}
	u.over = time.AfterFunc(failedFor, func() {
		u.mu.Lock()
		known := u.closed
		u.closed = true
		u.mu.Unlock()
		if !known {
			u.ended(err)
		}
	})
}

// dropEarly releases what waits for the dial. mu is held.
func (u *directUDP) dropEarly() {
	for _, b := range u.early {
		b.Release()
	}
	u.early = nil
}

// Close implements socks.Flow.
func (u *directUDP) Close() {
	u.stop()
	u.mu.Lock()
	defer u.mu.Unlock()
	u.closed = true
	u.dropEarly()
	if u.over != nil {
		u.over.Stop()
	}
	if u.conn != nil {
		u.conn.Close() // the reader sees the error, and frees the rest
	}
}
