package relaytest

import (
	"encoding/json"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"relaymux/mux"
	"relaymux/relay/exit"
)

// watchMemory returns what ends the watch, and says how much the node held at
// most.
func (s *Stack) watchMemory() (stop func() int64) {
	done, most := make(chan bool), make(chan int64, 1)
	go func() { most <- s.mostMemory(done) }()
	return sync.OnceValue(func() int64 {
		close(done)
		return <-most
	})
}

// TestHostile82_StalledReaders: a hundred downloads that nobody reads. Both ends
// stay within their memory, and another download of the same client is at least
// half as fast as it is alone, once it has got going; at rest nothing is asked for
// again and again.
func TestHostile82_StalledReaders(t *testing.T) {
	const (
		client, node = 64 << 20, 64 << 20 // a quarter of what users get
		line         = 1 << 20
		begin, long  = 20 * time.Second, 90 * time.Second
	)
	everyCarriage(t, func(t *testing.T, c StackConfig) {
		c.Mux = func(c *mux.Config) { c.Memory = client }
		c.Node = func(c *exit.Config) { c.Memory = node }
		pull := func(stalled int) (came int64) {
			virtual(t, c, func(t *testing.T, s *Stack) {
				s.warmUp(t)
				stop := s.watchMemory()
				defer stop()
				endless := s.serve(t, func(c net.Conn) { _, _ = io.Copy(c, noise(6, 1<<30)) })
				for range stalled {
					writeAll(t, open(t, s.Connect, endless), "x")
				}
				time.Sleep(time.Minute)
				count := s.exchanges()
				time.Sleep(time.Minute)
				idle := count()
				s.Relay.SetLine(0, line)
				down := open(t, s.Connect, endless)
				var n atomic.Int64
				go func() {
					p := make([]byte, 64<<10)
					for {
						k, err := down.Read(p)
						if n.Add(int64(k)); err != nil {
							return
						}
					}
				}()
				time.Sleep(begin)
				before := n.Load()
				time.Sleep(long)
				came = n.Load() - before
				peak := stop()
				t.Logf("%d stalled: %d KiB in %v, after %d; the node held up to %d KiB; %d exchanges in a minute in which nobody reads",
					stalled, came>>10, long, before>>10, peak>>10, idle)
				if peak > node {
					t.Errorf("the node held %d bytes of %d", peak, node)
				}
				if idle > 10 {
					t.Errorf("%d exchanges in a minute in which nobody reads", idle)
				}
			})
			return came
		}
		alone := pull(0)
		for n, part := range map[int]int64{1: 2, 10: 2, crowd(100): 3} { // of a memory as small as that
			if beside := pull(n); beside < alone/part {
				t.Errorf("%d KiB came beside %d downloads that nobody reads, %d alone", beside>>10, n, alone>>10)
			}
		}
	})
}

// TestHostile82_StalledReadersHeap is what that takes of the heap: no more than
// what both ends may have, and what the test's own sockets hold.
func TestHostile82_StalledReadersHeap(t *testing.T) {
	const client, node, readers = 32 << 20, 64 << 20, 100
	c := StackConfig{Link: true, Workers: 2}
	c.Mux = func(c *mux.Config) { c.Memory = client }
	c.Node = func(c *exit.Config) { c.Memory = node }
	before := measure()
	virtual(t, c, func(t *testing.T, s *Stack) {
		addr := s.serve(t, func(c net.Conn) { _, _ = io.Copy(c, noise(6, 1<<30)) })
		for range readers {
			writeAll(t, open(t, s.Connect, addr), "x")
		}
		time.Sleep(time.Minute)
		after := measure()
		const rings = readers * 2 * 2 * ringSize // between app and proxy, node and target
		got := after.bytes - before.bytes
		t.Logf("%d MiB of the heap, of which the node accounts for %d; the sockets hold up to %d", got>>20, s.Node.Stats().Memory>>20, int64(rings)>>20)
		if got > client+node+rings {
			t.Errorf("%d bytes of the heap for %d", got, client+node+rings)
		}
	})
}

