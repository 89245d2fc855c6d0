package exit

import (
	"context"
	"net"
	"slices"
	"sync"
	"syscall"
	"testing"

	"relaymux/mux/stats"
	"relaymux/mux/wire"
)

// A memUDP is a connected UDP socket in memory. What its target does is up to its
// host's name.
type memUDP struct {
	net.Conn // nil: what is not overridden is not used
	host     string
	remote   net.Addr

	mu     sync.Mutex
	cond   sync.Cond
	in     [][]byte // from the target
	out    [][]byte // to the target
	err    error    // of ICMP
	stuck  bool     // writes wait
	closed bool
}

// udpAddr is where all names of the world in memory lead to.
const udpAddr = "203.0.113.7"

func (w *targets) dialUDP(ctx context.Context, host string) (net.Conn, error) {
	w.mu.Lock()
	w.dials++
	w.mu.Unlock()
	if err := dialOutcome(ctx, host); err != nil {
		return nil, &net.OpError{Op: "dial", Net: "udp", Err: err}
	}
	c := &memUDP{host: host, remote: &net.UDPAddr{IP: net.ParseIP(udpAddr), Port: 53}, stuck: host == "stuck.test"}
	if host == "six.test" {
		c.remote = &net.UDPAddr{IP: net.ParseIP("2001:db8::7"), Port: 53}
	}
	c.cond.L = &c.mu
	if host == "hello.test" {
		c.in = [][]byte{[]byte("hello")}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.udp == nil {
		w.udp = make(map[string]*memUDP)
	}
	w.udp[host] = c
	return c, nil
}

// socket is the node's last UDP socket to host.
func (w *targets) socket(host string) *memUDP {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.udp[host]
}

func (c *memUDP) set(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
	c.cond.Broadcast()
}

// say has the target send datagrams, whose bytes it borrows.
func (c *memUDP) say(pkts ...string) {
	c.set(func() {
		for _, p := range pkts {
			c.in = append(c.in, []byte(p))
		}
	})
}

// refuse has the target's machine answer with ICMP, port unreachable.
func (c *memUDP) refuse() { c.set(func() { c.err = syscall.ECONNREFUSED }) }

// sent is what the target has got so far.
func (c *memUDP) sent() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var s []string
	for _, p := range c.out {
		s = append(s, string(p))
	}
	return s
}

func (c *memUDP) Read(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.in) == 0 && c.err == nil && !c.closed {
		c.cond.Wait()
	}
	switch {
	case c.closed:
		return 0, net.ErrClosed
	case len(c.in) > 0:
		n := copy(p, c.in[0])
		c.in = c.in[1:]
		return n, nil
	}
	err := c.err
	c.err = nil // the system reports it once
	return 0, err
}

func (c *memUDP) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.stuck && !c.closed {
		c.cond.Wait()
	}
	if c.closed {
		return 0, net.ErrClosed
	}
	if c.host == "deaf.test" {
		return len(p), nil
	}
	c.out = append(c.out, slices.Clone(p))
	switch c.host {
	case "echo.test", "late.test", "six.test":
		c.in = append(c.in, slices.Clone(p))
	case "thrice.test":
		c.in = append(c.in, []byte("1"), []byte("22"), []byte("333"))
	case "closed.test":
		c.in, c.err = append(c.in, []byte("last")), syscall.ECONNREFUSED
	}
	c.cond.Broadcast()
	return len(p), nil
}

func (c *memUDP) RemoteAddr() net.Addr { return c.remote }
func (c *memUDP) LocalAddr() net.Addr  { return c.remote }

func (c *memUDP) Close() error {
	c.set(func() { c.closed = true })
	return nil
}

// isClosed reports whether the node has closed the socket.
func (c *memUDP) isClosed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed
}

func udpOpen(host, data string) wire.Op {
	o := wire.Op{Kind: wire.UDPOpen, Host: []byte(host), Port: 53}
	if data != "" {
		o.Data = [][]byte{[]byte(data)}
	}
	return o
}

func udpData(sid []byte, data string) wire.Op {
	o := udpPoll(sid)
	o.Data = [][]byte{[]byte(data)}
	return o
}

func udpEmpty(sid []byte) wire.Op { return wire.Op{Kind: wire.UDPData, SID: sid, Empty: true} }

func udpPoll(sid []byte) wire.Op { return wire.Op{Kind: wire.UDPData, SID: sid} }

// openUDP opens a UDP session to host, without a datagram.
func (r *rig) openUDP(host string) []byte {
	r.t.Helper()
	res := r.batch(udpOpen(host, ""))[0]
	if len(res.SID) == 0 || len(res.Err) > 0 {
		r.t.Fatalf("udp_open %s: %q", host, res.Err)
	}
	return slices.Clone(res.SID)
}

// dropped is how many datagrams were dropped for why.
func (r *rig) dropped(why stats.Drop) uint64 { return r.node.udp.Stats.Dropped[why].Load() }

// wantDropped checks that exactly those datagrams were dropped that are told.
func (r *rig) wantDropped(t *testing.T, want map[stats.Drop]uint64) {
	t.Helper()
	for why := range stats.Drops {
		if n := r.dropped(why); n != want[why] {
			t.Errorf("%d datagrams dropped as %v, want %d", n, why, want[why])
		}
	}
}

// pkts are the datagrams of results, in order.
func pkts(results ...wire.Result) (all []string) {
	for _, r := range results {
		for _, p := range r.Pkts {
			all = append(all, string(p))
		}
	}
	return all
}
