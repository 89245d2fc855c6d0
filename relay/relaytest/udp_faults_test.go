package relaytest

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"relaymux/mux/stats"
	"relaymux/socks"
)

// TestUDPLostAnswers: one in three is lost. What was in it is gone, and nothing
// else: the flow goes on, beside a TCP connection that misses nothing, and no
// datagram reaches its target twice.
func TestUDPLostAnswers(t *testing.T) {
	t.Parallel()
	virtual(t, StackConfig{Scripts: 2}, func(t *testing.T, s *Stack) {
		var sources senders
		seen := newSeen()
		addr := s.servePackets(t, func(c net.PacketConn, from net.Addr, p []byte) {
			seen.note(numberOf(p))
			sources.echo(c, from, p)
		})
		a := associate(t, s)
		wantEcho(t, a, addr, nth(0, 100))
		tcp := open(t, s.Connect, s.serve(t, Echo))
		ask(t, tcp, "hello")
		s.Relay.Set(func(k *Knobs) { k.LoseAfter = 3 })
		const n = 300
		k := newTalk(n, 100, 100*time.Millisecond)
		go k.say(func(p []byte) { put(t, a, addr, p) })
		got := gather(a, k.at)
		t.Logf("%d of %d echoes came; the proxy dropped %v, the node %v", len(got.seen), n, dropped(s.UDP), dropped(s.NodeUDP))
		if got.foreign > 0 || len(got.took) != len(got.seen) || len(got.seen) < n/3 {
			t.Errorf("%d echoes, %d in all, %d of them foreign", len(got.seen), len(got.took), got.foreign)
		}
		if twice := seen.twice(); twice > 1 { // number 0 is sent by both
			t.Errorf("%d datagrams reached the target twice", twice)
		}
		ask(t, tcp, "still there")
		s.Relay.Set(func(k *Knobs) { k.LoseAfter = 0 })
		time.Sleep(soon)
		for i := range 5 {
			wantEcho(t, a, addr, nth(n+i, 100))
		}
		if c := sources.count(); c != 1 {
			t.Errorf("the target was sent to from %d sockets", c)
		}
	})
}

// seen counts numbers.
type seen struct {
	mu    sync.Mutex
	times map[int]int
}

func newSeen() *seen { return &seen{times: make(map[int]int)} }

func (s *seen) note(i int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.times[i]++
}

// twice is how many came more than once.
func (s *seen) twice() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range s.times {
		if k > 1 {
			n++
		}
	}
	return n
}

// TestUDPRequestsThatTheNodeNeverSaw go again: a relay that is busy loses nothing.
func TestUDPRequestsThatTheNodeNeverSaw(t *testing.T) {
	t.Parallel()
	busy := func(k *Knobs) { k.Status, k.RetryAfter = http.StatusTooManyRequests, "20" }
	virtual(t, StackConfig{Scripts: 2}, func(t *testing.T, s *Stack) {
		addr := s.servePackets(t, EchoPacket)
		a := associate(t, s)
		s.Relay.Set(busy, "d0")
		if took := wantEcho(t, a, addr, []byte("the first")); took > 2*rtt+100*time.Millisecond {
			t.Errorf("the first took %v", took)
		}
		time.Sleep(time.Minute)
		k := newTalk(500, 100, 20*time.Millisecond)
		go k.say(func(p []byte) { put(t, a, addr, p) })
		got := gather(a, k.at)
		got.want(t, "the app", 500, false)
		s.wantNoDrops(t)
	})
}

