package relaytest

import (
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"relaymux/mux/link"
)

// TestHostile66_EverythingTwice: a relay that runs each request twice, the
// handshake too, and hands back the answer of either run. Each connection is made
// once, each byte and each datagram arrives once.
func TestHostile66_EverythingTwice(t *testing.T) {
	everyCarriage(t, func(t *testing.T, c StackConfig) {
		book := new(logbook)
		c.Log = book.log()
		virtual(t, c, func(t *testing.T, s *Stack) {
			s.Relay.Set(func(k *Knobs) { k.Duplicate = 1 })
			var dials atomic.Int64
			echo := s.serve(t, func(c net.Conn) { dials.Add(1); Echo(c) })
			ask(t, open(t, s.Connect, echo), "hello")
			if n := s.Node.Stats(); n.Links != 1 || dials.Load() != 1 {
				t.Errorf("%d links, %d connections at the target after a handshake that was run twice", n.Links, dials.Load())
			}
			size := bulkSize()
			var l load
			l.begin(t, s, size, 5*time.Minute)
			seen := newSeen()
			packets := s.servePackets(t, func(c net.PacketConn, from net.Addr, p []byte) {
				seen.note(numberOf(p))
				EchoPacket(c, from, p)
			})
			a := associate(t, s)
			k := newTalk(100, 100, 50*time.Millisecond)
			go k.say(func(p []byte) { put(t, a, packets, p) })
			got := gather(a, k.at)
			took := elapsed(func() { l.want(size) })
			n := s.Node.Stats()
			t.Logf("took %v, %d exchanges, the node saw %d again; %d echoes of 100; %d bytes went again",
				took, s.Stats.Exchanges.Load(), n.LinkRepeated, len(got.seen), s.Stats.Resent.Load())
			if n.LinkRepeated == 0 {
				t.Error("nothing was run twice")
			}
			if len(got.took) != len(got.seen) || got.foreign > 0 || seen.twice() > 0 {
				t.Errorf("%d echoes of %d datagrams; %d reached the target twice", len(got.took), len(got.seen), seen.twice())
			}
			s.wantNoneBroken(t, book)
		})
	})
}

// TestHostile66_HarshPath: connections that carry much both ways, over a path that
// loses requests and answers and runs some twice. None may be lost.
func TestHostile66_HarshPath(t *testing.T) {
	everyCarriage(t, func(t *testing.T, c StackConfig) {
		for seed := range uint64(2) {
			book := new(logbook)
			c.Log = book.log()
			virtual(t, c, func(t *testing.T, s *Stack) {
				s.warmUp(t)
				harsh.begin(s, seed+1)
				got := bothWays(20)(t, s)
				clean.begin(s, seed+1)
				for _, wrong := range got.wrong {
					t.Errorf("seed %d: %s", seed+1, wrong)
				}
				s.wantNoneBroken(t, book)
			})
		}
	})
}

// A delayer holds one request in three up before it reaches the node.
type delayer struct {
	mu    sync.Mutex
	rnd   *rand.Rand
	by    time.Duration
	count int
}

func (d *delayer) set(by time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.by = by
}

// request is a hook.
func (d *delayer) request(_ string, body []byte) []byte {
	d.mu.Lock()
	by := time.Duration(0)
	if oneIn(3, d.rnd) && d.by > 0 && link.KindOf(messageOf(body)) == link.KindRecords {
		by = d.by
		d.count++
	}
	d.mu.Unlock()
	time.Sleep(by)
	return nil
}

// TestHostile66_LateOriginal: requests that open a connection, and are so slow that
// they go another way as well, arrive when that connection has come and gone. The
// target sees one.
func TestHostile66_LateOriginal(t *testing.T) {
	everyCarriage(t, func(t *testing.T, c StackConfig) {
		for _, by := range []time.Duration{4 * time.Second, 10 * time.Second, 25 * time.Second, 55 * time.Second} {
			d := delayer{rnd: rand.New(rand.NewPCG(66, 1))}
			c.Relay = func(c *RelayConfig) { c.OnRequest = d.request }
			virtual(t, c, func(t *testing.T, s *Stack) {
				s.warmUp(t)
				var dials atomic.Int64
				var came sync.Map
				addr := s.serve(t, func(c net.Conn) {
					n := dials.Add(1)
					a := arrive(c)
					came.Store(n, a.Bytes)
				})
				d.set(by)
				const conns = 10
				for i := range conns {
					check(t, send(open(t, s.Connect, addr), uint64(i), 1000))
					time.Sleep(500 * time.Millisecond)
				}
				settle(30 * time.Second)
				d.set(0)
				settle(2 * time.Minute)
				t.Logf("late by %v: %d requests were, %d went two ways, %d given up, %d connections", by, d.count, s.Stats.Hedged.Load(), s.Stats.Suspected.Load(), dials.Load())
				if d.count == 0 {
					t.Error("none was late")
				}
				if n := dials.Load(); n != conns {
					t.Errorf("late by %v: the target saw %d connections of %d", by, n, conns)
				}
				came.Range(func(_, n any) bool {
					if n != int64(1000) {
						t.Errorf("late by %v: a connection had %d bytes", by, n)
					}
					return true
				})
				s.wantNoStreams(t)
			})
		}
	})
}

