package relaytest

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"relaymux/mux"
	"relaymux/relay/exit"
)

// TestLinkMix is TestHostile88_Mix over the link: everything that the emulator can do, and
// nodes that crash. Every byte once and in order, or a reset; every datagram
// whole, or not at all.
func TestLinkMix(t *testing.T) {
	for seed := range uint64(2) {
		for _, restarts := range []bool{false, true} {
			t.Run(fmt.Sprintf("seed %d, restarts %v", seed, restarts), func(t *testing.T) {
				t.Parallel()
				linkMix(t, seed, restarts, 2*time.Minute)
			})
		}
	}
}

func linkMix(t *testing.T, seed uint64, restarts bool, long time.Duration) {
	book := new(logbook)
	c := StackConfig{Link: true, Scripts: 2, Workers: 2, Slots: 6, Log: book.log()}
	c.Mux = func(c *mux.Config) { c.Memory = 64 << 20 }
	c.Node = func(c *exit.Config) { c.Memory = 64 << 20 }
	mortally(t, c, func(t *testing.T, s *Stack, node *lives) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		s.Relay.config.Seed = seed
		m := &mixer{t: t, s: s}
		m.addr, m.packets = s.serve(t, m.serve), s.servePackets(t, EchoPacket)
		ids := s.Relay.ids()
		for end := time.Now().Add(long); time.Now().Before(end); {
			s.Relay.Set(randomKnobs(rnd), ids[rnd.IntN(len(ids))])
			for range rnd.IntN(4) {
				m.start(rand.New(rand.NewPCG(seed, rnd.Uint64())))
			}
			if rnd.IntN(4) == 0 {
				m.startTalk(rand.New(rand.NewPCG(seed, rnd.Uint64())))
			}
			time.Sleep(time.Duration(rnd.IntN(3000)) * time.Millisecond)
			if restarts && rnd.IntN(12) == 0 {
				node.restart(time.Duration(100+rnd.IntN(3000)) * time.Millisecond)
			}
		}
		s.Relay.Set(func(k *Knobs) { *k = Knobs{RTT: rtt} })
		m.flows.Wait()
		t.Logf("%d flows, %d of them whole; %d datagrams, %d of which came back; %d exchanges",
			m.total.Load(), m.whole.Load(), m.said.Load(), m.heard.Load(), s.Stats.Exchanges.Load())
		if m.whole.Load() < m.total.Load()/5 {
			t.Error("hardly any flow was whole")
		}
		if !restarts && m.whole.Load() < m.total.Load()*8/10 { // one in ten resets itself
			t.Error("flows were lost although the node was there all the time")
		}
		if m.heard.Load() < m.said.Load()/3 {
			t.Error("hardly any datagram came back")
		}
		time.Sleep(10 * time.Minute)
		ask(t, open(t, s.Connect, s.serve(t, Echo)), "still there")
		time.Sleep(time.Minute)
		if n := s.Stats.FlowsOpen.Load(); n != 1 {
			t.Errorf("the client has %d flows", n)
		}
		if n := node.now().Stats(); n.LinkStreams != 1 || n.LinkBroken != 0 {
			t.Errorf("the node has %d streams, %d links were broken", n.LinkStreams, n.LinkBroken)
		}
		s.wantNoneBroken(t, book)
	})
}