// TestHostile82_StalledTargets: uploads to targets that do not read, and another
// one beside them.
func TestHostile82_StalledTargets(t *testing.T) {
	const client, node, size = 256 << 20, 256 << 20, 4 << 20 // what users get
	everyCarriage(t, func(t *testing.T, c StackConfig) {
		c.Mux = func(c *mux.Config) { c.Memory = client }
		c.Node = func(c *exit.Config) { c.Memory = node }
		push := func(stalled int) (took time.Duration) {
			virtual(t, c, func(t *testing.T, s *Stack) {
				s.warmUp(t)
				stop := s.watchMemory()
				defer stop()
				deaf := s.serve(t, func(net.Conn) { <-t.Context().Done() })
				for range stalled {
					c := open(t, s.Connect, deaf)
					go func() { _, _ = io.Copy(c, noise(6, 1<<30)) }()
				}
				time.Sleep(20 * rtt)
				up := open(t, s.Connect, s.serve(t, AnswerAtEOF))
				within(t, up, 2*time.Minute)
				took = elapsed(func() {
					if err := send(up, 7, size); err != nil {
						t.Errorf("%d stalled: %v", stalled, err)
						return
					}
					var got Received
					text, err := io.ReadAll(up)
					if err == nil {
						err = json.Unmarshal(text, &got)
					}
					if err != nil || got != sum(noise(7, size)) {
						t.Errorf("%d stalled: the target got %+v, %v", stalled, got, err)
					}
				})
				peak := stop()
				t.Logf("%d stalled: %v; the node held up to %d KiB", stalled, took, peak>>10)
				if peak > node {
					t.Errorf("the node held %d bytes of %d", peak, node)
				}
			})
			return took
		}
		alone := push(0)
		for _, n := range []int{1, 10, crowd(100)} {
			if beside := push(n); beside > 5*alone {
				t.Errorf("an upload took %v beside %d to deaf targets, %v alone", beside, n, alone)
			}
		}
	})
}

// TestHostile82_CreditComesBack: what one connection has held up is there for the
// next, however it ended: read late, after its application had ended its own
// direction; given up with bytes unread; reset.
func TestHostile82_CreditComesBack(t *testing.T) {
	const memory, size = 16 << 20, 300_000 // a little more than the sockets on the way hold
	for name, end := range map[string]func(t *testing.T, c net.Conn){
		"read late, half-closed": func(t *testing.T, c net.Conn) {
			closeWrite(c)
			time.Sleep(10 * time.Second)
			arrive(c).want(t, "the app", 6, size)
		},
		"closed unread":  func(_ *testing.T, c net.Conn) { time.Sleep(10 * time.Second); c.Close() },
		"reset unread":   func(_ *testing.T, c net.Conn) { time.Sleep(10 * time.Second); reset(c) },
		"closed at once": func(_ *testing.T, c net.Conn) { time.Sleep(rtt + rtt/2); c.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			everyCarriage(t, func(t *testing.T, c StackConfig) {
				c.Mux = func(c *mux.Config) { c.Memory = memory }
				c.Node = func(c *exit.Config) { c.Memory = memory }
				virtual(t, c, func(t *testing.T, s *Stack) {
					addr := s.serve(t, func(c net.Conn) {
						_, _ = io.CopyN(io.Discard, c, 1)
						_ = send(c, 6, size)
					})
					for range crowd(200) {
						c := open(t, s.Connect, addr)
						within(t, c, 2*time.Minute)
						writeAll(t, c, "x")
						if end(t, c); t.Failed() {
							return
						}
					}
					time.Sleep(10 * time.Second)
					ask(t, open(t, s.Connect, s.serve(t, Echo)), "still there")
					s.wantNoStreamsBut(t, 1)
				})
			})
		})
	}
}
