package mux

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"relaymux/mux/buf"
	"relaymux/mux/link"
	"relaymux/mux/secret"
	"relaymux/mux/stats"
	"relaymux/mux/wire"
	"relaymux/relay"
)

// A packetNode is a relay and a node in one, whose UDP targets answer as answer
// says; nil is an echo.
type packetNode struct {
	t      *testing.T
	rtt    time.Duration
	stock  bool // no "off"
	answer func(p []byte) [][]byte
	refuse string // the error of every udp_open
	dead   bool   // every session ends with its first datagram
	mute   func(n int) *relay.Failure

	mu       sync.Mutex
	n        int // exchanges
	polls    int
	opens    int
	inFlight int
	most     int // in flight at once
	changed  chan struct{}
	sessions map[string]*[][]byte // what each has for the client
	got      []string
	closed   []string
}

func newPacketNode(t *testing.T, rtt time.Duration) *packetNode {
	return &packetNode{t: t, rtt: rtt, changed: make(chan struct{}), sessions: map[string]*[][]byte{}}
}

func (n *packetNode) Close() {}

func (n *packetNode) Exchange(ctx context.Context, x *relay.Exchange) error {
	e, err := wire.ParseEnvelope(bytes.Clone(x.Body))
	if err != nil {
		n.t.Error(err)
	}
	ops, err := wire.ParseOps(e.Ops, nil, 1000)
	if err != nil {
		n.t.Error(err)
	}
	n.mu.Lock()
	n.n++
	n.inFlight++
	n.most = max(n.most, n.inFlight)
	mute := n.mute
	at := n.n
	n.mu.Unlock()
	defer func() { n.mu.Lock(); n.inFlight--; n.mu.Unlock() }()
	if mute != nil {
		if f := mute(at); f != nil && f.Untouched {
			return f
		}
	}
	if err := wait(ctx, n.rtt/2); err != nil {
		return err
	}
	results := n.serve(ctx, ops)
	if err := wait(ctx, n.rtt/2); err != nil {
		return err
	}
	if mute != nil {
		if f := mute(at); f != nil {
			return f
		}
	}
	x.Answer = wire.AppendAnswer(x.Answer, results)
	return nil
}

func (n *packetNode) serve(ctx context.Context, ops []wire.Op) []wire.Result {
	n.mu.Lock()
	defer n.mu.Unlock()
	results := make([]wire.Result, len(ops))
	limit := 350 * time.Millisecond
	if !slices.ContainsFunc(ops, func(o wire.Op) bool { return o.Kind != wire.UDPData || o.Len() > 0 || o.Empty }) {
		limit = 15 * time.Second
		n.polls++
	}
	for i := range ops {
		n.execute(&ops[i], &results[i])
	}
	for deadline := time.After(limit); !n.drain(results); {
		ch := n.changed
		n.mu.Unlock()
		select {
		case <-ch:
			n.mu.Lock()
			continue
		case <-ctx.Done():
		case <-deadline:
		}
		n.mu.Lock()
		break
	}
	return results
}

func (n *packetNode) execute(op *wire.Op, r *wire.Result) {
	sid := string(op.SID)
	switch op.Kind {
	case wire.UDPOpen:
		n.opens++
		if n.refuse != "" {
			r.Err = []byte(n.refuse)
			return
		}
		sid = fmt.Sprintf("u%d", n.opens)
		r.IP = []byte("192.0.2.7")
		if n.dead {
			break
		}
		n.sessions[sid] = new([][]byte)
	case wire.Close:
		n.closed = append(n.closed, sid)
		delete(n.sessions, sid)
	}
	r.SID, r.HasOff = []byte(sid), !n.stock
	s := n.sessions[sid]
	if s == nil {
		r.EOF = true
		return
	}
	if op.Len() == 0 && !op.Empty {
		return
	}
	p := bytes.Join(op.Data, nil)
	n.got = append(n.got, string(p))
	if n.answer == nil {
		*s = append(*s, p)
	} else {
		*s = append(*s, n.answer(p)...)
	}
}

// drain moves what there is into the results, and reports whether that, or an
// end, is something to tell.
func (n *packetNode) drain(results []wire.Result) (some bool) {
	for i := range results {
		r := &results[i]
		some = some || r.EOF || len(r.Err) > 0
		if s := n.sessions[string(r.SID)]; s != nil && len(*s) > 0 {
			r.Pkts, *s, some = *s, nil, true
		}
	}
	return some
}

