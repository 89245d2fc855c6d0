package socks

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"relaymux/mux/buf"
	"relaymux/mux/stats"
)

func TestHostile23_ControlEnds(t *testing.T) {
	for name, end := range map[string]func(*net.TCPConn){
		"FIN":        func(c *net.TCPConn) { c.Close() },
		"half-close": func(c *net.TCPConn) { c.CloseWrite() },
		"RST":        func(c *net.TCPConn) { c.SetLinger(0); c.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			n := newFarSide()
			p, _ := startUDP(t, n, nil)
			a := p.associated(t)
			var fs []*fakeFlow
			for i := range 10 {
				mustWrite(t, a.socket, toHost(fmt.Sprintf("h%d", i), 1)+"x")
				fs = append(fs, soon(t, n.opened))
			}
			begin := time.Now()
			end(a.control)
			for _, f := range fs {
				soon(t, f.closed)
			}
			for p.Stats().Open != 0 && time.Since(begin) < time.Second {
				runtime.Gosched()
			}
			if took := time.Since(begin); took >= time.Second || p.Stats().Open != 0 {
				t.Errorf("%d are open after %v", p.Stats().Open, took)
			}
			again, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(a.relay))
			if err != nil {
				t.Fatalf("the socket is still there: %v", err)
			}
			again.Close()
		})
	}
}

// An error of the socket is the end of the association.
func TestSocketEnds(t *testing.T) {
	n := newFarSide()
	var socket net.PacketConn
	p, _ := startUDP(t, n, func(u *UDP) {
		u.Listen = func(addr netip.Addr) (_ net.PacketConn, err error) {
			socket, err = listenUDP(addr)
			return socket, err
		}
	})
	a := p.associated(t)
	mustWrite(t, a.socket, toIPv4+"x")
	f := soon(t, n.opened)
	socket.Close()
	soon(t, f.closed)
	if _, err := a.control.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the control connection: %v", err)
	}
}

func TestHostile25_Destinations(t *testing.T) {
	n := newFarSide()
	n.echo.Store(true)
	p, st := startUDP(t, n, nil)
	a := p.associated(t)
	mustWrite(t, a.socket, toIPv6+"live") // of no port that is given up sooner, as DNS is
	live := n.next(t, "2001:db8::1")
	live.want(t, "live")
	a.want(t, toIPv6+"live")
	n.echo.Store(false)

	var others []*fakeFlow
	open := func() (open int) {
		for _, f := range others {
			if !f.isClosed() {
				open++
			}
		}
		return open
	}
	for i := range 10000 {
		mustWrite(t, a.socket, toHost(fmt.Sprintf("h%d.test", i), 1)+"x")
		others = append(others, soon(t, n.opened))
		others[i].want(t, "x")
		if i == maxFlows-2 && open() != maxFlows-1 {
			t.Errorf("%d are open of %d", open(), i+1)
		}
	}
	if open() != maxFlows-1 || live.isClosed() {
		t.Errorf("%d are open; live closed: %v", open(), live.isClosed())
	}
	for i, f := range others { // the oldest have gone
		if gone := i < len(others)-(maxFlows-1); f.isClosed() != gone {
			t.Errorf("flow %d closed: %v", i, !gone)
			break
		}
	}
	mustWrite(t, a.socket, toIPv6+"still here")
	live.want(t, "still here")
	dropped(t, st, stats.Drops, 0)
}

// A peer-to-peer program that got answers from everywhere: the least recently
// used goes, and new ones do not push each other out before they are answered.
func TestHostile25_AnsweredFlowsMakeRoom(t *testing.T) {
	n := newFarSide()
	n.echo.Store(true)
	p, _ := startUDP(t, n, nil)
	a := p.associated(t)
	say := func(i int) *fakeFlow {
		t.Helper()
		mustWrite(t, a.socket, toHost(fmt.Sprintf("h%d", i), 1)+"x")
		f := soon(t, n.opened)
		f.want(t, "x")
		if n.echo.Load() {
			a.want(t, toHost(fmt.Sprintf("h%d", i), 1)+"x")
		}
		return f
	}
	var answered, fresh []*fakeFlow
	for i := range maxFlows {
		answered = append(answered, say(i))
	}
	mustWrite(t, a.socket, toHost("h0", 1)+"again") // not the least recently used any more
	answered[0].want(t, "again")
	a.want(t, toHost("h0", 1)+"again")
	n.echo.Store(false)
	for i := range newFlows + 1 {
		fresh = append(fresh, say(maxFlows+i))
	}
	for i, f := range answered {
		if gone := 1 <= i && i <= newFlows+1; f.isClosed() != gone {
			t.Errorf("answered flow %d closed: %v", i, !gone)
		}
	}
	if last := say(9999); last.isClosed() || !fresh[0].isClosed() || fresh[1].isClosed() || answered[newFlows+2].isClosed() {
		t.Error("one more unanswered flow did not cost the oldest of its kind")
	}
}

