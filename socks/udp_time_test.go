package socks

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"relaymux/mux/stats"
)

// Flows end when they were silent for their time and not before; the
// association does not, for as long as its control connection is there.
func TestHostile28_Idle(t *testing.T) {
	for _, test := range []struct {
		name     string
		to       string
		answered bool
		idle     time.Duration
	}{
		{"dns", toHost("a.test", 53), false, dnsIdle},
		{"dns, answered", toHost("a.test", 53), true, dnsIdle},
		{"unanswered", toHost("a.test", 54), false, newIdle},
		{"answered", toHost("a.test", 54), true, idle},
	} {
		inUDPBubble(t, func(t *testing.T, s *Server, a *memAssociation) {
			for range 3 {
				answer := func(f *fakeFlow) {
					if test.answered {
						go f.back("", "z")
						if got := <-a.out; got != test.to+"z" {
							t.Errorf("%s: got %q", test.name, got)
						}
					}
				}
				a.say("192.0.2.7:1000", test.to+"x")
				f := a.n.next(t, "a.test")
				f.want(t, "x")
				answer(f)
				time.Sleep(test.idle - 1)
				a.say("192.0.2.7:1000", test.to+"y") // counts anew, as does an answer
				f.want(t, "y")
				time.Sleep(test.idle / 2)
				answer(f)
				left := test.idle
				if !test.answered {
					left -= test.idle / 2
				}
				time.Sleep(left - 1)
				synctest.Wait()
				if f.isClosed() {
					t.Errorf("%s: too early", test.name)
				}
				time.Sleep(sweepEvery + 1)
				synctest.Wait()
				if !f.isClosed() {
					t.Errorf("%s: too late", test.name)
				}
				time.Sleep(10 * time.Hour)
			}
			if s.Stats().Open != 1 {
				t.Errorf("%s: the association has ended", test.name)
			}
		})
	}
}

// A flow of a short time does not wait for the others' timer.
func TestSweepOfMixedFlows(t *testing.T) {
	inUDPBubble(t, func(t *testing.T, _ *Server, a *memAssociation) {
		a.say("192.0.2.7:1000", toHost("slow", 1))
		slow := a.n.next(t, "slow")
		time.Sleep(time.Second)
		a.say("192.0.2.7:1000", toHost("quick", 53))
		quick := a.n.next(t, "quick")
		begin := time.Now()
		<-quick.closed
		if took := time.Since(begin); took < dnsIdle || took > dnsIdle+sweepEvery {
			t.Errorf("closed after %v", took)
		}
		<-slow.closed
		if took := time.Since(begin); took < newIdle-time.Second || took > newIdle+sweepEvery {
			t.Errorf("closed after %v", took)
		}
	})
}

// An association without flows does not hold up a stop, a quiet one for a
// moment, a busy one for as long as it may.
func TestShutdownEndsAssociations(t *testing.T) {
	stop := func(t *testing.T, s *Server, most time.Duration) (took time.Duration, err error) {
		ctx, cancel := context.WithTimeout(t.Context(), most)
		defer cancel()
		begin := time.Now()
		err = s.Shutdown(ctx)
		return time.Since(begin), err
	}
	inUDPBubble(t, func(t *testing.T, s *Server, a *memAssociation) {
		if took, err := stop(t, s, time.Minute); took != 0 || err != nil {
			t.Errorf("no flows: %v, %v", took, err)
		}
		<-a.closed
	})
	inUDPBubble(t, func(t *testing.T, s *Server, a *memAssociation) {
		a.say("192.0.2.7:1000", toIPv4)
		f := a.n.next(t, "203.0.113.5")
		if took, err := stop(t, s, time.Minute); took < drainIdle || took > drainIdle+sweepEvery || err != nil {
			t.Errorf("quiet: %v, %v", took, err)
		}
		<-f.closed
		<-a.closed
	})
	inUDPBubble(t, func(t *testing.T, s *Server, a *memAssociation) {
		a.say("192.0.2.7:1000", toIPv4)
		f := a.n.next(t, "203.0.113.5")
		var call sync.WaitGroup
		call.Go(func() {
			for !f.isClosed() {
				time.Sleep(20 * time.Millisecond)
				f.back("", "voice")
			}
		})
		call.Go(func() {
			for {
				select {
				case <-a.out:
				case <-a.closed:
					return
				}
			}
		})
		if took, err := stop(t, s, 5*time.Second); took != 5*time.Second || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("busy: %v, %v", took, err)
		}
		begin := time.Now()
		<-f.closed
		<-a.closed
		if took := time.Since(begin); took != 0 {
			t.Errorf("gone after %v", took)
		}
		call.Wait()
	})
}