// TestUDPByABadPath: a target that loses, doubles and reorders. What it does is
// what the application sees, no less and no more.
func TestUDPByABadPath(t *testing.T) {
	t.Parallel()
	virtual(t, StackConfig{Scripts: 1}, func(t *testing.T, s *Stack) {
		addr := at(target4, 7)
		seen := newSeen()
		s.servePacketsAt(t, addr, func(c net.PacketConn, from net.Addr, p []byte) {
			seen.note(numberOf(p))
			EchoPacket(c, from, p)
		})
		s.config.Memory.SetPath(target4.String(), Path{Delay: 40 * time.Millisecond, Lose: 5, Duplicate: 5, Late: 5, LateBy: time.Second}, 1)
		a := associate(t, s)
		const n = 200
		k := newTalk(n, 100, 20*time.Millisecond)
		go k.say(func(p []byte) { put(t, a, addr, p) })
		got := gather(a, k.at)
		t.Logf("%d of %d echoes, %d in all, %d not in order", len(got.seen), n, len(got.took), got.overtaking)
		if got.foreign > 0 || len(got.seen) < n/2 || len(got.seen) == n || len(got.took) == len(got.seen) || got.overtaking == 0 {
			t.Errorf("%d of %d echoes, %d in all, %d not in order, %d foreign", len(got.seen), n, len(got.took), got.overtaking, got.foreign)
		}
		s.wantNoDrops(t)
	})
}

// TestUDPRefused: a port that nobody listens on costs few exchanges, however often
// it is tried, and its neighbours nothing.
func TestUDPRefused(t *testing.T) {
	t.Parallel()
	virtual(t, StackConfig{Scripts: 1}, func(t *testing.T, s *Stack) {
		addr := s.servePackets(t, EchoPacket)
		a := associate(t, s)
		wantEcho(t, a, addr, []byte("hello"))
		count := s.exchanges()
		for range 60 {
			put(t, a, at(target4, 9), []byte("anybody"))
			time.Sleep(time.Second)
		}
		n := count()
		t.Logf("a minute of trying cost %d exchanges", n)
		if n > 70 {
			t.Errorf("a minute of trying cost %d exchanges", n)
		}
		wantEcho(t, a, addr, []byte("still there"))
		s.servePacketsAt(t, at(target4, 9), EchoPacket)
		time.Sleep(20 * time.Second)
		wantEcho(t, a, at(target4, 9), []byte("now somebody"))
	})
}

// flood sends from an association as fast as rate says until stop is called.
func (s *Stack) flood(t *testing.T, addr string, rate int) (stop func()) {
	t.Helper()
	a := associate(t, s)
	done := make(chan bool)
	var ended sync.WaitGroup
	ended.Go(func() {
		const step = 10 * time.Millisecond
		p := make([]byte, 1200)
		for {
			for range max(1, rate/int(time.Second/step)) {
				_, _ = a.WriteTo(p, packetAddr(addr))
			}
			select {
			case <-done:
				return
			case <-time.After(step):
			}
		}
	})
	return func() { close(done); ended.Wait() }
}

// TestHostile26_PageBesideFlood: 1,200 bytes four thousand times a second, up or
// back as well, leave a page as fast as it is, and the memory bounded.
func TestHostile26_PageBesideFlood(t *testing.T) {
	t.Parallel()
	page := func(rate int, handle packetHandler) (took time.Duration) {
		virtual(t, StackConfig{Scripts: 2}, func(t *testing.T, s *Stack) {
			addr := s.servePackets(t, handle)
			if rate > 0 {
				stop := s.flood(t, addr, rate)
				defer stop()
			}
			time.Sleep(2 * rtt)
			web := s.origin(t, Origin())
			c := s.browser(12)
			defer c.CloseIdleConnections()
			took = elapsed(func() {
				if n := loadPage(t, c, web, 60, 2000); n > 0 {
					t.Errorf("%d objects failed", n)
				}
			})
			t.Logf("the page took %v beside %d a second; the proxy dropped %v, the node %v; the node held %d bytes",
				took, rate, dropped(s.UDP), dropped(s.NodeUDP), s.Node.Stats().Memory)
			if m := s.Node.Stats().Memory; m > 64<<20 {
				t.Errorf("the node holds %d bytes", m)
			}
		})
		return took
	}
	sink := func(net.PacketConn, net.Addr, []byte) {}
	alone := page(0, sink)
	for name, handle := range map[string]packetHandler{"up": sink, "up and back": EchoPacket} {
		if took := page(crowd(4000), handle); took > alone*13/10 {
			t.Errorf("%v beside a flood %s, %v without", took, name, alone)
		}
	}
}