// say makes the target of a session send datagrams.
func (n *packetNode) say(sid string, pkts ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, p := range pkts {
		*n.sessions[sid] = append(*n.sessions[sid], []byte(p))
	}
	close(n.changed)
	n.changed = make(chan struct{})
}

func (n *packetNode) count() (exchanges, polls int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.n, n.polls
}

// heard returns what arrived at the targets, and which sessions were closed.
func (n *packetNode) heard() (got, closed []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.got), slices.Clone(n.closed)
}

// An udpApp is the application's side of a flow.
type udpApp struct {
	u     *UDP
	mu    sync.Mutex
	got   []string
	from  netip.Addr
	took  []time.Duration
	began time.Time
	ended error
}

func openUDP(m *Mux, host string, port uint16) *udpApp {
	a := &udpApp{began: time.Now()}
	a.u = m.OpenUDP(host, port, func(from netip.Addr, pkts [][]byte) {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.from = from
		for _, p := range pkts {
			a.got = append(a.got, string(p))
			a.took = append(a.took, time.Since(a.began))
		}
	}, func(err error) {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.ended = err
	})
	return a
}

// send sends each text as a datagram of its own.
func (a *udpApp) send(texts ...string) {
	b := buf.Get(buf.Max)
	defer b.Release()
	var pkts [][]byte
	for _, text := range texts {
		at := len(b.B)
		b.B = append(b.B, text...)
		pkts = append(pkts, b.B[at:])
	}
	a.u.Send(b, pkts)
}

func (a *udpApp) end() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.ended
}

func (a *udpApp) received() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.got)
}

// A query and its answer are one exchange, and nothing follows: neither a poll
// nor, for a minute, a close.
func TestUDPQueryIsOneExchange(t *testing.T) {
	for _, stock := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			n := newPacketNode(t, 1500*time.Millisecond)
			n.stock = stock
			m := newMux(t, Config{}, 30, n)
			a := openUDP(m, "dns.example", 53)
			a.send("query")
			time.Sleep(time.Minute)
			if got := a.received(); len(got) != 1 || got[0] != "query" || a.took[0] != 1500*time.Millisecond {
				t.Errorf("got %q after %v", got, a.took)
			}
			if a.from != netip.MustParseAddr("192.0.2.7") {
				t.Errorf("from %v", a.from)
			}
			a.u.Close()
			time.Sleep(10 * time.Minute)
			if e, _ := n.count(); e != 1 {
				t.Errorf("%d exchanges", e)
			}
		})
	}
}

// The closes of hardly used flows ride with others, or go together when there
// are many, at both sides of that.
func TestUDPClosesGoTogether(t *testing.T) {
	for _, flows := range []int{49, 50} {
		synctest.Test(t, func(t *testing.T) {
			n := newPacketNode(t, time.Second)
			m := newMux(t, Config{}, 30, n)
			for i := range flows {
				a := openUDP(m, fmt.Sprint("dns", i), 53)
				a.send("query")
				defer a.u.Close()
			}
			time.Sleep(5 * time.Second)
			before, _ := n.count()
			for _, f := range m.all(m.loop.lane) {
				f.side.(*UDP).Close()
			}
			time.Sleep(10 * time.Second)
			_, closed := n.heard()
			if after, _ := n.count(); len(closed) != flows/50*50 || after-before != flows/50 {
				t.Errorf("of %d flows %d closes went by %d exchanges", flows, len(closed), after-before)
			}
		})
	}
}

// A call of 50 datagrams a second, both ways, takes a few exchanges a second,
// and loses nothing.
func TestUDPCallIsFewExchanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newPacketNode(t, 1500*time.Millisecond)
		m := newMux(t, Config{Stale: 3 * time.Second}, 30, n)
		a := openUDP(m, "example.org", 9000)
		for i := range 50 * 60 {
			a.send(fmt.Sprint(i))
			time.Sleep(20 * time.Millisecond)
		}
		time.Sleep(5 * time.Second)
		if got := a.received(); len(got) != 50*60 {
			t.Errorf("%d of %d came back", len(got), 50*60)
		}
		if e, _ := n.count(); e > 60*7 {
			t.Errorf("%d exchanges in a minute", e)
		}
		a.u.Close()
	})
}

