package relaytest

import (
	"bytes"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"relaymux/mux/stats"
)

// TestLinkUDP_WholeAndOnce: of all sizes, over a path that loses, doubles and
// delays. What arrives is whole, at the target and at the application once.
func TestLinkUDP_WholeAndOnce(t *testing.T) {
	everyCarriage(t, func(t *testing.T, c StackConfig) {
		book := new(logbook)
		c.Log = book.log()
		virtual(t, c, func(t *testing.T, s *Stack) {
			seen := newSeen()
			addr := s.servePackets(t, func(c net.PacketConn, from net.Addr, p []byte) {
				seen.note(numberOf(p))
				EchoPacket(c, from, p)
			})
			a := associate(t, s)
			// the header of SOCKS takes 10 bytes of the largest
			for i, size := range []int{8, 9, 100, 1199, 1200, 1472, 8000, 16384, 40_000, 65_000, maxDatagram4 - 11, maxDatagram4 - 10} {
				wantEcho(t, a, addr, nth(1000+i, size))
			}
			put(t, a, addr, nil) // an empty one is a datagram too
			if p, _, err := get(a, soon); err != nil || len(p) != 0 {
				t.Errorf("of an empty datagram came %q, %v", p, err)
			}
			s.Relay.Set(func(k *Knobs) { k.LoseAfter, k.LoseBefore, k.Duplicate = 6, 8, 2 })
			const n = 400
			k := newTalk(n, 700, 50*time.Millisecond)
			go k.say(func(p []byte) { put(t, a, addr, p) })
			got := gather(a, k.at)
			t.Logf("%d of %d echoes came, %d overtaken; the proxy dropped %v, the node %v", len(got.seen), n, got.overtaking, dropped(s.UDP), dropped(s.NodeUDP))
			if got.foreign > 0 || len(got.took) != len(got.seen) || len(got.seen) < n/4 {
				t.Errorf("%d echoes of %d datagrams, %d foreign", len(got.took), len(got.seen), got.foreign)
			}
			if twice := seen.twice(); twice > 0 {
				t.Errorf("%d datagrams reached the target twice", twice)
			}
			s.Relay.Set(func(k *Knobs) { *k = Knobs{RTT: rtt} })
			time.Sleep(soon)
			wantEcho(t, a, addr, []byte("still there"))
			s.wantNoneBroken(t, book)
		})
	})
}

// TestLinkUDP_Order: within a flow nothing of ours changes the order, on a path
// that does not.
func TestLinkUDP_Order(t *testing.T) {
	everyCarriage(t, func(t *testing.T, c StackConfig) {
		virtual(t, c, func(t *testing.T, s *Stack) {
			a := associate(t, s)
			addr := s.servePackets(t, EchoPacket)
			wantEcho(t, a, addr, []byte("hello")) // there is a socket now, and a link
			k := newTalk(500, 300, 15*time.Millisecond)
			go k.say(func(p []byte) { put(t, a, addr, p) })
			got := gather(a, k.at)
			got.want(t, "the app", 500, true)
			t.Logf("echoes took %v typically, %v at most", got.quantile(0.5), got.quantile(1))
			s.wantNoDrops(t)
		})
	})
}

