package relaytest

import (
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"relaymux/mux"
	"relaymux/relay/exit"
)

// TestHostile77_LinkNodeRestarts: in the middle of transfers, and beside an idle
// connection. All of them end by RST, within two exchanges of the first one that
// failed: one to hear that the link is unknown, and one to prove it. New ones
// work at once.
func TestHostile77_LinkNodeRestarts(t *testing.T) {
	const (
		away    = 100 * time.Millisecond
		proof   = rtt/2 + 2*rtt + 300*time.Millisecond // the failure's way back, and the two
		size    = 64 << 20
		newOnes = 3 * rtt
	)
	everyCarriage(t, func(t *testing.T, c StackConfig) {
		mortally(t, c, func(t *testing.T, s *Stack, node *lives) {
			addr := s.serve(t, func(c net.Conn) {
				go func() { _, _ = io.Copy(io.Discard, c) }()
				trickle(c, 1, size)
			})
			echo := s.serve(t, Echo)
			idle := open(t, s.Connect, echo)
			ask(t, idle, "hello")
			down, up := open(t, s.Connect, addr), open(t, s.Connect, addr)
			go trickle(up, 2, size)
			time.Sleep(5 * time.Second)
			crashed := time.Now()
			node.restart(away)
			var all sync.WaitGroup
			for name, c := range map[string]net.Conn{"idle": idle, "down": down, "up": up} {
				all.Go(func() {
					within(t, c, time.Minute)
					a := arrive(c)
					a.wantPart(t, name, 1, size)
					took := time.Since(crashed)
					t.Logf("%s ended after %v by %v", name, took, a.err)
					if a.err == nil || took > proof {
						t.Errorf("%s ended after %v by %v", name, took, a.err)
					}
				})
			}
			all.Wait()
			took := ask(t, open(t, s.Connect, echo), "again")
			t.Logf("a new connection took %v", took)
			if took > newOnes {
				t.Errorf("a new connection took %v", took)
			}
		})
	})
}

// TestHostile77_LinkNodeRestartsUnnoticed: while nothing is open. The first
// connection afterwards works, and costs two exchanges more than others; nobody is alarmed.
func TestHostile77_LinkNodeRestartsUnnoticed(t *testing.T) {
	everyCarriage(t, func(t *testing.T, c StackConfig) {
		book := new(logbook)
		c.Log = book.log()
		mortally(t, c, func(t *testing.T, s *Stack, node *lives) {
			echo := s.serve(t, Echo)
			for range 3 {
				c := open(t, s.Connect, echo)
				within(t, c, time.Minute)
				took := ask(t, c, "hello")
				t.Logf("took %v", took)
				if took > 3*rtt+200*time.Millisecond {
					t.Errorf("took %v", took)
				}
				c.Close()
				time.Sleep(time.Minute)
				node.restart(time.Second)
				time.Sleep(time.Minute)
			}
			if !book.has("the node began anew") || book.has("level=WARN", "deployment=") {
				t.Errorf("the log says:\n%s", book.text.String())
			}
		})
	})
}

// TestHostile77_OpenWhileTheNodeRestarts: connections that are opened while the
// node is away for a while wait for it.
func TestHostile77_OpenWhileTheNodeRestarts(t *testing.T) {
	everyCarriage(t, func(t *testing.T, c StackConfig) {
		mortally(t, c, func(t *testing.T, s *Stack, node *lives) {
			echo := s.serve(t, Echo)
			ask(t, open(t, s.Connect, echo), "hello")
			time.Sleep(10 * time.Second)
			go node.restart(5 * time.Second)
			time.Sleep(4 * time.Second)
			began := time.Now()
			for range 5 { // a browser tries again
				c := open(t, s.Connect, echo)
				within(t, c, time.Minute)
				if _, err := io.WriteString(c, "again"); err == nil {
					if _, err = io.ReadFull(c, make([]byte, 5)); err == nil {
						break
					}
				}
				c.Close()
			}
			took := time.Since(began)
			t.Logf("a new connection worked after %v", took)
			if took > 15*time.Second {
				t.Errorf("a new connection worked after %v", took)
			}
		})
	})
}

// TestHostile65_ClientGone: its network is cut, in the middle of a download, an
// upload, a call and a dial. The node frees everything within the time of the
// reaper; when the client comes back, it hears that its connections are reset.
func TestHostile65_ClientGone(t *testing.T) {
	const reap = time.Minute
	everyCarriage(t, func(t *testing.T, c StackConfig) {
		c.Node = func(c *exit.Config) { c.Reap, c.UDP.Reap = reap, 10*time.Minute }
		virtual(t, c, func(t *testing.T, s *Stack) {
			var ended atomic.Int64
			target := func(use func(c net.Conn)) string {
				return s.serve(t, func(c net.Conn) {
					use(c)
					if a := arrive(c); isReset(a.err) {
						ended.Add(1)
					}
				})
			}
			down := open(t, s.Connect, target(func(c net.Conn) { _, _ = io.Copy(c, noise(1, 1<<30)) }))
			up := open(t, s.Connect, target(func(c net.Conn) { time.Sleep(20 * time.Second) })) // slow, so that the node's memory is in use
			idle := open(t, s.Connect, target(func(net.Conn) {}))
			writeAll(t, idle, "x")
			go func() { _, _ = io.Copy(up, noise(2, 1<<30)) }()
			a := associate(t, s)
			wantEcho(t, a, s.servePackets(t, EchoPacket), []byte("hello"))
			time.Sleep(10 * time.Second)
			if n := s.Node.Stats(); n.LinkStreams != 4 || n.Memory == 0 {
				t.Errorf("before: %+v", n)
			}
			s.Relay.Set(func(k *Knobs) { k.LoseBefore = 1 })
			settle(holdMost + reap + reap/10 + rtt) // what is held is a sign of the client
			wantFree(t, s.Node)
			s.Relay.Set(func(k *Knobs) { k.LoseBefore = 0 })
			for name, c := range map[string]net.Conn{"down": down, "up": up, "idle": idle} {
				within(t, c, 30*time.Second)
				if got := arrive(c); !isReset(got.err) {
					t.Errorf("%s ended by %v after the client was back", name, got.err)
				}
			}
			if n := ended.Load(); n != 2 { // the third sees it where it writes
				t.Logf("%d targets saw a reset where they read", n)
			}
			ask(t, open(t, s.Connect, s.serve(t, Echo)), "again")
			s.Relay.Set(func(k *Knobs) {})
		})
	})
}