// TestHostile23_ControlEnds: by FIN, in one direction or both, or by RST; the
// association's socket is gone within a second, and the node's session as soon as
// it can hear of it.
func TestHostile23_ControlEnds(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(net.Conn){
		"close": func(c net.Conn) { c.Close() }, "half-close": closeWrite, "reset": reset,
	} {
		for _, scripts := range []int{0, 1} {
			t.Run(fmt.Sprintf("%s, %d scripts", name, scripts), func(t *testing.T) {
				virtual(t, StackConfig{Scripts: scripts}, func(t *testing.T, s *Stack) {
					a := associate(t, s)
					addr := at(target4, 4000)
					_, _ = s.call(t, a, addr, 3)
					s.servePacketsAt(t, addr, EchoPacket)
					wantEcho(t, a, addr, []byte("in use"))
					if n := s.Node.Stats().Sessions; n != 1 {
						t.Fatalf("the node has %d sessions", n)
					}
					end(a.Control)
					time.Sleep(time.Second)
					if n := s.UDP.FlowsOpen.Load(); n != 0 {
						t.Errorf("the proxy has %d flows after a second", n)
					}
					again, err := s.config.Memory.ListenPacket(a.Relay.String())
					if err != nil {
						t.Errorf("the association's socket after a second: %v", err)
					} else {
						again.Close()
					}
					put(t, a, addr, []byte("too late"))
					wantSilence(t, a, time.Second)
					time.Sleep(2 * s.rtt())
					s.wantNoUDP(t)
				})
			})
		}
	}
}

// TestHostile87_StopWithAssociations: neither calls nor idle associations hold up
// the end, and nothing is left.
func TestHostile87_StopWithAssociations(t *testing.T) {
	t.Parallel()
	for _, scripts := range []int{0, 1} {
		virtual(t, StackConfig{Scripts: scripts}, func(t *testing.T, s *Stack) {
			addr := s.servePackets(t, EchoPacket)
			for range 5 {
				associate(t, s) // says nothing
				a := associate(t, s)
				k := newTalk(500, 160, 20*time.Millisecond)
				go k.say(func(p []byte) { _, _ = a.WriteTo(p, packetAddr(addr)) })
			}
			time.Sleep(3 * time.Second)
			took := elapsed(func() { check(t, s.close()) })
			t.Logf("%d scripts: stopped in %v", scripts, took)
			if took > 2*s.rtt()+time.Second {
				t.Errorf("%d scripts: stopped in %v", scripts, took)
			}
			time.Sleep(soon)
		})
	}
}

// TestHostile77_UDPNodeRestarts: in the middle of a call. What was under way is
// gone, and the call goes on without the application's doing anything, as does a
// flow that was idle.
func TestHostile77_UDPNodeRestarts(t *testing.T) {
	t.Parallel()
	for _, scripts := range []int{0, 2} {
		var node *mortal
		c := StackConfig{Scripts: scripts, Foreign: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { node.ServeHTTP(w, r) })}
		virtual(t, c, func(t *testing.T, s *Stack) {
			node = new(mortal)
			node.start(newNode(s.config.Memory))
			defer func() { node.crash().Close() }()
			addr, other := s.servePackets(t, EchoPacket), s.servePackets(t, EchoPacket)
			a := associate(t, s)
			wantEcho(t, a, other, []byte("hello"))
			const n = 600
			k := newTalk(n, 160, 50*time.Millisecond)
			go k.say(func(p []byte) { put(t, a, addr, p) })
			time.AfterFunc(10*time.Second, func() { node.crash().Close() })
			time.AfterFunc(10*time.Second+100*time.Millisecond, func() { node.start(newNode(s.config.Memory)) })
			got := gather(a, k.at)
			gap := got.gap(n)
			t.Logf("%d scripts: %d of %d echoes came, the longest gap %v", scripts, len(got.seen), n, time.Duration(gap)*k.pace)
			if got.seen[n-1] == 0 || time.Duration(gap)*k.pace > 3*rtt || got.foreign > 0 {
				t.Errorf("%d scripts: %d of %d echoes came, the longest gap is %d", scripts, len(got.seen), n, gap)
			}
			wantEcho(t, a, other, []byte("again"))
		})
	}
}

