package relaytest

import (
	"fmt"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// answerAfter is an echo that takes so long, as servers of names do.
func answerAfter(d time.Duration) packetHandler {
	return func(c net.PacketConn, from net.Addr, p []byte) {
		p = append([]byte(nil), p...)
		time.AfterFunc(d, func() { EchoPacket(c, from, p) })
	}
}

// dnsServer is where the queries of these tests go.
const dnsServer = "203.0.113.53:53"

// TestUDPQueryCost: a query and its answer cost one exchange, and nothing is sent
// for their sake a minute later.
func TestUDPQueryCost(t *testing.T) {
	t.Parallel()
	for _, far := range []time.Duration{0, 30 * time.Millisecond, 300 * time.Millisecond} {
		virtual(t, StackConfig{Scripts: 1}, func(t *testing.T, s *Stack) {
			s.servePacketsAt(t, dnsServer, answerAfter(far))
			a := associate(t, s)
			count := s.exchanges()
			took := wantEcho(t, a, dnsServer, nth(1, 40))
			soon := count()
			time.Sleep(time.Minute)
			all := count()
			time.Sleep(10 * time.Minute)
			t.Logf("a query to %v afar took %v and %d exchanges, %d a minute later, %d after ten more", far, took, soon, all, count())
			if soon != 1 || all > 1 || took > rtt+far+100*time.Millisecond {
				t.Errorf("a query to %v afar took %v and %d exchanges, %d a minute later", far, took, soon, all)
			}
			if count() > 2 { // the end of its session
				t.Errorf("%d exchanges in the end", count())
			}
			s.wantNoUDP(t)
		})
	}
}

// TestUDPQueriesTogether: what a page asks for at once goes at once, and a
// resolver's thousand queries in a minute cost less than one exchange each.
func TestUDPQueriesTogether(t *testing.T) {
	t.Parallel()
	virtual(t, StackConfig{Scripts: 2}, func(t *testing.T, s *Stack) {
		s.servePacketsAt(t, dnsServer, answerAfter(20*time.Millisecond))
		a := associate(t, s)
		wantEcho(t, a, dnsServer, nth(0, 40))
		count := s.exchanges()
		for i := range 20 {
			put(t, a, dnsServer, nth(i, 40))
		}
		at := time.Now()
		got := gather(a, func(int) time.Time { return at })
		got.want(t, "the app", 20, false)
		t.Logf("20 queries at once took %v and %d exchanges", got.quantile(1), count())
		if n := count(); n > 3 || got.quantile(1) > 2*rtt {
			t.Errorf("20 queries at once took %v and %d exchanges", got.quantile(1), n)
		}
	})
}

// A talk is numbered datagrams at a steady pace, as those of a call.
type talk struct {
	packets int
	size    int
	pace    time.Duration
	sent    []time.Time
}

func newTalk(packets, size int, pace time.Duration) *talk {
	return &talk{packets, size, pace, make([]time.Time, packets)}
}

// say sends all of it. It is not late for having been late.
func (k *talk) say(send func(p []byte)) {
	began := time.Now()
	for i := range k.packets {
		time.Sleep(time.Until(began.Add(time.Duration(i) * k.pace)))
		k.sent[i] = time.Now()
		send(nth(i, k.size))
	}
}

func (k *talk) at(i int) time.Time {
	if i >= len(k.sent) {
		return time.Time{}
	}
	return k.sent[i]
}

// call has both ends talk to each other, and returns what each of them heard:
// the target's first.
func (s *Stack) call(t *testing.T, a *Association, addr string, seconds int) (up, down tally) {
	t.Helper()
	const pace = 20 * time.Millisecond
	var m net.PacketConn
	m, err := s.config.Memory.ListenPacket(addr)
	check(t, err)
	defer m.Close()
	mine := newTalk(seconds*int(time.Second/pace), 160, pace)
	theirs := newTalk(mine.packets, 160, pace)
	heard := make(chan tally)
	go func() {
		_, from, err := m.ReadFrom(make([]byte, 1)) // who calls
		if err != nil {
			t.Error(err)
		}
		go theirs.say(func(p []byte) { _, _ = m.WriteTo(p, from) })
		heard <- gather(m, mine.at)
	}()
	put(t, a, addr, []byte("?"))
	go mine.say(func(p []byte) { put(t, a, addr, p) })
	down = gather(a, theirs.at)
	return <-heard, down
}

// TestUDPCall: a minute of a call. No relay overtakes another here, so that the
// order is kept as well.
func TestUDPCall(t *testing.T) {
	t.Parallel()
	for scripts, seconds := range []int{10, 60, 60} {
		t.Run(fmt.Sprintf("%d scripts", scripts), func(t *testing.T) {
			virtual(t, StackConfig{Scripts: scripts}, func(t *testing.T, s *Stack) {
				a := associate(t, s)
				count := s.exchanges()
				up, down := s.call(t, a, at(target4, 4000), seconds)
				n := count()
				for who, y := range map[string]tally{"the target": up, "the app": down} {
					y.want(t, who, seconds*50, true)
					t.Logf("%s hears after p50 %v, p99 %v, at most %v", who,
						y.quantile(0.5).Round(time.Millisecond), y.quantile(0.99).Round(time.Millisecond), y.quantile(1).Round(time.Millisecond))
					if y.quantile(0.99) > s.rtt()+s.rtt()/4+100*time.Millisecond {
						t.Errorf("%s hears after %v", who, y.quantile(0.99))
					}
				}
				s.wantNoDrops(t)
				t.Logf("%d exchanges in %d s", n, seconds)
				if s.Relay != nil && n > 16*scripts*seconds { // 30 slots would carry 20 a second
					t.Errorf("%d exchanges", n)
				}
			})
		})
	}
}

// TestUDPPollsEnd: when all has been said, nothing is sent any more, although the
// association stays open. Both sides forget the flow, and the next datagram opens
// another.
func TestUDPPollsEnd(t *testing.T) {
	t.Parallel()
	for _, scripts := range []int{0, 1} {
		virtual(t, StackConfig{Scripts: scripts}, func(t *testing.T, s *Stack) {
			a := associate(t, s)
			addr := at(target4, 4000)
			_, _ = s.call(t, a, addr, 5)
			count := s.exchanges()
			time.Sleep(5 * time.Minute)
			after := count()
			time.Sleep(5 * time.Minute)
			synctest.Wait()
			last := count() - after
			t.Logf("%d scripts: %d exchanges in the five minutes after a call, %d in the next", scripts, after, last)
			if after > 40 || last > 1 { // the end of its session
				t.Errorf("%d scripts: %d exchanges in the five minutes after a call, %d in the next", scripts, after, last)
			}
			s.wantNoUDP(t)
			quiet := s.exchanges()
			time.Sleep(10 * time.Minute)
			if n := quiet(); n != 0 {
				t.Errorf("%d scripts: %d exchanges for nobody", scripts, n)
			}
			s.servePacketsAt(t, addr, EchoPacket)
			wantEcho(t, a, addr, []byte("again"))
		})
	}
}

// TestUDPPush: a target that speaks by itself, now and then, is heard as soon as
// the way back takes, as long as the flow is in use.
func TestUDPPush(t *testing.T) {
	t.Parallel()
	virtual(t, StackConfig{Scripts: 1}, func(t *testing.T, s *Stack) {
		const words = 5
		k := newTalk(words, 100, 2*time.Second)
		a := associate(t, s)
		addr := s.servePackets(t, func(c net.PacketConn, from net.Addr, _ []byte) {
			go k.say(func(p []byte) { _, _ = c.WriteTo(p, from) })
		})
		put(t, a, addr, []byte("speak"))
		got := gather(a, k.at)
		got.want(t, "the app", words, true)
		t.Logf("a word is heard after p50 %v, at most %v", got.quantile(0.5), got.quantile(1))
		if got.quantile(1) > rtt*3/2 {
			t.Errorf("a word was heard after %v", got.quantile(1))
		}
	})
}

// TestHostile28_Idle: an association without a datagram for an hour still works,
// and costs nothing.
func TestHostile28_Idle(t *testing.T) {
	t.Parallel()
	virtual(t, StackConfig{Scripts: 1}, func(t *testing.T, s *Stack) {
		addr := s.servePackets(t, EchoPacket)
		a := associate(t, s)
		wantEcho(t, a, addr, []byte("hello"))
		time.Sleep(10 * time.Minute)
		s.wantNoUDP(t)
		count := s.exchanges()
		time.Sleep(time.Hour)
		if n := count(); n != 0 {
			t.Errorf("%d exchanges", n)
		}
		wantEcho(t, a, addr, []byte("again"))
	})
}

// TestUDPEmptyPollIsNoSilence: of the exchanges of a busy flow one takes what
// another was sent for, which then comes back empty. A flow that took that for
// silence paused for two seconds with all of its datagrams outstanding.
func TestUDPEmptyPollIsNoSilence(t *testing.T) {
	t.Parallel()
	for _, far := range []time.Duration{20 * time.Millisecond, 40 * time.Millisecond, 60 * time.Millisecond} {
		for _, near := range []time.Duration{10 * time.Millisecond, 20 * time.Millisecond} {
			virtual(t, StackConfig{Scripts: 1}, func(t *testing.T, s *Stack) {
				s.Relay.Set(func(k *Knobs) { k.RTT, k.Jitter = near, near/2 })
				addr := s.servePacketsAt(t, at(target4, 7), EchoPacket)
				s.config.Memory.SetPath(target4.String(), Path{Delay: far}, 1)
				e := echoes{c: associate(t, s), to: packetAddr(addr), outstanding: 64, size: 1200}
				got := e.run(t, func(sent int) bool { return sent < 1500 })
				got.want(t, "the app", 1500, false)
				t.Logf("a target %v beyond a relay of %v: p50 %v, p99 %v, at most %v", far, near, got.quantile(0.5), got.quantile(0.99), got.quantile(1))
				if got.quantile(1) > 500*time.Millisecond {
					t.Errorf("a target %v beyond a relay of %v: an echo took %v", far, near, got.quantile(1))
				}
			})
		}
	}
}