// TestLinkUDP_Stale: what waited for too long is of no use to anybody. While all
// relays ask for a pause, and are tried every now and then, only the last seconds
// of what is sent go out.
func TestLinkUDP_Stale(t *testing.T) {
	everyCarriage(t, func(t *testing.T, c StackConfig) {
		virtual(t, c, func(t *testing.T, s *Stack) {
			seen := newSeen()
			var late atomic.Int64
			k := newTalk(600, 100, 100*time.Millisecond)
			addr := s.servePackets(t, func(_ net.PacketConn, _ net.Addr, p []byte) {
				seen.note(numberOf(p))
				if i := numberOf(p); i < k.packets {
					late.Store(max(late.Load(), int64(time.Since(k.at(i))))) // one datagram at a time
				}
			})
			a := associate(t, s)
			put(t, a, addr, nth(k.packets, 100))
			time.Sleep(soon)
			s.Relay.Set(func(k *Knobs) { k.Status, k.RetryAfter = http.StatusTooManyRequests, "60" })
			time.Sleep(20 * time.Second)
			time.AfterFunc(40*time.Second, func() { s.Relay.Set(func(k *Knobs) { k.Status = 0 }) })
			k.say(func(p []byte) { put(t, a, addr, p) })
			time.Sleep(time.Minute)
			most := time.Duration(late.Load())
			t.Logf("%d of %d reached the target, the latest after %v; the proxy dropped %v", seen.all(), k.packets+1, most, dropped(s.UDP))
			if s.UDP.Dropped[stats.DropStale].Load() == 0 {
				t.Error("nothing was stale")
			}
			if most > stale+rtt {
				t.Errorf("a datagram reached the target after %v", most)
			}
			if n := seen.twice(); n > 0 {
				t.Errorf("%d twice", n)
			}
		})
	})
}

// TestHostile77_LinkUDPNodeRestarts: in the middle of a call, and while a flow is
// idle. The call goes on by itself.
func TestHostile77_LinkUDPNodeRestarts(t *testing.T) {
	everyCarriage(t, func(t *testing.T, c StackConfig) {
		mortally(t, c, func(t *testing.T, s *Stack, node *lives) {
			addr, other := s.servePackets(t, EchoPacket), s.servePackets(t, EchoPacket)
			a := associate(t, s)
			wantEcho(t, a, other, []byte("hello"))
			const n = 600
			k := newTalk(n, 160, 50*time.Millisecond)
			go k.say(func(p []byte) { put(t, a, addr, p) })
			time.AfterFunc(10*time.Second, func() { node.restart(100 * time.Millisecond) })
			got := gather(a, k.at)
			gap := time.Duration(got.gap(n)) * k.pace
			t.Logf("%d of %d echoes came, the longest gap %v", len(got.seen), n, gap)
			if got.seen[n-1] == 0 || gap > 4*rtt || got.foreign > 0 || len(got.took) != len(got.seen) {
				t.Errorf("%d of %d echoes came, the longest gap %v, %d foreign", len(got.seen), n, gap, got.foreign)
			}
			put(t, a, other, []byte("again")) // the first may find that the node has forgotten
			put(t, a, other, []byte("again"))
			if p, _, err := get(a, soon); err != nil || !bytes.Equal(p, []byte("again")) {
				time.Sleep(soon)
				wantEcho(t, a, other, []byte("once more"))
			}
		})
	})
}

// TestLinkUDP_DNSCost: a query and its answer cost one exchange, when nothing else
// is open.
func TestLinkUDP_DNSCost(t *testing.T) {
	everyCarriage(t, func(t *testing.T, c StackConfig) {
		virtual(t, c, func(t *testing.T, s *Stack) {
			addr := s.servePacketsAt(t, at(target4, 53), EchoPacket)
			s.warmUp(t)
			const queries = 10
			count := s.exchanges()
			for i := range queries {
				a := associate(t, s)
				if took := wantEcho(t, a, addr, nth(i, 40)); took > rtt+100*time.Millisecond {
					t.Errorf("an answer took %v", took)
				}
				a.Close()
				time.Sleep(30 * time.Second)
			}
			n := count()
			t.Logf("%d queries cost %d exchanges", queries, n)
			if n > queries {
				t.Errorf("%d queries cost %d exchanges", queries, n)
			}
			a := associate(t, s) // a resolver's, which keeps its socket
			count = s.exchanges()
			for i := range queries {
				wantEcho(t, a, addr, nth(i, 40))
				time.Sleep(30 * time.Second)
			}
			n = count()
			t.Logf("%d queries of one socket cost %d exchanges", queries, n)
			if n > 2*queries { // and one that is held for ten seconds for whatever may follow
				t.Errorf("%d queries of one socket cost %d exchanges", queries, n)
			}
		})
	})
}

// all is how many numbers came.
func (s *seen) all() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.times)
}
