package relaytest

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// The works of TestNumbers. They report what goes wrong and do not fail the
// test, for the table knows what may go wrong where.

// patience is when a connection is taken for lost.
const patience = 10 * time.Minute

// reach opens a connection that the caller closes.
func (s *Stack) reach(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := s.Connect(t.Context(), addr)
	check(t, err)
	within(t, c, patience)
	return c
}

const (
	pageObjects = 60
	pageConns   = 12
	objectSize  = 20_000
)

// atOnce and spread are what an origin takes to answer.
func atOnce(int) time.Duration { return 0 }
func spread(i int) time.Duration {
	return 20*time.Millisecond + time.Duration(i*37%131)*time.Millisecond
}

// page loads the objects of a page, each connection its part one after another,
// and leaves the connections open until it has looked at what that cost.
func page(after func(i int) time.Duration) func(*testing.T, *Stack) result {
	return func(t *testing.T, s *Stack) result {
		p := &pageLoad{s: s, addr: s.origin(t, Origin()), after: after}
		defer p.close()
		count := s.exchanges()
		took := elapsed(p.load)
		got := result{value: took.Seconds(), exchanges: count()}
		if n := p.failed.Load(); n > 0 {
			got.fault("%d objects failed", n)
		}
		if n := p.dials.Load(); n != pageConns {
			got.fault("%d connections for %d", n, pageConns)
		}
		return got
	}
}

// A pageLoad is a browser with a page open.
type pageLoad struct {
	s     *Stack
	addr  string
	after func(i int) time.Duration

	clients [pageConns]*http.Client // of one connection each
	dials   atomic.Int64            // a browser hides that a connection was lost by another
	failed  atomic.Int64
}

func (p *pageLoad) load() {
	var all sync.WaitGroup
	for i := range p.clients {
		if p.clients[i] == nil {
			p.clients[i] = p.client()
		}
		all.Go(func() {
			for object := i; object < pageObjects; object += pageConns {
				p.get(p.clients[i], object)
			}
		})
	}
	all.Wait()
}

func (p *pageLoad) client() *http.Client {
	c := p.s.browser(1)
	c.Timeout = patience
	c.Transport.(*http.Transport).DialContext = func(ctx context.Context, _, addr string) (net.Conn, error) {
		p.dials.Add(1)
		return p.s.Connect(ctx, addr)
	}
	return c
}

func (p *pageLoad) get(c *http.Client, i int) {
	b, err := object(c, fmt.Sprintf("http://%s/object/%d/%d?delay=%v", p.addr, i, objectSize, p.after(i)))
	if err != nil || hexSum(b) != ObjectSum(int64(i), objectSize) {
		p.failed.Add(1)
	}
}

func (p *pageLoad) close() {
	for _, c := range p.clients {
		if c != nil {
			c.CloseIdleConnections()
		}
	}
}

// asks are 1 KB requests and answers on an open connection, each after one of
// the pauses.
func asks(pauses ...time.Duration) func(*testing.T, *Stack) result {
	const rounds = 12
	return func(t *testing.T, s *Stack) result {
		c := s.reach(t, s.serve(t, Echo))
		defer c.Close()
		ask(t, c, "hello")
		count := s.exchanges()
		var took []time.Duration
		for i := range rounds {
			time.Sleep(pauses[i%len(pauses)])
			took = append(took, ask(t, c, strings.Repeat("k", kilobyte)))
		}
		return times(took, count())
	}
}

// times is the result of what took so long.
func times(took []time.Duration, exchanges int) result {
	slices.Sort(took)
	return result{value: took[len(took)-1].Seconds(), typical: took[len(took)/2].Seconds(), exchanges: exchanges}
}

// keystrokes are five per second for a minute, shown by the far end. Who types
// does not wait.
func keystrokes(t *testing.T, s *Stack) result {
	const keys, pace = 300, 200 * time.Millisecond
	c := s.reach(t, s.serve(t, Echo))
	defer c.Close()
	ask(t, c, "login")
	count := s.exchanges()
	var sent [keys]time.Time
	go func() {
		began := time.Now()
		for i := range sent {
			time.Sleep(time.Until(began.Add(time.Duration(i) * pace)))
			sent[i] = time.Now()
			_, _ = c.Write([]byte{byte(i)}) // the echo does not come then
		}
	}()
	var took []time.Duration
	for i := range sent {
		var key [1]byte
		if _, err := io.ReadFull(c, key[:]); err != nil || key[0] != byte(i) {
			t.Fatalf("key %d came back as %d, %v", i, key[0], err)
		}
		took = append(took, time.Since(sent[i]))
	}
	return times(took, count())
}