// gap is the longest row of numbers below n that never came.
func (y *tally) gap(n int) (longest int) {
	row := 0
	for i := range n {
		if row++; y.seen[i] > 0 {
			row = 0
		}
		longest = max(longest, row)
	}
	return longest
}

// TestUDPOutage: no relay works for a while. Datagrams of that time are lost or
// late, and it works again by itself.
func TestUDPOutage(t *testing.T) {
	t.Parallel()
	for _, outage := range []time.Duration{5 * time.Second, time.Minute, 5 * time.Minute} {
		virtual(t, StackConfig{Scripts: 2}, func(t *testing.T, s *Stack) {
			addr := s.servePackets(t, EchoPacket)
			a := associate(t, s)
			wantEcho(t, a, addr, []byte("hello"))
			s.Relay.Set(func(k *Knobs) { k.LoseBefore = 1 })
			k := newTalk(int(outage/time.Second), 100, time.Second)
			k.say(func(p []byte) { put(t, a, addr, p) })
			s.Relay.Set(func(k *Knobs) { k.LoseBefore = 0 })
			began := time.Now()
			for i := 0; ; i++ {
				put(t, a, addr, nth(10_000+i, 100))
				if p, _, err := get(a, rtt*3/2); err == nil && numberOf(p) >= 10_000 {
					break
				}
				if time.Since(began) > 2*outage+time.Minute {
					t.Fatalf("no echo %v after an outage of %v", time.Since(began), outage)
				}
			}
			t.Logf("after an outage of %v it took %v; the proxy dropped %v", outage, time.Since(began), dropped(s.UDP))
			if time.Since(began) > max(outage, soon) {
				t.Errorf("after an outage of %v it took %v", outage, time.Since(began))
			}
		})
	}
}