// A burst is as many ops as it has datagrams, in order, in as few exchanges as
// max_ops allows.
func TestUDPBurst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newPacketNode(t, time.Second)
		m := newMux(t, Config{}, 30, n)
		a := openUDP(m, "example.org", 9000)
		var want []string
		for i := range 101 {
			want = append(want, fmt.Sprint(i))
		}
		a.send(want...)
		time.Sleep(2900 * time.Millisecond) // the poll that follows is due at 3 s
		got := a.received()
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("got %q", got)
		}
		if e, polls := n.count(); e-polls != 3 { // 1 opens, 50, 50
			t.Errorf("%d exchanges and %d polls", e-polls, polls)
		}
		a.u.Close()
	})
}

// The bound of a flow's queue, at both sides: the oldest go.
func TestUDPQueueDropsTheOldest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := new(stats.UDP)
		n := newPacketNode(t, time.Second)
		m := newMux(t, Config{UDP: st}, 30, n)
		a := openUDP(m, "example.org", 9000)
		a.send("opens")
		synctest.Wait()
		const size = 10_000
		most := int(m.outMost.Load())
		b := buf.Get(size)
		fit := most / (cap(b.B) + datagramCost)
		b.Release()
		for i := range fit {
			a.send(fmt.Sprintf("%0*d", size, i))
		}
		if d := st.Dropped[stats.DropQueue].Load(); d != 0 {
			t.Errorf("%d dropped of what fits", d)
		}
		a.send(strings.Repeat("x", size))
		if d := st.Dropped[stats.DropQueue].Load(); d != 1 {
			t.Errorf("%d dropped of one too many", d)
		}
		time.Sleep(20 * time.Second)
		if slices.Contains(a.received(), fmt.Sprintf("%0*d", size, 0)) {
			t.Error("not the oldest was dropped")
		}
		a.u.Close()
	})
}

// What waits for longer than stale goes, at both sides of it.
func TestUDPStale(t *testing.T) {
	for _, late := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			st := new(stats.UDP)
			n := newPacketNode(t, 2990*time.Millisecond)
			if late {
				n.rtt = 3010 * time.Millisecond
			}
			m := newMux(t, Config{UDP: st, Stale: 3 * time.Second}, 30, n)
			a := openUDP(m, "example.org", 9000)
			a.send("opens")
			time.Sleep(time.Millisecond)
			a.send("waits for the session")
			time.Sleep(20 * time.Second)
			got, _ := n.heard()
			if d := st.Dropped[stats.DropStale].Load() == 1; d != late || len(got) == 2 == late {
				t.Errorf("late %v, dropped %v, arrived %q", late, d, got)
			}
			a.u.Close()
		})
	}
}

// A lost exchange costs its datagrams and nothing else; one that certainly did
// not reach the node costs nothing.
func TestUDPLostExchange(t *testing.T) {
	for _, untouched := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			st := new(stats.UDP)
			n := newPacketNode(t, 100*time.Millisecond)
			n.mute = func(i int) *relay.Failure {
				if i == 2 {
					return lost(relay.Broken, untouched)
				}
				return nil
			}
			m := newMux(t, Config{UDP: st}, 30, n)
			a := openUDP(m, "example.org", 53)
			for _, text := range []string{"1", "2", "3"} {
				a.send(text)
				time.Sleep(2 * time.Second)
			}
			want, dropped := []string{"1", "3"}, uint64(1)
			if untouched {
				want, dropped = []string{"1", "2", "3"}, 0
			}
			if got := a.received(); !slices.Equal(got, want) || st.Dropped[stats.DropRelay].Load() != dropped {
				t.Errorf("untouched %v: got %q, dropped %d", untouched, got, st.Dropped[stats.DropRelay].Load())
			}
			a.u.Close()
		})
	}
}

// A flow outlives its session: the datagram that finds it gone opens another.
func TestHostile77_UDPNodeRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newPacketNode(t, 100*time.Millisecond)
		m := newMux(t, Config{}, 30, n)
		a := openUDP(m, "example.org", 53)
		a.send("1")
		time.Sleep(time.Second)
		n.mu.Lock()
		clear(n.sessions)
		n.mu.Unlock()
		a.send("2")
		time.Sleep(time.Second)
		if got := a.received(); !slices.Equal(got, []string{"1", "2"}) || n.opens != 2 {
			t.Errorf("got %q, %d sessions", got, n.opens)
		}
		a.u.Close()
	})
}

