package exit

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"relaymux/mux/link"
	"relaymux/mux/stats"
	"relaymux/mux/wire"
)

// TestLinkUDP goes both ways, on either carriage.
func TestLinkUDP(t *testing.T) {
	for _, text := range []bool{false, true} {
		linked(t, Config{}, func(t *testing.T, r *rig) {
			c, _ := r.tryLink("ann", text)
			a := c.flow("echo.test", "one", "", "three")
			c.until("the echoes", func() bool { return len(a.pkts) == 3 })
			if !slices.Equal(a.pkts, []string{"one", "", "three"}) || a.s.Addr() != netip.MustParseAddr(udpAddr) {
				t.Errorf("%q from %v", a.pkts, a.s.Addr())
			}
			c.datagrams(a, strings.Repeat("x", 60_000), strings.Repeat("y", 60_000))
			c.until("large ones", func() bool { return len(a.pkts) == 5 })
			c.with(func() { a.s.Reset(link.Aborted, "") })
			c.must()
			c.must()
			if !a.over {
				t.Error("not over")
			}
			r.empty()
			r.wantDropped(t, nil)
		})
	}
}

// TestLinkUDPManyFlows: each gets its own, and a burst's echoes go together.
func TestLinkUDPManyFlows(t *testing.T) {
	linked(t, Config{}, func(t *testing.T, r *rig) {
		c := r.link("ann")
		for i := range 200 {
			c.flow("echo.test", fmt.Sprint(i), "again ", fmt.Sprint(i))
		}
		expect(t, "the echoes", 0, 20*ms, func() { _ = c.do(ask(time.Minute)) })
		for i, a := range c.flows {
			if !slices.Equal(a.pkts, []string{fmt.Sprint(i), "again ", fmt.Sprint(i)}) {
				t.Fatalf("flow %d: %q", i, a.pkts)
			}
		}
	})
}

// TestLinkUDPEnds: what has come before an ICMP error is told, and then that; an
// idle flow ends; one that cannot be reached is reset.
func TestLinkUDPEnds(t *testing.T) {
	linked(t, Config{}, func(t *testing.T, r *rig) {
		c := r.link("ann")
		a := c.flow("closed.test", "x")
		c.until("the end", func() bool { return a.reset })
		if !slices.Equal(a.pkts, []string{"last"}) || a.code != link.Gone {
			t.Errorf("%+v", a)
		}
		b := c.flow("nowhere.test", "x")
		c.until("the failure", func() bool { return b.reset })
		if reason, _ := b.code.Reason(); reason != wire.NameNotFound {
			t.Errorf("%+v", b)
		}
		idle := c.flow("silent.test", "x")
		expect(t, "an idle flow", defaultUDPReap, defaultUDPReap+30*time.Second, func() {
			c.until("the end", func() bool { return idle.reset })
		})
		c.must()
		r.empty()
	})
}

// TestLinkUDPBlocks: the rules of the JSON wire.
func TestLinkUDPBlocks(t *testing.T) {
	linked(t, Config{UDP: UDP{BlockQUIC: BlockOn, BlockSTUN: true}}, func(t *testing.T, r *rig) {
		c := r.link("ann")
		for _, port := range []uint16{443, 3478} {
			a := c.openStream("echo.test", port, true, 0)
			c.until("the block", func() bool { return a.reset })
			if reason, _ := a.code.Reason(); reason != wire.Denied || !strings.HasPrefix(a.detail, "not allowed: block_") {
				t.Errorf("port %d: %+v", port, a)
			}
		}
		a := c.flow("echo.test", string(stunMessage()), "x")
		c.until("the other", func() bool { return len(a.pkts) > 0 })
		if !slices.Equal(a.pkts, []string{"x"}) {
			t.Errorf("%q", a.pkts)
		}
		r.wantDropped(t, map[stats.Drop]uint64{stats.DropQUIC: 1, stats.DropSTUN: 2})
	})
}

// stunMessage is a binding request.
func stunMessage() []byte {
	return append([]byte{0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42}, make([]byte, 12)...)
}

// TestLinkUDPStale: what waited for too long is dropped unsent, and what waits is
// bounded, the oldest going first.
func TestLinkUDPStale(t *testing.T) {
	linked(t, Config{UDP: UDP{Stale: 4 * time.Second}}, func(t *testing.T, r *rig) {
		c := r.link("ann")
		a := c.flow("silent.test", "x")
		c.until("the dial", func() bool { return a.opened })
		far := r.world.socket("silent.test")
		far.say("old")
		time.Sleep(3 * time.Second)
		far.say("new")
		time.Sleep(2 * time.Second)
		c.must()
		if !slices.Equal(a.pkts, []string{"new"}) {
			t.Errorf("%q", a.pkts)
		}
		far.say(slices.Repeat([]string{"y"}, maxDatagrams+3)...)
		synctest.Wait()
		c.must()
		if len(a.pkts) != 1+maxDatagrams {
			t.Errorf("%d datagrams", len(a.pkts))
		}
		r.wantDropped(t, map[stats.Drop]uint64{stats.DropStale: 1, stats.DropQueue: 3})
	})
}

// TestLinkUDPTooLarge: a datagram that no answer has room for does not keep the
// others waiting.
func TestLinkUDPTooLarge(t *testing.T) {
	linked(t, Config{}, func(t *testing.T, r *rig) {
		c := r.link("ann")
		a := c.flow("six.test", "x")
		c.until("the echo", func() bool { return len(a.pkts) == 1 })
		r.world.socket("six.test").say(strings.Repeat("x", maxLinkDatagram+1), strings.Repeat("y", maxLinkDatagram), "z")
		synctest.Wait()
		c.must()
		if len(a.pkts) != 3 || len(a.pkts[1]) != maxLinkDatagram {
			t.Errorf("%d datagrams", len(a.pkts))
		}
		r.world.socket("six.test").say(strings.Repeat("x", 30_000), "small")
		synctest.Wait()
		narrow := ask(0)
		narrow.Room = 10_000
		_ = c.do(narrow)
		if n := len(a.pkts); n != 4 || a.pkts[3] != "small" {
			t.Errorf("%d datagrams", n)
		}
		expect(t, "the next exchange", 10*time.Second, 10*time.Second, func() { _ = c.do(ask(10 * time.Second)) })
		r.wantDropped(t, map[stats.Drop]uint64{stats.DropTooLarge: 2})
	})
}

// TestLinkGateway: the address of udpgw ends in the node here too.
func TestLinkGateway(t *testing.T) {
	linked(t, Config{}, func(t *testing.T, r *rig) {
		c := r.link("ann")
		a := c.openStream("192.0.2.1", gatewayPort, false, clientWindow)
		path := []byte{0, 7, atypName, 9, 'e', 'c', 'h', 'o', '.', 't', 'e', 's', 't', 0, 53}
		frame := appendFrame(nil, flagData, path, []byte("hi"))
		c.write(a, string(frame))
		c.until("the echo", func() bool { return string(a.got) == string(frame) })
		time.Sleep(defaultUDPReap + time.Minute)
		if n := r.node.Stats().UDPSockets; n != 0 {
			t.Errorf("%d sockets of an idle gateway", n)
		}
	})
}