// TestHostile79_UDPAnswers: what a node may say that it should not. Whatever gets
// through is of the targets that were asked, no larger than a datagram can be; a
// TCP connection beside it gets what is right or a reset; all works again after.
func TestHostile79_UDPAnswers(t *testing.T) {
	t.Parallel()
	// into puts fields into every RESULT.
	into := func(fields string) func(p []byte) []byte {
		return func(p []byte) []byte { return bytes.ReplaceAll(p, []byte(`"eof":`), []byte(fields+`,"eof":`)) }
	}
	// inUDP changes the RESULTs that have datagrams.
	inUDP := func(old, new string) func(p []byte) []byte {
		return func(p []byte) []byte {
			return eachResult(p, func(rs [][]byte) {
				for i, r := range rs {
					if bytes.Contains(r, []byte(`"pkts":`)) {
						rs[i] = bytes.ReplaceAll(r, []byte(old), []byte(new))
					}
				}
			})
		}
	}
	instead := func(text string) func([]byte) []byte { return func([]byte) []byte { return []byte(text) } }
	for name, change := range map[string]func(p []byte) []byte{
		"an unknown session":     instead(`{"r":[{"sid":"nobody","pkts":["QUFB"],"eof":false,"off":0}]}`),
		"no session":             instead(`{"r":[{"pkts":["QUFB"],"eof":false,"off":0}]}`),
		"20,000 empty datagrams": into(`"pkts":["` + strings.Repeat(`","`, crowd(20_000)) + `"]`),
		"a million numbers":      into(`"pkts":[` + strings.Repeat(`1,`, 1_000_000) + `1]`),
		"deeply nested":          into(`"pkts":` + strings.Repeat("[", 100_000)),
		"no base64":              into(`"pkts":["not base64"]`),
		"an object":              into(`"pkts":{"0":"QUFB"}`),
		"null":                   into(`"pkts":null`),
		"a text":                 into(`"pkts":"QUFB"`),
		"a datagram of 98,304":   into(`"pkts":["` + strings.Repeat("QUFB", 32<<10) + `"]`),
		"an offset of 2^64-1": func(p []byte) []byte {
			return bytes.ReplaceAll(p, []byte(`"off":`), []byte(`"off":1844674407370955161`))
		},
		"a negative offset":        func(p []byte) []byte { return bytes.ReplaceAll(p, []byte(`"off":`), []byte(`"off":-`)) },
		"more than there can be":   into(`"more":18446744073709551615`),
		"an address that is none":  into(`"ip":"127.0.0.1:53; rm"`),
		"an address with a zone":   into(`"ip":"fe80::1%` + strings.Repeat("z", 4000) + `"`),
		"a session id of 10,000":   into(`"sid":"` + strings.Repeat("s", 10_000) + `"`),
		"an end that is none":      inUDP(`"eof":false`, `"eof":true`),
		"an error":                 into(`"e":"udp connect failed: your mother"`),
		"an op that is not known":  into(`"e":"unknown op: udp_data","code":"UNSUPPORTED_OP"`),
		"others' results":          func(p []byte) []byte { return eachResult(p, slices.Reverse) },
		"datagrams in TCP's place": func(p []byte) []byte { return bytes.ReplaceAll(p, []byte(`"d":"`), []byte(`"pkts":["QUFB"],"d":"`)) },
	} {
		t.Run(name, func(t *testing.T) {
			var foreign *wrapped
			c := StackConfig{Foreign: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { foreign.ServeHTTP(w, r) })}
			virtual(t, c, func(t *testing.T, s *Stack) {
				foreign = &wrapped{node: newNode(s.config.Memory)}
				defer foreign.node.Close()
				const size = 1 << 20
				asked := map[string]bool{s.servePackets(t, EchoPacket): true, s.servePackets(t, EchoPacket): true}
				tcp := open(t, s.Connect, s.serve(t, func(c net.Conn) { trickle(c, 3, size) }))
				a := associate(t, s)
				within(t, tcp, 5*time.Minute)
				time.AfterFunc(3*time.Second, func() { foreign.change.Store(&change) })
				time.AfterFunc(3*time.Second+200*time.Millisecond, func() { foreign.change.Store(nil) })
				talked := newTalk(120, 100, 50*time.Millisecond)
				go talked.say(func(p []byte) {
					for addr := range asked {
						put(t, a, addr, p)
					}
				})
				wantOnlyOf(t, a, asked)
				arrive(tcp).wantPart(t, "the app", 3, size)
				time.Sleep(2 * time.Minute) // whatever rest it earned
				for addr := range asked {
					wantEcho(t, a, addr, []byte("still there"))
				}
			})
		})
	}
}

// wantOnlyOf reads what comes, until nothing does.
func wantOnlyOf(t *testing.T, c net.PacketConn, asked map[string]bool) {
	t.Helper()
	for {
		p, from, err := get(c, soon)
		if err != nil {
			return
		}
		if !asked[from] || len(p) > maxDatagram4 {
			t.Errorf("%d bytes of %s", len(p), from)
		}
	}
}

// eachResult has change work on the RESULTs of an answer.
func eachResult(p []byte, change func(results [][]byte)) []byte {
	head, rest, ok := bytes.Cut(p, []byte(`"r":[{`))
	if !ok {
		return p
	}
	rest, tail, _ := bytes.Cut(rest, []byte("}]"))
	results := bytes.Split(rest, []byte("},{"))
	change(results)
	return fmt.Appendf(nil, `%s"r":[{%s}]%s`, head, bytes.Join(results, []byte("},{")), tail)
}