// A refused destination is asked for once in refusedFor, not per datagram.
func TestUDPRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := new(stats.UDP)
		n := newPacketNode(t, 100*time.Millisecond)
		n.refuse = "udp connect failed: " + wire.Denied.String()
		m := newMux(t, Config{UDP: st}, 30, n)
		a := openUDP(m, "10.0.0.1", 9000)
		for range 20 {
			a.send("x")
			time.Sleep(refusedFor/20 - time.Millisecond)
		}
		if e, _ := n.count(); e != 1 || a.end() != nil {
			t.Errorf("%d exchanges, ended: %v", e, a.end())
		}
		time.Sleep(time.Second)
		if err := a.end(); err == nil || wire.ReasonOf(err.Error()) != wire.Denied {
			t.Errorf("ended: %v", err)
		}
		if open := st.FlowsOpen.Load(); open != 0 {
			t.Errorf("%d flows are open", open)
		}
		a.u.Close()
	})
}

// Polls follow traffic, back off, and leave next to nothing of an idle flow.
func TestUDPPollsBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newPacketNode(t, time.Second)
		m := newMux(t, Config{}, 30, n)
		a := openUDP(m, "example.org", 9000)
		a.send("hello")
		time.Sleep(5 * time.Second)
		began := time.Now()
		n.say("u1", "pushed")
		time.Sleep(time.Second)
		if got := a.received(); len(got) != 2 || time.Since(began) > time.Second {
			t.Errorf("a push into a held poll brought %q", got)
		}
		time.Sleep(5 * time.Minute)
		_, before := n.count()
		time.Sleep(10 * time.Minute)
		_, after := n.count()
		if polls := after - before; polls < 5 || polls > 14 {
			t.Errorf("%d polls of an idle flow in 10 minutes", polls)
		}
		a.u.Close()
	})
}

// The poll of an idle UDP flow rides with another's; a TCP flow's waits for its
// time.
func TestUDPPollsRide(t *testing.T) {
	var sent []*exchange
	l := idleMux(func(x *exchange) { sent = append(sent, x) })
	now := time.Now()
	wait := func(f *flow, at time.Time) {
		f.state, f.sid, f.ours, f.pollAt = open, []byte("s"), true, at
		l.line(f, inPolls)
	}
	due, early := newStream(l.m, "h", 80), newStream(l.m, "h", 80)
	wait(&due.fl.flow, now)
	wait(&openUDP(l.m, "h", 9000).u.fl.flow, now.Add(time.Second))
	wait(&openUDP(l.m, "h", 9000).u.fl.flow, now.Add(time.Minute))
	wait(&early.fl.flow, now.Add(time.Hour))
	l.fire(now)
	if len(sent) != 1 || len(sent[0].ops) != 3 || early.fl.polls != 0 {
		t.Errorf("%d exchanges, the first of %d ops", len(sent), len(sent[0].ops))
	}
}

// A flood of datagrams leaves slots to streams: a keystroke takes a round trip.
func TestHostile26_FloodLeavesSlots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNode(t)
		n.rtt = time.Second
		packets := &floodNode{n}
		m := newMux(t, Config{}, 5, packets)
		s := m.Open("example.org", 22)
		ask(t, s, "first")
		stop := make(chan struct{})
		var apps []*udpApp
		for i := range 8 {
			apps = append(apps, openUDP(m, "example.org", uint16(9000+i)))
		}
		go func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(time.Millisecond):
				}
				for _, a := range apps {
					a.send("x", "y")
				}
			}
		}()
		time.Sleep(10 * time.Second)
		for range 5 {
			began := time.Now()
			ask(t, s, "k")
			if took := time.Since(began); took > 1300*time.Millisecond {
				t.Errorf("a keystroke took %v", took)
			}
			time.Sleep(300 * time.Millisecond)
		}
		close(stop)
		for _, a := range apps {
			a.u.Close()
		}
		s.Close()
	})
}

// A floodNode passes TCP ops to a fakeNode and swallows UDP.
type floodNode struct{ *fakeNode }

func (n *floodNode) Exchange(ctx context.Context, x *relay.Exchange) error {
	e, _ := wire.ParseEnvelope(bytes.Clone(x.Body))
	ops, _ := wire.ParseOps(e.Ops, nil, 1000)
	udp := 0
	for i := range ops {
		if ops[i].Kind >= wire.UDPOpen {
			udp++
		}
	}
	if udp == 0 {
		return n.fakeNode.Exchange(ctx, x)
	}
	if err := wait(ctx, n.rtt/2); err != nil {
		return err
	}
	var tcp []wire.Op
	for i := range ops {
		if ops[i].Kind < wire.UDPOpen {
			tcp = append(tcp, ops[i])
		}
	}
	var theirs []wire.Result
	if len(tcp) > 0 {
		theirs = n.serve(ctx, tcp, false, 0)
	}
	results := make([]wire.Result, len(ops))
	for i := range ops {
		if ops[i].Kind < wire.UDPOpen {
			results[i], theirs = theirs[0], theirs[1:]
			continue
		}
		results[i] = wire.Result{SID: []byte("u"), HasOff: true}
	}
	if err := wait(ctx, n.rtt/2); err != nil {
		return err
	}
	x.Answer = wire.AppendAnswer(x.Answer, results)
	return nil
}

