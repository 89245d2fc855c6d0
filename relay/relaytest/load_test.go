package relaytest

import (
	"io"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	"relaymux/mux"
	"relaymux/relay/exit"
)

// usage is what the process takes, in bytes and goroutines.
type usage struct {
	bytes      int64
	goroutines int
}

func measure() usage {
	runtime.GC()
	runtime.GC() // the pools give theirs up at the second
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return usage{int64(m.HeapAlloc + m.StackInuse), runtime.NumGoroutine()}
}

// TestHostile80_IdleConnections: what one costs, both halves of the program
// together, sockets of the system aside. The test's own ends are taken off by
// measuring them alone.
func TestHostile80_IdleConnections(t *testing.T) {
	const n = 1000
	s := NewStack(t, StackConfig{})
	addr := s.serve(t, Echo)
	alone := idleCost(t, n, DialPlain, addr)
	with := idleCost(t, n, s.Connect, addr)
	bytes, goroutines := (with.bytes-alone.bytes)/n, float64(with.goroutines-alone.goroutines)/n
	t.Logf("an idle connection takes %d bytes and %.2f goroutines", bytes, goroutines)
	if bytes > 20<<10 || goroutines > 2.5 { // one at each end, and those of the relay's connections
		t.Errorf("an idle connection takes %d bytes and %.2f goroutines", bytes, goroutines)
	}
	if open := s.Stats.FlowsOpen.Load(); open != n {
		t.Errorf("%d flows open", open)
	}
}

// idleCost is what n connections take, once each of them has been used. They
// stay open until the end of the test.
func idleCost(t *testing.T, n int, dial Dialer, addr string) usage {
	t.Helper()
	before := measure()
	var wg sync.WaitGroup
	conns := make(chan net.Conn, n)
	for range 20 {
		wg.Go(func() {
			for len(conns) < n-20 {
				c := open(t, dial, addr)
				ask(t, c, "hello")
				conns <- c
			}
		})
	}
	wg.Wait()
	for len(conns) < n {
		c := open(t, dial, addr)
		ask(t, c, "hello")
		conns <- c
	}
	after := measure()
	return usage{after.bytes - before.bytes, after.goroutines - before.goroutines}
}

// TestHostile82_SlowReader: of a hundred downloads one is not read. The others
// take as long as without it, and neither end holds more than it may.
func TestHostile82_SlowReader(t *testing.T) {
	t.Parallel()
	const (
		flows, size    = 100, 1 << 20
		client, server = 32 << 20, 64 << 20
	)
	downloads := func(slow bool) (took time.Duration) {
		c := StackConfig{Scripts: 2}
		c.Mux = func(c *mux.Config) { c.Memory = client }
		c.Node = func(c *exit.Config) { c.Memory = server }
		virtual(t, c, func(t *testing.T, s *Stack) {
			addr := s.serve(t, func(c net.Conn) { _ = send(c, 5, size) })
			if slow {
				unread := open(t, s.Connect, s.serve(t, func(c net.Conn) { _ = send(c, 6, 1<<30) }))
				defer unread.Close()
				time.Sleep(10 * rtt)
			}
			var all sync.WaitGroup
			done := make(chan bool)
			most := make(chan int64)
			go func() { most <- s.mostMemory(done) }()
			took = elapsed(func() {
				for range flows - 1 {
					all.Go(func() { arrive(open(t, s.Connect, addr)).want(t, "an app", 5, size) })
				}
				all.Wait()
			})
			close(done)
			peak := <-most
			t.Logf("slow %v: %v, the node held up to %d MiB", slow, took, peak>>20)
			if peak > server {
				t.Errorf("the node held %d bytes of %d", peak, server)
			}
		})
		return took
	}
	if without, with := downloads(false), downloads(true); with > without*7/4 { // either varies by a quarter with the order of goroutines
		t.Errorf("%v beside a slow reader, %v without", with, without)
	}
}

// mostMemory is the most that the node holds until done.
func (s *Stack) mostMemory(done <-chan bool) (most int64) {
	for {
		most = max(most, s.Node.Stats().Memory)
		select {
		case <-done:
			return most
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// TestHostile87_StopUnderLoad: with transfers both ways and dials under way. The
// bubble fails the test if a goroutine is left.
func TestHostile87_StopUnderLoad(t *testing.T) {
	t.Parallel()
	for _, scripts := range []int{0, 2} {
		virtual(t, StackConfig{Scripts: scripts}, func(t *testing.T, s *Stack) {
			addr := s.serve(t, func(c net.Conn) {
				go func() { _, _ = io.Copy(io.Discard, c) }()
				trickle(c, 1, 4<<20)
			})
			var ended sync.WaitGroup
			for seed := range uint64(20) {
				c := open(t, s.Connect, addr)
				go trickle(c, seed, 4<<20)
				ended.Go(func() { arrive(c).wantPart(t, "an app", 1, 4<<20) })
			}
			time.Sleep(5 * time.Second)
			took := elapsed(func() { check(t, s.close()) })
			ended.Wait()
			t.Logf("%d scripts: stopped in %v", scripts, took)
			if took > 10*time.Second {
				t.Errorf("%d scripts: stopped in %v", scripts, took)
			}
		})
	}
}