// TestHostile19to21_Headers: what is no datagram of the application's is dropped,
// and neither pins the association nor ends it. RSV may be anything.
func TestHostile19to21_Headers(t *testing.T) {
	t.Parallel()
	virtual(t, StackConfig{}, func(t *testing.T, s *Stack) {
		addr := s.servePackets(t, EchoPacket)
		a := associate(t, s)
		good, err := appendSOCKSAddress([]byte{0, 0, 0}, addr)
		check(t, err)
		other, err := s.ListenPacket() // another port of the same application
		check(t, err)
		defer other.Close()
		raw := func(c net.PacketConn, p []byte) {
			_, err := c.WriteTo(p, a.Relay)
			check(t, err)
		}
		for i := range len(good) {
			raw(other, good[:i])
		}
		raw(other, []byte{0, 0, 0, 2, 1, 1, 1, 1, 0, 7, 'x'})
		raw(other, []byte{0, 0, 0, 3, 200, 'a', 0, 7})
		for _, frag := range []byte{1, 127, 128, 255} {
			raw(other, append([]byte{0, 0, frag}, good[3:]...))
		}
		time.Sleep(time.Second)
		t.Log(dropped(s.UDP))
		if d := dropped(s.UDP); d["header"] != uint64(len(good)+2) || d["fragment"] != 4 || len(d) != 2 {
			t.Errorf("dropped %v, want %d for their headers and 4 fragments", d, len(good)+2)
		}
		wantEcho(t, a, addr, []byte("first"))
		raw(a.PacketConn, append(append([]byte{0xff, 0xff, 0}, good[3:]...), "RSV is not 0"...))
		if p, _, err := get(a, soon); err != nil || string(p) != "RSV is not 0" {
			t.Errorf("got %q, %v", p, err)
		}
		raw(other, append(good, "from another port"...))
		wantSilence(t, a, soon)
		if n := dropped(s.UDP)["source"]; n != 1 {
			t.Errorf("%d dropped for their source", n)
		}
	})
}

// TestUDPDenied: the node's policy, for datagrams as for connections.
func TestUDPDenied(t *testing.T) {
	t.Parallel()
	s := guarded(t)
	a := associate(t, s)
	served := s.servePackets(t, func(net.PacketConn, net.Addr, []byte) { t.Error("a private target was reached") })
	_, port, _ := net.SplitHostPort(served)
	hosts := []string{"127.0.0.1", "127.1.2.3", "169.254.169.254", "10.0.0.1", "64:ff9b::7f00:1", "::ffff:127.0.0.2"}
	for _, host := range hosts {
		put(t, a, net.JoinHostPort(host, port), []byte("hello"))
	}
	// On the loopback interface, of a machine that may have much else to do.
	for until := time.Now().Add(soon); ; {
		if p, from, err := get(a, 300*time.Millisecond); err == nil {
			t.Errorf("%q came of %s", p, from)
		}
		if dropped(s.NodeUDP)[stats.DropDenied.String()] >= uint64(len(hosts)) || time.Now().After(until) {
			break
		}
	}
	wantDrops(t, "the node", s.NodeUDP, stats.DropDenied, uint64(len(hosts)))
}

// TestUDPBlocks: QUIC by its port, and STUN by its ports and its form, stay here.
func TestUDPBlocks(t *testing.T) {
	t.Parallel()
	virtual(t, StackConfig{UDP: func(u *socks.UDP) { u.BlockQUIC, u.BlockSTUN = true, true }}, func(t *testing.T, s *Stack) {
		for _, port := range []uint16{53, 443, 3478, 5349, 19302} {
			s.servePacketsAt(t, at(target4, port), EchoPacket)
		}
		a := associate(t, s)
		binding := append([]byte{0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42}, make([]byte, 12)...)
		put(t, a, at(target4, 53), binding)
		for _, port := range []uint16{443, 3478, 5349, 19302} {
			put(t, a, at(target4, port), []byte("hello"))
		}
		wantSilence(t, a, soon)
		if d := dropped(s.UDP); d["quic"] != 1 || d["stun"] != 4 {
			t.Errorf("dropped %v, want 1 of QUIC and 4 of STUN", d)
		}
		wantEcho(t, a, at(target4, 53), []byte("a query"))
	})
}