func TestUDPSizes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newPacketNode(t, time.Second)
		m := newMux(t, Config{}, 30, n)
		a := openUDP(m, "example.org", 53)
		for _, size := range []int{0, 1, 65_507, 65_527} {
			a.send(strings.Repeat("x", size))
			time.Sleep(2 * time.Second)
			if got := a.received(); len(got) == 0 || len(got[len(got)-1]) != size {
				t.Errorf("%d bytes did not come back", size)
			}
		}
		a.u.Close()
	})
}

// The largest datagram that a body takes, and one more byte.
func TestUDPBodyLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := new(stats.UDP)
		n := newPacketNode(t, time.Second)
		m := newMux(t, Config{UDP: st, MaxBytes: 8 << 10}, 30, n)
		a := openUDP(m, "example.org", 53)
		op := wire.Op{Kind: wire.UDPOpen, Host: []byte("example.org"), Port: 53}
		room := payloadRoom(&op, m.loop.bodyLimit(m.loop.ds[0], time.Now()))
		a.send(strings.Repeat("x", room+1))
		time.Sleep(5 * time.Second)
		if got, _ := n.heard(); len(got) != 0 || st.Dropped[stats.DropTooLarge].Load() != 1 {
			t.Errorf("%d arrived, dropped %d", len(got), st.Dropped[stats.DropTooLarge].Load())
		}
		b := openUDP(m, "example.org", 53)
		b.send(strings.Repeat("x", room))
		time.Sleep(5 * time.Second)
		if len(b.received()) != 1 || st.Dropped[stats.DropTooLarge].Load() != 1 {
			t.Errorf("%d came back, dropped %d", len(b.received()), st.Dropped[stats.DropTooLarge].Load())
		}
		a.u.Close()
		b.u.Close()
	})
}

// What was sent before Close still goes; the end is told at once only where
// the target may still be sending.
func TestUDPClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newPacketNode(t, time.Second)
		m := newMux(t, Config{}, 30, n)
		a := openUDP(m, "example.org", 9000)
		a.send("last words")
		a.u.Close()
		a.send("too late")
		time.Sleep(2 * time.Second)
		if got, closed := n.heard(); !slices.Equal(got, []string{"last words"}) || len(closed) != 0 {
			t.Errorf("arrived %q, closed %q", got, closed)
		}
		b := openUDP(m, "example.org", 9000)
		b.send("1", "2", "3")
		time.Sleep(5 * time.Second)
		b.u.Close()
		time.Sleep(time.Second)
		if _, closed := n.heard(); len(closed) == 0 {
			t.Error("the end of a busy flow is not told")
		}
	})
}

