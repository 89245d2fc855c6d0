package relaytest

import (
	"context"
	"fmt"
	"io"
	"net"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"relaymux/mux/stats"
	"relaymux/relay/h3"
)

// eitherWay runs test with a client that reaches its node by http = "auto", and
// datagrams of which each way takes 25 ms, unless get is called with false.
func eitherWay(t *testing.T, test func(t *testing.T, s *Stack, get func(through bool), over func() bool)) {
	t.Helper()
	eitherWayOf(t, StackConfig{Link: true}, 25*time.Millisecond, test)
}

func eitherWayOf(t *testing.T, c StackConfig, delay time.Duration, test func(t *testing.T, s *Stack, get func(through bool), over func() bool)) {
	t.Helper()
	c.TLS, c.HTTP = true, "auto"
	virtual(t, c, func(t *testing.T, s *Stack) {
		get := func(through bool) {
			p := Path{Delay: delay}
			if !through {
				p.Lose = 1
			}
			s.config.Memory.SetPath("127.0.0.1", p, 1)
		}
		get(true)
		test(t, s, get, s.ds[0].Transport.(*h3.Auto).OverUDP)
	})
}

// drip sends a byte every 10 ms, n of them.
func drip(n int) func(net.Conn) {
	return func(c net.Conn) {
		defer c.Close()
		for i := range n {
			if _, err := c.Write([]byte{byte(i)}); err != nil {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
}

// catch reads what drip sends, n bytes, and returns the longest gap between two of them.
func catch(t *testing.T, r io.Reader, n int) (longest time.Duration) {
	t.Helper()
	p := make([]byte, 4096)
	last := time.Now()
	for i := 0; i < n; {
		k, err := r.Read(p)
		if err != nil {
			t.Errorf("after %d bytes: %v", i, err)
			return longest
		}
		longest, last = max(longest, time.Since(last)), time.Now()
		for _, b := range p[:k] {
			if b != byte(i) {
				t.Fatalf("byte %d is %d", i, b)
			}
			i++
		}
	}
	return longest
}

// TestHostile76_UDPCut: UDP is blocked in the middle of a download, of an upload, and while
// nothing happens. Everything goes on by TCP within a second, and goes back to UDP
// when that gets through again.
func TestHostile76_UDPCut(t *testing.T) {
	const n = 10_000 // 100 s
	eitherWay(t, func(t *testing.T, s *Stack, get func(bool), over func() bool) {
		echo := s.serve(t, Echo)
		idle := open(t, s.Connect, echo)
		ask(t, idle, "hello")
		up := make(chan time.Duration, 1)
		c := open(t, s.Connect, s.serve(t, func(c net.Conn) { up <- catch(t, c, n) }))
		go drip(n)(c)
		down := make(chan time.Duration, 1)
		go func() { down <- catch(t, open(t, s.Connect, s.serve(t, drip(n))), n) }()
		time.Sleep(5 * time.Second)
		if !over() {
			t.Error("not by HTTP/3 at first")
		}
		get(false)
		time.Sleep(5 * time.Second)
		if over() {
			t.Error("still by HTTP/3")
		}
		get(true)
		time.Sleep(30 * time.Second)
		if !over() {
			t.Error("not by HTTP/3 again")
		}
		d, u := <-down, <-up
		t.Logf("the longest gap: %v down, %v up", d, u)
		if d > time.Second || u > time.Second {
			t.Error("too long")
		}
		get(false)
		took := ask(t, idle, "still there")
		t.Logf("an answer after a pause: %v", took)
		if took > time.Second {
			t.Error("too long")
		}
		if n := s.Stats.Exchanges.Load(); n > 60 {
			t.Errorf("%d exchanges", n)
		}
	})
}

// TestHostile76_UDPBlocked: where UDP is blocked from the start, that costs the first exchange
// a quarter of a second, and nothing later.
func TestHostile76_UDPBlocked(t *testing.T) {
	eitherWay(t, func(t *testing.T, s *Stack, get func(bool), over func() bool) {
		get(false)
		echo := s.serve(t, Echo)
		c := open(t, s.Connect, echo)
		if took := ask(t, c, "first"); took > 400*time.Millisecond {
			t.Errorf("the first answer took %v", took)
		}
		time.Sleep(time.Second)
		for range 100 {
			if took := ask(t, c, "other"); took > 150*time.Millisecond {
				t.Errorf("an answer took %v", took)
			}
			time.Sleep(10 * time.Second)
		}
		if over() {
			t.Error("by HTTP/3")
		}
		get(true)
		time.Sleep(10 * time.Minute)
		if took := ask(t, c, "last"); took > 500*time.Millisecond || !over() {
			t.Errorf("an answer took %v; HTTP/3 is %v", took, over())
		}
	})
}

// TestUDPAlone: where TCP does not get through, be it refused or not answered at all,
// everything goes by UDP, and again as soon as that is back after a gap.
func TestUDPAlone(t *testing.T) {
	for name, dial := range map[string]func(context.Context, string, string) (net.Conn, error){
		"refused": func(context.Context, string, string) (net.Conn, error) { return nil, syscall.ECONNREFUSED },
		"silent": func(ctx context.Context, _, _ string) (net.Conn, error) {
			<-ctx.Done()
			return nil, context.Cause(ctx)
		},
	} {
		for _, delay := range []time.Duration{25 * time.Millisecond, 300 * time.Millisecond} {
			t.Run(fmt.Sprint(name, " ", delay), func(t *testing.T) {
				eitherWayOf(t, StackConfig{Link: true, Dial: dial}, delay, func(t *testing.T, s *Stack, get func(bool), over func() bool) {
					c := open(t, s.Connect, s.serve(t, Echo))
					if took := ask(t, c, "first"); took > 4*time.Second {
						t.Errorf("the first answer took %v", took)
					}
					for range 5 {
						time.Sleep(10 * time.Second)
						get(false)
						time.AfterFunc(3*time.Second, func() { get(true) })
						if took := ask(t, c, "in a gap"); took > 8*time.Second {
							t.Errorf("an answer took %v", took)
						}
					}
				})
			})
		}
	}
}

// TestUDPGapJSON: on the JSON wire, whose batches may not go twice, what is on its way
// by UDP is left there when that is silent for a while.
func TestUDPGapJSON(t *testing.T) {
	const n = 300
	for at := range 10 {
		eitherWayOf(t, StackConfig{}, 25*time.Millisecond, func(t *testing.T, s *Stack, get func(bool), over func() bool) {
			var all sync.WaitGroup
			for range 10 {
				all.Go(func() { catch(t, open(t, s.Connect, s.serve(t, drip(n))), n) })
			}
			time.Sleep(time.Second + time.Duration(at)*5*time.Millisecond)
			get(false)
			time.Sleep(450 * time.Millisecond)
			get(true)
			all.Wait()
		})
	}
}

// TestUDPDiesIdle: what a server says by itself comes though UDP has been cut off while
// nothing happened.
func TestUDPDiesIdle(t *testing.T) {
	eitherWay(t, func(t *testing.T, s *Stack, get func(bool), over func() bool) {
		spoken := make(chan time.Time, 1)
		c := open(t, s.Connect, s.serve(t, func(c net.Conn) {
			time.Sleep(25 * time.Second)
			spoken <- time.Now()
			_, _ = c.Write([]byte("hello"))
			_, _ = io.Copy(io.Discard, c)
		}))
		time.Sleep(20 * time.Second)
		get(false)
		if _, err := c.Read(make([]byte, 10)); err != nil {
			t.Error(err)
		}
		if late := time.Since(<-spoken); late > 20*time.Second {
			t.Errorf("it came %v late", late)
		}
	})
}

// TestEarly: the first click after a pause costs one round trip, though the connection
// is gone: it goes in the first flight of the next.
func TestEarly(t *testing.T) {
	if raceEnabled {
		t.Skip("see h3.Config.Early")
	}
	const way = 25 * time.Millisecond
	eitherWayOf(t, StackConfig{Link: true, Early: true}, way, func(t *testing.T, s *Stack, get func(bool), over func() bool) {
		echo := s.serve(t, Echo)
		for i := range 3 {
			c := open(t, s.Connect, echo)
			if took := ask(t, c, "click"); i > 0 && took > 3*way {
				t.Errorf("an answer took %v", took)
			}
			c.Close()
			time.Sleep(5 * time.Minute)
		}
		if !over() {
			t.Error("not by HTTP/3")
		}
	})
}

// TestUDPLoses: where UDP loses one packet in fifty, a download or an upload goes by TCP
// soon, and for ten minutes.
func TestUDPLoses(t *testing.T) {
	const size = 8 << 20
	for name, carry := range map[string]func(*testing.T, *Stack) result{"down": download(size), "up": upload(size)} {
		t.Run(name, func(t *testing.T) {
			eitherWay(t, func(t *testing.T, s *Stack, get func(bool), over func() bool) {
				ask(t, open(t, s.Connect, s.serve(t, Echo)), "hello")
				s.config.Memory.SetPath("127.0.0.1", Path{Delay: 25 * time.Millisecond, Lose: 50}, 1)
				if !over() {
					t.Error("not by HTTP/3 at first")
				}
				got := carry(t, s)
				t.Logf("%.2f MB/s", got.value)
				for _, f := range got.wrong {
					t.Error(f)
				}
				if over() {
					t.Error("still by HTTP/3")
				}
				time.Sleep(time.Second)
				if got := carry(t, s); got.value < 50 {
					t.Errorf("%.2f MB/s by TCP", got.value)
				}
				slow := 0
				for range 8 { // it is tried again every ten minutes, and given up again
					time.Sleep(4 * time.Minute)
					if carry(t, s).value < 50 {
						slow++
					}
				}
				if slow > 4 {
					t.Errorf("%d transfers of 8 were slow", slow)
				}
				get(true)
				c := open(t, s.Connect, s.serve(t, Echo))
				for range 11 {
					ask(t, c, "hello")
					time.Sleep(time.Minute)
				}
				if !over() {
					t.Error("not by HTTP/3 again")
				}
			})
		})
	}
}

// TestTrains: straight to a node by what is chosen of itself, bulk goes both ways in
// trains of datagrams, a system call each, and is read in trains.
func TestTrains(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("segmentation offload is Linux's")
	}
	s := NewStack(t, StackConfig{Link: true, TLS: true, HTTP: "auto"})
	var l load
	l.begin(t, s, 8<<20, 30*time.Second)
	l.want(8 << 20)
	for what, c := range map[string]*stats.Trains{
		"the client sent": &s.QUIC.Sent, "the node read": &s.NodeQUIC.Received,
		"the node sent": &s.NodeQUIC.Sent, "the client read": &s.QUIC.Received,
	} {
		datagrams, trains := c.Datagrams.Load(), c.Trains.Load()
		t.Logf("%s %d datagrams in %d trains", what, datagrams, trains)
		if trains == 0 || datagrams < 2*trains {
			t.Errorf("%s %d datagrams in %d trains", what, datagrams, trains)
		}
	}
}