// The last flow of an association that drains may also end by itself.
func TestDrainAfterFlowEnds(t *testing.T) {
	inUDPBubble(t, func(t *testing.T, s *Server, a *memAssociation) {
		a.say("192.0.2.7:1000", toIPv4)
		f := a.n.next(t, "203.0.113.5")
		begin := time.Now()
		go func() {
			synctest.Wait()
			f.ended(errors.New("over"))
		}()
		if err := s.Shutdown(t.Context()); err != nil || time.Since(begin) != 0 {
			t.Errorf("%v, %v", err, time.Since(begin))
		}
	})
}

// Replies for a socket that takes none: they are bounded, the oldest go, and
// nobody waits.
func TestHostile26_RepliesPileUp(t *testing.T) {
	inUDPBubble(t, func(t *testing.T, _ *Server, a *memAssociation) {
		a.say("192.0.2.7:1000", toIPv4)
		f := a.n.next(t, "203.0.113.5")
		payload := strings.Repeat("x", 1200)
		const many = 4 * replyQueue / 1200
		for i := range many {
			f.back("", fmt.Sprint(i)+payload)
		}
		gone := int(a.stats.Dropped[stats.DropQueue].Load())
		if most := replyQueue / 1200; gone < many-most-1 || gone >= many {
			t.Errorf("%d of %d dropped, at most %d may wait", gone, many, most)
		}
		last, got := "", 0
		for ; last != toIPv4+fmt.Sprint(many-1)+payload; got++ {
			last = <-a.out
		}
		if got+gone != many {
			t.Errorf("%d arrived and %d dropped of %d", got, gone, many)
		}
	})
}

// What is too large for a datagram of the family is dropped before the system could see it.
func TestHostile24_LargestReply(t *testing.T) {
	inUDPBubble(t, func(t *testing.T, _ *Server, a *memAssociation) {
		a.say("192.0.2.7:1000", toIPv4)
		f := a.n.next(t, "203.0.113.5")
		largest := strings.Repeat("x", maxIPv4-headerIPv4)
		go f.back("", largest+"x", largest)
		if got := <-a.out; got != toIPv4+largest {
			t.Errorf("%d bytes, want %d", len(got), len(toIPv4)+len(largest))
		}
		dropped(t, a.stats, stats.DropTooLarge, 1)
	})
}

// A link-local address is bound with its zone, and written without: SOCKS has
// no way to say it.
func TestHostile30_Zone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFarSide()
		var socket *memSocket
		u := &UDP{Open: n.open, Listen: func(addr netip.Addr) (net.PacketConn, error) {
			if addr.Zone() != "eth0" {
				t.Errorf("bound to %v", addr)
			}
			socket = newMemSocket(addr)
			return socket, nil
		}}
		s := New(Config{UDP: u})
		ours, theirs := net.Pipe()
		s.admit(memConn{theirs, tcpAddr("[fe80::1%eth0]:1080"), tcpAddr("[fe80::2%eth0]:1")}, netip.AddrPort{})
		mustWrite(t, ours, "\x05\x01\x00")
		mustRead(t, ours, "\x05\x00")
		mustWrite(t, ours, associate5)
		if got := readBound(t, ours).String(); got != "[fe80::1]:40000" {
			t.Errorf("BND %v", got)
		}
		socket.say("[fe80::3%eth0]:1000", toIPv4+"of another address")
		socket.say("[fe80::2%eth0]:1000", toIPv4+"x")
		n.next(t, "203.0.113.5").want(t, "x")
		ours.Close()
		<-socket.closed
	})
}

func tcpAddr(s string) net.Addr { return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(s)) }