// A sleeper is a machine whose wall clock goes on while it sleeps.
type sleeper struct{ slept atomic.Int64 }

func (s *sleeper) wall() time.Time { return time.Now().Add(time.Duration(s.slept.Load())) }

// TestHostile75_Sleep: for an hour. What was under way never comes back; what is
// said next takes two round trips at most, on connections that were open before
// and on new ones.
func TestHostile75_Sleep(t *testing.T) {
	everyCarriage(t, func(t *testing.T, c StackConfig) {
		var machine sleeper
		c.Mux = func(c *mux.Config) { c.Link.Wall = machine.wall }
		virtual(t, c, func(t *testing.T, s *Stack) {
			echo := s.serve(t, Echo)
			idle, other := open(t, s.Connect, echo), open(t, s.Connect, echo)
			ask(t, idle, "hello")
			ask(t, other, "hello")
			s.Relay.Set(func(k *Knobs) { k.Late, k.LateBy = 1, time.Hour })
			time.Sleep(40 * time.Second) // whatever is held now is dead
			s.Relay.Set(func(k *Knobs) { k.Late = 0 })
			machine.slept.Store(int64(time.Hour))
			for name, c := range map[string]net.Conn{"idle": idle, "new": open(t, s.Connect, echo), "other": other} {
				within(t, c, time.Minute)
				took := ask(t, c, "good morning")
				t.Logf("%s took %v", name, took)
				if took > 2*rtt {
					t.Errorf("%s took %v", name, took)
				}
			}
		})
	})
}

// TestHostile75_SleepWhileIdle: the clocks are looked at also if nobody says
// anything: what a target says afterwards comes within a minute.
func TestHostile75_SleepWhileIdle(t *testing.T) {
	everyCarriage(t, func(t *testing.T, c StackConfig) {
		var machine sleeper
		c.Mux = func(c *mux.Config) { c.Link.Wall = machine.wall }
		virtual(t, c, func(t *testing.T, s *Stack) {
			say := make(chan bool)
			c := open(t, s.Connect, s.serve(t, func(c net.Conn) {
				_, _ = io.CopyN(io.Discard, c, 1)
				<-say
				_, _ = io.WriteString(c, Banner)
			}))
			writeAll(t, c, "x")
			time.Sleep(time.Minute)
			s.Relay.Set(func(k *Knobs) { k.Late, k.LateBy = 1, time.Hour })
			time.Sleep(30 * time.Second)
			s.Relay.Set(func(k *Knobs) { k.Late = 0 })
			machine.slept.Store(int64(time.Hour))
			close(say)
			within(t, c, 5*time.Minute)
			took := elapsed(func() {
				if text := readAll(t, c); text != Banner {
					t.Errorf("got %q", text)
				}
			})
			t.Logf("heard after %v", took)
			if took > time.Minute+rtt {
				t.Errorf("heard after %v", took)
			}
		})
	})
}

// TestStopWithoutALink: who has asked for something by HTTP, and given up, is no
// reason to go on when there is no link.
func TestStopWithoutALink(t *testing.T) {
	nobody := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	virtual(t, StackConfig{Link: true, Foreign: nobody}, func(t *testing.T, s *Stack) {
		for range 3 {
			c, err := s.config.Memory.Dial(t.Context(), "tcp", s.Proxy)
			check(t, err)
			_, err = io.WriteString(c, "GET http://origin.test/ HTTP/1.1\r\nHost: origin.test\r\n\r\n")
			check(t, err)
			time.Sleep(time.Second)
			c.Close()
		}
		time.Sleep(time.Second)
	})
}

// TestHostile63_ClockJumps: the wall clock is set forth and back by a day, again and
// again. To what goes on then nothing happens but that a few exchanges go again.
func TestHostile63_ClockJumps(t *testing.T) {
	everyCarriage(t, func(t *testing.T, c StackConfig) {
		var machine sleeper
		c.Mux = func(c *mux.Config) { c.Link.Wall = machine.wall }
		virtual(t, c, func(t *testing.T, s *Stack) {
			echo := s.serve(t, Echo)
			a := open(t, s.Connect, echo)
			ask(t, a, "hello")
			count := s.exchanges()
			for i := range 10 {
				machine.slept.Store(int64((i%3 - 1)) * int64(24*time.Hour))
				within(t, a, time.Minute)
				if took := ask(t, a, "tick"); took > 3*rtt {
					t.Errorf("jump %d: %v", i, took)
				}
				time.Sleep(20 * time.Second)
			}
			ask(t, open(t, s.Connect, echo), "new")
			if n := count(); n > 100 {
				t.Errorf("%d exchanges in 200 s", n)
			}
		})
	})
}