func TestPacketWait(t *testing.T) {
	const never, rtt, s = time.Duration(-1), time.Second, time.Second
	for _, c := range []struct {
		n, due int
		quiet  time.Duration
		poll   bool
		port   uint16
		want   time.Duration
	}{
		{4, 0, 0, false, 9000, 0},
		{3, 0, 0, false, 9000, packetPause},
		{1, 1, 0, false, 9000, 0},
		{1, 0, 0, true, 9000, 0}, // the other side speaks by itself
		{0, 1, 4*s - 1, true, 9000, 0},
		{0, 1, 4 * s, true, 9000, 2 * s},
		{0, 0, 2 * s, true, 9000, packetPause},
		{0, 0, 3 * s, true, 9000, 3 * s / 2},
		{0, 0, 63 * s, true, 9000, 63 * s / 2},
		{0, 0, 65 * s, true, 9000, packetPauseMost},
		{1, 0, 0, false, portDNS, never},
		{0, 1, 12 * s, true, portDNS, 0},
		{0, 1, 12*s + 1, true, portDNS, never},
	} {
		got, ok := packetWait(c.n, c.due, c.quiet, rtt, c.poll, c.port)
		if !ok {
			got = never
		}
		if got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

func TestSchedule(t *testing.T) {
	var s schedule
	base := time.Now()
	for _, i := range []int{5, 3, 8, 1, 9, 2, 2, 7} {
		s.push(place{turn: uint32(i)}, base.Add(time.Duration(i)))
	}
	var got []uint32
	for s.len() > 0 {
		got = append(got, s.first().turn)
		s.pop()
	}
	if !slices.Equal(got, []uint32{1, 2, 2, 3, 5, 7, 8, 9}) {
		t.Error(got)
	}
}

func TestFifoUnpop(t *testing.T) {
	var q fifo[int]
	for i := range 20 {
		q.unpop(i)
	}
	for i := 19; i >= 0; i-- {
		if got := q.pop(); got != i {
			t.Fatalf("got %d, want %d", got, i)
		}
	}
}

// One datagram from the application into an op, and given up again, costs no
// allocation.
func TestUDPNoAllocs(t *testing.T) {
	l := idleMux(func(*exchange) {})
	l.m.flows = map[*flow]struct{}{}
	a := openUDP(l.m, "example.org", 9000)
	f := &a.u.fl
	f.state, f.sid, f.ours = open, []byte("0123456789ABCDEFGHIJKLMNOP"), true
	f.noted.Store(true)
	a.u.over = false
	b := buf.Copy(make([]byte, 1200))
	pkts := [][]byte{b.B}
	var op wire.Op
	if n := testing.AllocsPerRun(1000, func() {
		a.u.Send(b, pkts)
		op.Reset()
		d, fits := a.u.compose(&op, l.ds[0], 1<<20, true)
		if !fits {
			t.Fatal("does not fit")
		}
		a.u.done(d, &outcome{got: true})
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	b.Release()
}

// What goes out again goes in the order in which it was sent: after a failure
// that the node has not seen, and after a session that had ended there.
func TestUDPAgainInOrder(t *testing.T) {
	for _, restart := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			n := newPacketNode(t, 100*time.Millisecond)
			n.mute = func(i int) *relay.Failure {
				if i == 2 && !restart {
					return lost(relay.Broken, true)
				}
				return nil
			}
			m := newMux(t, Config{}, 30, n)
			a := openUDP(m, "example.org", 53)
			a.send("00")
			time.Sleep(3 * time.Second)
			if restart {
				n.mu.Lock()
				clear(n.sessions)
				n.mu.Unlock()
			}
			var texts []string
			for i := range 40 {
				texts = append(texts, fmt.Sprintf("%02d", i+1))
			}
			a.send(texts...)
			time.Sleep(20 * time.Second)
			if got, _ := n.heard(); len(got) != 41 || !slices.IsSorted(got) {
				t.Errorf("restart %v: the target got %q", restart, got)
			}
			a.u.Close()
		})
	}
}

// Also when exchanges come back in another order than they went.
func TestUDPAgainSorts(t *testing.T) {
	l := idleMux(func(*exchange) {})
	u := openUDP(l.m, "example.org", 9).u
	u.over, u.dead = false, false
	for _, seq := range []uint64{7, 3, 5, 1, 2, 6, 4} {
		u.again(datagram{b: buf.Get(1), seq: seq})
	}
	for want := uint64(1); want <= 7; want++ {
		d := u.pop()
		if d.seq != want {
			t.Errorf("%d is in the place of %d", d.seq, want)
		}
		d.b.Release()
	}
	if u.bytes != 0 {
		t.Errorf("%d bytes are left", u.bytes)
	}
}

// A lateNode takes longer for some exchanges.
type lateNode struct {
	*packetNode
	late func(ops []wire.Op) time.Duration
}

func (d *lateNode) Exchange(ctx context.Context, x *relay.Exchange) error {
	e, _ := wire.ParseEnvelope(slices.Clone(x.Body))
	ops, _ := wire.ParseOps(e.Ops, nil, 1000)
	if err := wait(ctx, d.late(ops)); err != nil {
		return err
	}
	return d.packetNode.Exchange(ctx, x)
}

// The close does not overtake the last datagram, by whatever exchange that goes.
func TestUDPCloseDoesNotOvertake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newPacketNode(t, time.Second)
		m := newMux(t, Config{}, 30, &lateNode{n, func(ops []wire.Op) time.Duration {
			if len(ops[0].Data) > 0 && string(ops[0].Data[0]) == "bye" {
				return 300 * time.Millisecond
			}
			return 0
		}})
		a := openUDP(m, "example.org", 9)
		for range hardlyUsed + 1 {
			a.send("x")
			time.Sleep(3 * time.Second)
		}
		a.send("bye")
		time.Sleep(20 * time.Millisecond)
		a.u.Close()
		time.Sleep(10 * time.Second)
		if got, closed := n.heard(); !slices.Contains(got, "bye") || len(closed) != 1 {
			t.Errorf("the target got %q, closed %q", got, closed)
		}
	})
}