// TestHostile67_LateAnswers: one of two exchanges is always answered a minute
// late, when all has long been given up: what comes then is no news.
func TestHostile67_LateAnswers(t *testing.T) {
	everyCarriage(t, func(t *testing.T, c StackConfig) {
		virtual(t, c, func(t *testing.T, s *Stack) {
			s.warmUp(t)
			s.Relay.Set(func(k *Knobs) { k.Late, k.LateBy = 3, 20*time.Second })
			const size = 4 << 20
			var l load
			l.begin(t, s, size, 20*time.Minute)
			took := elapsed(func() { l.want(size) })
			s.Relay.Set(func(k *Knobs) { k.Late = 0 })
			settle(time.Minute)
			t.Logf("took %v, %d exchanges, %d given up, %d forged", took, s.Stats.Exchanges.Load(), s.Stats.Suspected.Load(), s.Stats.Forged.Load())
			if took > 2*time.Minute {
				t.Errorf("took %v", took)
			}
			s.wantNoneBroken(t, nil)
		})
	})
}

// TestTwoClientsOfOneSecret: a phone and a laptop. Each has a link of its own, and
// neither hears of the other's streams.
func TestTwoClientsOfOneSecret(t *testing.T) {
	everyCarriage(t, func(t *testing.T, c StackConfig) {
		virtual(t, c, func(t *testing.T, s *Stack) {
			other := s.beside(t, nil)
			const size = 2 << 20
			var loads [2]load
			loads[0].begin(t, s, size, 5*time.Minute)
			loads[1].begin(t, other, size, 5*time.Minute)
			for i := range loads {
				loads[i].want(size)
			}
			if n := s.Node.Stats().Links; n != 2 {
				t.Errorf("%d links at the node", n)
			}
			usage := s.Node.Clients()
			if len(usage) != 1 || usage[0].Links != 2 || usage[0].BytesDown < 2*size {
				t.Errorf("the node counts %+v", usage)
			}
			check(t, other.Mux.Close(t.Context()))
			ask(t, open(t, s.Connect, s.serve(t, Echo)), "still there")
		})
	})
}

// TestHostile77_TwoNodes: deployments that lead to different nodes. Whichever
// answers first is the one; the other's deployment is refused by its name, and
// nothing is mixed.
func TestHostile77_TwoNodes(t *testing.T) {
	everyCarriage(t, func(t *testing.T, c StackConfig) {
		book := new(logbook)
		synctestVirtual(t, func(t *testing.T, m *Network) {
			wrong := c
			wrong.Memory = m
			wrong.Node = otherNode
			far := NewStack(t, wrong)
			far.Relay.Set(func(k *Knobs) { k.RTT = rtt })
			c.Memory, c.Log = m, book.log()
			c.Mux = joinDeployment(far)
			s := NewStack(t, c)
			s.Relay.Set(func(k *Knobs) { k.RTT = rtt })
			before := far.Node.Stats()
			echo := s.serve(t, Echo)
			held := open(t, s.Connect, echo)
			within(t, held, 5*time.Minute)
			ask(t, held, "hello")
			const size = 4 << 20
			var l load
			l.begin(t, s, size, 5*time.Minute)
			for i := range 20 {
				c := open(t, s.Connect, echo)
				within(t, c, time.Minute)
				ask(t, c, fmt.Sprint("word ", i))
				c.Close()
				time.Sleep(2 * time.Second)
			}
			l.want(size)
			ask(t, held, "still there")
			mine, theirs := s.Node.Stats(), far.Node.Stats()
			t.Logf("one node dialled %d times, the other %d", mine.Dials, theirs.Dials-before.Dials)
			if mine.Dials > 0 && theirs.Dials > before.Dials {
				t.Error("both nodes carry connections")
			}
			refused := "another"
			if mine.Dials == 0 {
				refused = s.ds[0].Name
			}
			if !book.has("deployment="+refused, "another node") {
				t.Errorf("%s is not refused by name in the log", refused)
			}
		})
	})
}