// A flood from the application is taken as it comes, and holds up nobody.
func TestHostile26_Flood(t *testing.T) {
	n := newFarSide()
	flow := &drain{enough: make(chan struct{}), closed: make(chan struct{})}
	p, _ := startUDP(t, n, func(u *UDP) {
		u.Open = func(host string, port uint16, deliver func(netip.Addr, [][]byte), ended func(error)) Flow {
			if host == "flood" {
				return flow
			}
			return n.open(host, port, deliver, ended)
		}
	})
	a, other := p.associated(t), p.associated(t)
	mustWrite(t, other.socket, toIPv6)
	calm := n.next(t, "2001:db8::1")
	calm.want(t, "")

	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	stop := make(chan struct{})
	var flood sync.WaitGroup
	flood.Go(func() {
		datagram := []byte(toHost("flood", 1) + strings.Repeat("x", 1200))
		for {
			select {
			case <-stop:
				return
			default:
				a.socket.Write(datagram)
			}
		}
	})
	for i := range 200 {
		mustWrite(t, other.socket, toIPv6+fmt.Sprint(i))
		calm.want(t, fmt.Sprint(i))
		calm.back("", fmt.Sprint(i))
		other.want(t, toIPv6+fmt.Sprint(i))
	}
	if out := p.talk(t, connect5+"tcp"); out != "\x05\x00"+granted5+"tcp" {
		t.Errorf("TCP: %q", out)
	}
	soon(t, flow.enough)
	close(stop)
	flood.Wait()
	a.control.Close()
	soon(t, flow.closed)
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapInuse) - int64(before.HeapInuse); grown > 16<<20 {
		t.Errorf("%d bytes more are in use", grown)
	}
}

// drain is a flow whose queue drops everything.
type drain struct {
	pkts   int
	enough chan struct{} // closed: 10,000 datagrams came
	closed chan struct{}
}

func (d *drain) Send(_ *buf.Buf, pkts [][]byte) {
	if d.pkts < 10_000 && d.pkts+len(pkts) >= 10_000 {
		close(d.enough)
	}
	d.pkts += len(pkts)
}

func (d *drain) Close() { close(d.closed) }

// A hundred applications at once: each hears what is meant for it.
func TestHostile29_Parallel(t *testing.T) {
	n := newFarSide()
	n.echo.Store(true)
	p, _ := startUDP(t, n, nil)
	const many, rounds = 100, 20
	var apps []*app
	ports := map[uint16]bool{}
	for range many {
		a := p.associated(t)
		ports[a.relay.Port()] = true
		apps = append(apps, a)
	}
	if len(ports) != many {
		t.Errorf("%d ports", len(ports))
	}
	var all sync.WaitGroup
	for i, a := range apps {
		all.Go(func() {
			b := make([]byte, 2000)
			for k := range rounds {
				to := []string{toIPv4, toIPv6, toHost(fmt.Sprintf("h%d", i), 53)}[k%3]
				in := fmt.Sprintf("%s%d of %d", to, k, i)
				if _, err := a.socket.Write([]byte(in)); err != nil {
					t.Error(err)
					return
				}
				if got, err := readSoon(a.socket, b); err != nil || string(b[:got]) != in {
					t.Errorf("got %q (%v), want %q", b[:got], err, in)
					return
				}
			}
		})
	}
	all.Wait()
	if got := len(n.opened); got != 3*many {
		t.Errorf("%d flows", got)
	}
	apps[0].control.Close()
	for range many { // one association's end is nobody else's
		if f := soon(t, n.opened); f.host == "h0" {
			soon(t, f.closed)
		}
	}
	mustWrite(t, apps[1].socket, toIPv4+"still here")
	apps[1].want(t, toIPv4+"still here")
}

// A flow that has ended makes room for another one.
func TestFlowEnds(t *testing.T) {
	n := newFarSide()
	p, _ := startUDP(t, n, nil)
	a := p.associated(t)
	for range 3 {
		mustWrite(t, a.socket, toName+"x")
		f := n.next(t, "a.test")
		f.want(t, "x")
		f.ended(errors.New("the node has forgotten it"))
	}
}

// A flow that ends at once, as those of a mux that is being closed do.
func TestFlowEndsWithinOpen(t *testing.T) {
	n := newFarSide()
	p, _ := startUDP(t, n, func(u *UDP) {
		u.Open = func(host string, port uint16, deliver func(netip.Addr, [][]byte), ended func(error)) Flow {
			ended(errors.New("stopped"))
			return n.open(host, port, deliver, ended)
		}
	})
	a := p.associated(t)
	for range 3 {
		mustWrite(t, a.socket, toName+"x")
		n.next(t, "a.test").want(t, "x")
	}
}

func TestHostile86_PanicInOpen(t *testing.T) {
	n := newFarSide()
	p, _ := startUDP(t, n, func(u *UDP) {
		u.Open = func(host string, port uint16, deliver func(netip.Addr, [][]byte), ended func(error)) Flow {
			if host == "panic" {
				panic("a fault of ours")
			}
			return n.open(host, port, deliver, ended)
		}
	})
	a, b := p.associated(t), p.associated(t)
	mustWrite(t, a.socket, toIPv4)
	f := soon(t, n.opened)
	mustWrite(t, a.socket, toHost("panic", 1))
	soon(t, f.closed)
	mustWrite(t, b.socket, toIPv4+"x")
	n.next(t, "203.0.113.5").want(t, "x")
	if got := p.Stats().Panics; got != 1 {
		t.Errorf("%d panics counted", got)
	}
}