// onSlowLine does what takes longer to carry than any relay takes to answer, and
// must not be taken for lost: size bytes of payload come down once, in whatever
// they are wrapped.
func onSlowLine(do func(*testing.T, *Stack) result, size int64) func(*testing.T, *Stack) result {
	const up, down = 20_000, 100_000
	return func(t *testing.T, s *Stack) result {
		s.Relay.SetLine(up, down)
		defer s.Relay.SetLine(0, 0)
		before, relays := s.Stats.Resent.Load(), s.Relay.Stats()
		got := do(t, s)
		if n := s.Stats.Resent.Load() - before; n > 0 {
			got.fault("%d ops sent again", n)
		}
		if n := s.Relay.Stats().Down - relays.Down; n > size*3/2 {
			got.fault("%d bytes came for %d", n, size)
		}
		return got
	}
}

// push is how long it takes to hear of what the target says by itself, alone or
// while pages load beside it, at times that meet all phases of a hold.
func push(busy bool) func(*testing.T, *Stack) result {
	const words = 24
	return func(t *testing.T, s *Stack) (got result) {
		said := make(chan time.Time, words)
		c := s.reach(t, s.serve(t, func(c net.Conn) {
			_, _ = io.CopyN(io.Discard, c, 1)
			for i := range words {
				time.Sleep(4*time.Second + time.Duration(i)*730*time.Millisecond)
				said <- time.Now()
				_, _ = c.Write([]byte{byte(i)})
			}
			_, _ = io.Copy(io.Discard, c)
		}))
		defer c.Close()
		count := s.exchanges()
		_, err := c.Write([]byte("?"))
		check(t, err)
		if busy {
			defer s.loadPages(t)()
		}
		var took []time.Duration
		for i := range words {
			var word [1]byte
			if _, err := io.ReadFull(c, word[:]); err != nil || word[0] != byte(i) {
				t.Fatalf("word %d came as %d, %v", i, word[0], err)
			}
			took = append(took, time.Since(<-said))
		}
		return times(took, count())
	}
}

// loadPages loads one page after another until stop.
func (s *Stack) loadPages(t *testing.T) (stop func()) {
	p := &pageLoad{s: s, addr: s.origin(t, Origin()), after: spread}
	done := make(chan bool)
	var all sync.WaitGroup
	all.Go(func() {
		defer p.close()
		for {
			select {
			case <-done:
				return
			default:
				p.load()
			}
		}
	})
	return func() {
		close(done)
		all.Wait()
	}
}

// idle is what so many connections cost in ten minutes that nobody uses, once
// the relay has shown for how long it can be held.
func idle(n int) func(*testing.T, *Stack) result {
	const settle, long = 5 * time.Minute, 10 * time.Minute
	return func(t *testing.T, s *Stack) result {
		addr := s.serve(t, Echo)
		conns := make([]net.Conn, n)
		for i := range conns {
			conns[i] = s.reach(t, addr)
			within(t, conns[i], settle+long+patience)
			defer conns[i].Close()
			ask(t, conns[i], "hello")
		}
		time.Sleep(settle)
		count := s.exchanges()
		time.Sleep(long)
		got := result{value: long.Minutes(), exchanges: count()}
		var all sync.WaitGroup
		for _, c := range conns {
			all.Go(func() { ask(t, c, "still there") })
		}
		all.Wait()
		return got
	}
}

// udpOutstanding datagrams are on their way at any time, for about a minute.
const (
	udpOutstanding = 64
	udpEchoes      = udpOutstanding * 40
)

func udpEcho(t *testing.T, s *Stack) result {
	addr := s.servePacketsAt(t, at(target4, 7), EchoPacket)
	c, err := s.Associate(t.Context())
	check(t, err)
	defer c.Close()
	e := echoes{c: c, to: packetAddr(addr), outstanding: udpOutstanding, size: 1200}
	count := s.exchanges()
	var came tally
	took := elapsed(func() { came = e.run(t, func(sent int) bool { return sent < udpEchoes }) })
	got := result{value: float64(len(came.seen)) / took.Seconds(), typical: came.quantile(0.5).Seconds(), exchanges: count()}
	if len(came.seen) != udpEchoes || len(came.took) != udpEchoes || came.foreign > 0 {
		got.fault("%d datagrams of %d came, %d in all, %d foreign", len(came.seen), udpEchoes, len(came.took), came.foreign)
	}
	return got
}