// A flow that always has more to send than there are slots for is not taken for
// one that no relay carries.
func TestUDPBusyFlowIsNotDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newPacketNode(t, 500*time.Millisecond)
		m := newMux(t, Config{Stale: 3 * time.Second}, 2, n)
		a := openUDP(m, "example.org", 9)
		for began := time.Now(); time.Since(began) < 2*grace; time.Sleep(300 * time.Millisecond) {
			a.send(slices.Repeat([]string{"x"}, 120)...)
		}
		if err := a.end(); err != nil || n.opens != 1 {
			t.Errorf("ended: %v, after %d sessions", err, n.opens)
		}
		a.u.Close()
	})
}

// What waits counts with what it pins: datagrams of a byte too.
func TestUDPSmallDatagramsMemory(t *testing.T) {
	l := idleMux(func(*exchange) {})
	u := openUDP(l.m, "example.org", 9).u
	u.over, u.dead = false, false
	u.fl.noted.Store(true)
	b := buf.Copy([]byte("x"))
	defer b.Release()
	for range 10_000 {
		u.Send(b, [][]byte{b.B})
	}
	pinned := 0
	for i := range u.out.len() {
		pinned += cap(u.out.at(i).b.B)
	}
	if most := int(l.m.outMost.Load()); pinned > most || pinned < most/2 {
		t.Errorf("%d bytes are pinned, %d may be", pinned, most)
	}
}

// A refusal that may pass soon, as that of a limit, silences a flow for a moment.
func TestUDPPassingRefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newPacketNode(t, 100*time.Millisecond)
		n.refuse = "udp connect failed: too many new connections at the node"
		m := newMux(t, Config{}, 30, n)
		a := openUDP(m, "192.0.2.53", 53)
		a.send("query")
		time.Sleep(passingFor)
		if a.end() != nil {
			t.Error("ended at once")
		}
		time.Sleep(time.Second)
		if a.end() == nil {
			t.Error("is still silent")
		}
	})
}

// A port where nobody listens is tried a few times, then silent for refusedFor.
func TestUDPNobodyListens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newPacketNode(t, 100*time.Millisecond)
		n.dead = true
		m := newMux(t, Config{}, 30, n)
		a := openUDP(m, "example.org", 9)
		for range 20 {
			a.send("anybody?")
			time.Sleep(500 * time.Millisecond)
		}
		if e, _ := n.count(); e != deadEnds || n.opens != deadEnds {
			t.Errorf("%d exchanges, %d sessions", e, n.opens)
		}
		time.Sleep(2 * time.Second)
		if a.end() == nil {
			t.Error("has not ended")
		}
	})
}

// An answer that leaves a RESULT out loses nothing of the others, though they
// are all of one session.
func TestUDPSkippedResult(t *testing.T) {
	l := idleMux(func(*exchange) {})
	a := openUDP(l.m, "example.org", 9)
	a.u.over = false
	x := &exchange{d: l.ds[0], out: make([]outcome, 3)}
	for range 3 {
		x.add(&a.u.fl.flow, datagram{}).SID = []byte("s")
	}
	body := buf.Body()
	body.B = append(body.B, `{"r":[{"sid":"s","pkts":["MQ=="]},{"sid":"s","pkts":["Mg=="]}]}`...)
	if f := x.deliver(body); f != nil {
		t.Error(f)
	}
	body.Release()
	if got := a.received(); !slices.Equal(got, []string{"1", "2"}) || !x.out[1].got || x.out[2].got {
		t.Errorf("got %q, outcomes %+v", got, x.out)
	}
}

// A name that leads elsewhere by now: replies have the new address.
func TestUDPAddressAfterReopen(t *testing.T) {
	l := idleMux(func(*exchange) {})
	a := openUDP(l.m, "example.org", 9)
	a.u.over = false
	for _, ip := range []string{"192.0.2.1", "2001:db8::1", "", "nonsense"} {
		a.u.hand(&wire.Result{IP: []byte(ip), Pkts: [][]byte{{'x'}}})
		if ip == "" || ip == "nonsense" {
			ip = "2001:db8::1"
		}
		if a.from.String() != ip {
			t.Errorf("from %v, want %s", a.from, ip)
		}
	}
}

