package relaytest

import (
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestHostile71_RetryAfter: a relay that asks for a pause gets one, but for a
// look now and then if it is the only one, and is used again afterwards.
func TestHostile71_RetryAfter(t *testing.T) {
	virtual(t, StackConfig{Scripts: 1}, func(t *testing.T, s *Stack) {
		c := open(t, s.Connect, s.serve(t, Echo))
		ask(t, c, "hello")
		time.Sleep(20 * time.Second)
		s.Relay.Set(func(k *Knobs) { k.Status, k.RetryAfter = http.StatusTooManyRequests, "60" })
		count := s.exchanges()
		writeAll(t, c, "patience")
		time.AfterFunc(50*time.Second, func() { s.Relay.Set(func(k *Knobs) { k.Status = 0 }) })
		got := make([]byte, len("patience"))
		took := elapsed(func() {
			if _, err := io.ReadFull(c, got); err != nil || string(got) != "patience" {
				t.Errorf("read %q, %v", got, err)
			}
		})
		t.Logf("answered after %v, %d exchanges", took, count())
		if count() > 8 || took > 75*time.Second {
			t.Errorf("answered after %v, %d exchanges", took, count())
		}
	})
}

// TestHostile74_SlowDeploymentBlocksNobody: what waits for one relay that hangs
// does not hold up others.
func TestHostile74_SlowDeploymentBlocksNobody(t *testing.T) {
	virtual(t, StackConfig{Scripts: 2}, func(t *testing.T, s *Stack) {
		addr := s.serve(t, Echo)
		ask(t, open(t, s.Connect, addr), "warm")
		s.Relay.Set(func(k *Knobs) { k.Late, k.LateBy = 1, 25*time.Second }, "d0")
		slow := 0
		for range 20 {
			if ask(t, open(t, s.Connect, addr), "hello") > 2*rtt {
				slow++
			}
		}
		t.Logf("%d of 20 were slow", slow)
		if slow > 2 {
			t.Errorf("%d of 20 connections waited for the slow deployment", slow)
		}
	})
}

// TestHostile75_Outage: nobody is reachable for a while, in the middle of a
// download and beside an idle connection. A short one is invisible; one that is longer
// than the grace ends both by RST, and what is opened afterwards works.
func TestHostile75_Outage(t *testing.T) {
	const grace = 2 * time.Minute // of the JSON wire
	for _, outage := range []time.Duration{5 * time.Second, 60 * time.Second, 10 * time.Minute} {
		virtual(t, StackConfig{Scripts: 2}, func(t *testing.T, s *Stack) {
			echo := s.serve(t, Echo)
			idle := open(t, s.Connect, echo)
			ask(t, idle, "hello")
			down := open(t, s.Connect, s.serve(t, func(c net.Conn) { trickle(c, 4, 4<<20) }))
			time.AfterFunc(3*time.Second, func() { s.Relay.Set(func(k *Knobs) { k.LoseBefore = 1 }) })
			over := time.AfterFunc(3*time.Second+outage, func() { s.Relay.Set(func(k *Knobs) { k.LoseBefore = 0 }) })
			defer over.Stop()
			var got arrival
			took := elapsed(func() { got = arrive(down) })
			t.Logf("an outage of %v: the download ended after %v, %v", outage, took, got.err)
			if outage > grace {
				got.wantPart(t, "the app", 4, 4<<20)
				if got.err == nil || took < grace || took > grace+45*time.Second {
					t.Errorf("an outage of %v: the download ended after %v, %v", outage, took, got.err)
				}
				if a := arrive(idle); !isReset(a.err) {
					t.Errorf("the idle connection ended by %v", a.err)
				}
				time.Sleep(outage + time.Minute - took)
				ask(t, open(t, s.Connect, echo), "again")
				return
			}
			got.want(t, "the app", 4, 4<<20)
			if took > 15*time.Second+2*outage {
				t.Errorf("an outage of %v: the download took %v", outage, took)
			}
			ask(t, idle, "still there")
		})
	}
}

// TestHostile67_LateJSON: of the JSON wire's answers one in three comes 20 s late, or a
// minute, when it has been given up. What is late is in its place or no news: a
// connection that lost something by it is reset, and of a late one alone nothing is lost.
func TestHostile67_LateJSON(t *testing.T) {
	for _, by := range []time.Duration{20 * time.Second, time.Minute} {
		virtual(t, StackConfig{Scripts: 2}, func(t *testing.T, s *Stack) {
			const size = 2 << 20
			addr := s.serve(t, func(c net.Conn) { trickle(c, 6, size) })
			s.Relay.Set(func(k *Knobs) { k.Late, k.LateBy = 3, by })
			var all sync.WaitGroup
			whole := atomic.Int64{}
			for range 10 {
				all.Go(func() {
					c, err := s.Connect(t.Context(), addr)
					if err != nil {
						return
					}
					defer c.Close()
					within(t, c, 20*time.Minute)
					a := arrive(c)
					a.wantPart(t, "the app", 6, size)
					if a.err == nil {
						whole.Add(1)
					}
				})
			}
			all.Wait()
			t.Logf("late by %v: %d of 10 are whole", by, whole.Load())
			if by < 30*time.Second && whole.Load() < 10 {
				t.Errorf("%d of 10 are whole", whole.Load())
			}
			s.Relay.Set(func(k *Knobs) { k.Late = 0 })
			time.Sleep(2 * time.Minute)
			ask(t, open(t, s.Connect, s.serve(t, Echo)), "still there")
		})
	}
}
