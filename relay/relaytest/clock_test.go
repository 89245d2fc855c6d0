package relaytest

import (
	"testing"
	"time"

	"relaymux/mux"
)

// TestHostile63_ClockJumps: the client's wall clock is set forward and back by a day,
// again and again, in the middle of transfers and beside an idle connection. Set
// forward it looks like sleep, after which all is asked for anew; nothing is lost, and
// nothing ends.
func TestHostile63_ClockJumps(t *testing.T) {
	everyCarriage(t, func(t *testing.T, c StackConfig) {
		var machine sleeper
		c.Mux = func(c *mux.Config) { c.Link.Wall = machine.wall }
		virtual(t, c, func(t *testing.T, s *Stack) {
			s.warmUp(t)
			idle := open(t, s.Connect, s.serve(t, Echo))
			ask(t, idle, "hello")
			const size = 4 << 20
			s.Relay.SetLine(size/16, size/16)
			var l load
			l.begin(t, s, size, 5*time.Minute)
			for _, to := range []time.Duration{24 * time.Hour, 0, -24 * time.Hour, 0, 48 * time.Hour, 3 * time.Second, 0} {
				time.Sleep(3 * time.Second)
				machine.slept.Store(int64(to))
			}
			took := elapsed(func() { l.want(size) })
			t.Logf("took %v more, %d exchanges, %d bytes went again", took, s.Stats.Exchanges.Load(), s.Stats.Resent.Load())
			if took > 2*time.Minute {
				t.Errorf("took %v more", took)
			}
			s.Relay.SetLine(0, 0)
			ask(t, idle, "still there")
			s.wantNoneBroken(t, nil)
		})
	})
}

// TestHostile75_NoBurstAfterSleep: a machine that wakes asks once for what it missed.
// However long it slept, no timer is due more than once.
func TestHostile75_NoBurstAfterSleep(t *testing.T) {
	everyCarriage(t, func(t *testing.T, c StackConfig) {
		var machine sleeper
		c.Mux = func(c *mux.Config) { c.Link.Wall = machine.wall }
		virtual(t, c, func(t *testing.T, s *Stack) {
			s.warmUp(t)
			echo := s.serve(t, Echo)
			for range 20 {
				ask(t, open(t, s.Connect, echo), "hello")
			}
			time.Sleep(time.Minute)
			const minute = time.Minute
			spent := func() uint64 {
				before := s.Stats.Exchanges.Load()
				time.Sleep(minute)
				return s.Stats.Exchanges.Load() - before
			}
			usual := spent()
			for _, slept := range []time.Duration{5 * time.Second, time.Minute, 10 * time.Minute, 30 * 24 * time.Hour} {
				machine.slept.Add(int64(slept))
				n := spent()
				t.Logf("after %v: %d exchanges in a minute, usually %d", slept, n, usual)
				if n > usual+4 { // what was held goes again, and all that comes of it
					t.Errorf("after %v: %d exchanges in a minute, usually %d", slept, n, usual)
				}
			}
		})
	})
}