// Two deployments of one account: a flood of datagrams leaves slots of it free.
func TestHostile26_FloodSharedAccount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const slots = 10
		n := newPacketNode(t, time.Second)
		account := NewAccount(slots, "")
		var c Config
		for i := range 2 {
			c.Deployments = append(c.Deployments, Deployment{Name: fmt.Sprint(i), Key: secret.New("key"), Transport: n, Account: account})
		}
		m := newMux(t, c, slots)
		a := openUDP(m, "example.org", 9)
		for range 100 {
			a.send(slices.Repeat([]string{"x"}, 800)...)
			time.Sleep(100 * time.Millisecond)
		}
		n.mu.Lock()
		defer n.mu.Unlock()
		if want := slots - slots/5; n.most != want {
			t.Errorf("%d of %d slots were taken, want %d", n.most, slots, want)
		}
		a.u.Close()
	})
}

// TCP and UDP take turns, however many flows of one there are.
func TestHostile26_TakingTurns(t *testing.T) {
	var sent []*exchange
	l := idleMux(func(x *exchange) { sent = append(sent, x) })
	ready := func(f *flow) {
		f.state, f.sid, f.ours = open, []byte("s"), true
		l.consider(f)
	}
	b := buf.Copy([]byte("x"))
	defer b.Release()
	for range 500 {
		u := openUDP(l.m, "h", 9).u
		u.over, u.dead = false, false
		u.fl.noted.Store(true)
		u.Send(b, [][]byte{b.B})
		ready(&u.fl.flow)
	}
	for range 5 {
		s := newStream(l.m, "h", 80)
		s.started = true
		s.out.add(buf.Copy([]byte("key")))
		ready(&s.fl.flow)
	}
	l.fire(time.Now())
	tcp := 0
	for _, op := range sent[0].ops {
		if op.Kind == wire.Data {
			tcp++
		}
	}
	if tcp != 5 {
		t.Errorf("%d of 5 streams are in the first batch", tcp)
	}
}

// Flows that are over and have not got rid of what they sent are bounded, at both
// sides.
func TestHostile25_ClosedFlowsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newPacketNode(t, time.Hour)
		m := newMux(t, Config{}, 1, n)
		for i := range 2 * lingerMost {
			a := openUDP(m, fmt.Sprint(i), 9)
			a.send("x")
			a.u.Close()
			if i == lingerMost/2 {
				synctest.Wait()
				if n := m.lingering(); n != i+1 {
					t.Errorf("%d of %d are left", n, i+1)
				}
			}
		}
		synctest.Wait()
		if n := m.lingering(); n > lingerMost+1 {
			t.Errorf("%d are left, want %d", n, lingerMost)
		}
	})
}

// What overtakes the word of where a name leads waits for it, as long as it is
// little, and keeps its order.
func TestUDPLinkSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMux(t, Config{}, 30, newPacketNode(t, time.Second))
		type arrival struct {
			from netip.Addr
			p    string
		}
		var got []arrival
		open := func() *link.Stream {
			got = nil
			u := m.OpenUDP("example.org", 9000, func(from netip.Addr, pkts [][]byte) {
				for _, p := range pkts {
					got = append(got, arrival{from, string(p)})
				}
			}, func(error) {})
			s := link.NewConn(link.Config{Client: true}, nil).Open("example.org", 9000, true, false, 0)
			s.User = u
			return s
		}
		l := new(linkLoop)
		s := open()
		for i := range earlyMost {
			l.Datagrams(s, nil, [][]byte{{byte('a' + i)}})
		}
		if len(got) != 0 {
			t.Errorf("%v before the source is known", got)
		}
		l.Opened(s)
		l.Datagrams(s, nil, [][]byte{[]byte("z")})
		if len(got) != earlyMost+1 || got[0].p != "a" || got[earlyMost].p != "z" {
			t.Errorf("%v", got)
		}
		s = open()
		for range earlyMost + 1 {
			l.Datagrams(s, nil, [][]byte{[]byte("x")})
		}
		l.Datagrams(s, nil, [][]byte{[]byte("x")})
		if len(got) != earlyMost+2 {
			t.Errorf("%d of many without a source", len(got))
		}
		for size, want := range map[int]int{earlyBytes: 0, earlyBytes + 1: 1} {
			if l.Datagrams(open(), nil, [][]byte{make([]byte, size)}); len(got) != want {
				t.Errorf("%d of %d bytes without a source", len(got), size)
			}
		}
	})
}
