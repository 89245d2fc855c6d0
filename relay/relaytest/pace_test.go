package relaytest

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"relaymux/relay/exit"
)

// exchanges is how many the client made since the call before.
func (s *Stack) exchanges() func() int {
	before := s.Stats.Exchanges.Load()
	return func() int { return int(s.Stats.Exchanges.Load() - before) }
}

// browser is a client with n connections at most to a host, as browsers have
// them, that reads whole objects.
func (s *Stack) browser(n int) *http.Client {
	c := s.Client(true)
	c.Transport.(*http.Transport).MaxConnsPerHost = n
	c.Transport.(*http.Transport).MaxIdleConnsPerHost = n
	return c
}

// loadPage fetches a page and then, all at once, the objects that it names. It
// returns how many of them failed.
func loadPage(t *testing.T, c *http.Client, addr string, objects, size int) (failed int) {
	t.Helper()
	if _, err := object(c, fmt.Sprintf("http://%s/page/%d/%d", addr, objects, size)); err != nil {
		t.Logf("the page: %v", err)
		return objects
	}
	errs := make(chan error, objects)
	for i := range objects {
		go func() {
			p, err := object(c, fmt.Sprintf("http://%s/object/%d/%d", addr, i, size))
			if err == nil && hexSum(p) != ObjectSum(int64(i), int64(size)) {
				t.Errorf("object %d is not what was sent", i)
			}
			errs <- err
		}()
	}
	for range objects {
		if err := <-errs; err != nil {
			t.Log(err)
			failed++
		}
	}
	return failed
}

// object fetches one, whole or not at all.
func object(c *http.Client, url string) ([]byte, error) {
	r, err := c.Get(url)
	if err != nil {
		return nil, err
	}
	defer r.Body.Close()
	if r.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", url, r.Status)
	}
	return io.ReadAll(r.Body)
}

// pageOf loads a page of 60 objects of h, by 12 connections through two scripts,
// and returns the time and the exchanges that it took. The floor is one exchange
// for the page, and one after another for what a connection fetches.
func pageOf(t *testing.T, size int, far time.Duration, h http.Handler) (took, floor time.Duration, exchanges int) {
	t.Helper()
	const objects, conns = 60, 12
	node := func(c *exit.Config) {
		near := c.Dialer
		c.Dialer = dialFunc(func(ctx context.Context, network, addr string) (net.Conn, error) {
			time.Sleep(far)
			return near.DialContext(ctx, network, addr)
		})
	}
	virtual(t, StackConfig{Scripts: 2, Node: node}, func(t *testing.T, s *Stack) {
		addr := s.origin(t, h)
		c := s.browser(conns)
		defer c.CloseIdleConnections()
		count := s.exchanges()
		took = elapsed(func() {
			if n := loadPage(t, c, addr, objects, size); n > 0 {
				t.Errorf("%d objects failed", n)
			}
		})
		floor, exchanges = rtt+objects/conns*rtt, count()
		t.Logf("%d objects of %d bytes by %d connections: %v (floor %v) and %d exchanges", objects, size, conns, took, floor, exchanges)
	})
	return took, floor, exchanges
}

// TestPage: objects that come in one piece.
func TestPage(t *testing.T) {
	took, floor, exchanges := pageOf(t, 300, 0, Origin())
	if took > floor+rtt || exchanges > 25 {
		t.Errorf("took %v (floor %v) and %d exchanges", took, floor, exchanges)
	}
}

// TestPageOfLargeObjects: objects that come in pieces at once. How many of them
// make it into the first answer is up to the scheduler.
func TestPageOfLargeObjects(t *testing.T) {
	took, floor, exchanges := pageOf(t, 20_000, 0, Origin())
	if took > floor+4*rtt || exchanges > 60 {
		t.Errorf("took %v (floor %v) and %d exchanges", took, floor, exchanges)
	}
}

// TestPageFromAfar: the origin is 40 ms from the node, and sends what TCP lets it
// send at first (ten segments, RFC 6928), then the rest.
func TestPageFromAfar(t *testing.T) {
	const first, far = 14_600, 40 * time.Millisecond
	h := http.NewServeMux()
	h.Handle("/", Origin())
	h.HandleFunc("GET /object/{i}/{size}", func(w http.ResponseWriter, r *http.Request) {
		i, _ := number(w, r, "i")
		size, _ := number(w, r, "size")
		w.Header().Set("Content-Length", strconv.FormatInt(size, 10))
		time.Sleep(far)
		from := noise(uint64(i), size)
		_, _ = io.CopyN(w, from, first)
		_ = http.NewResponseController(w).Flush()
		time.Sleep(far)
		_, _ = io.Copy(w, from)
	})
	took, floor, exchanges := pageOf(t, 20_000, far, h)
	if took > floor+2*rtt || exchanges > 40 {
		t.Errorf("took %v (floor %v) and %d exchanges", took, floor, exchanges)
	}
}

// TestKeystroke: typed into a connection that has been silent, and shown by the
// far end, as SSH does.
func TestKeystroke(t *testing.T) {
	virtual(t, StackConfig{Scripts: 1}, func(t *testing.T, s *Stack) {
		c := open(t, s.Connect, s.serve(t, Echo))
		ask(t, c, "login")
		for range 5 {
			time.Sleep(10 * time.Second)
			took := ask(t, c, "k")
			t.Logf("an echo after %v", took)
			if took > rtt*11/10 {
				t.Errorf("the echo took %v", took)
			}
		}
	})
}

// TestPush: what the target says by itself takes the way back only.
func TestPush(t *testing.T) {
	virtual(t, StackConfig{Scripts: 1}, func(t *testing.T, s *Stack) {
		said := make(chan time.Time, 5)
		c := open(t, s.Connect, s.serve(t, func(c net.Conn) {
			_, _ = io.CopyN(io.Discard, c, 1)
			for range cap(said) {
				time.Sleep(10 * time.Second)
				said <- time.Now()
				_, _ = c.Write([]byte("!"))
			}
		}))
		_, err := c.Write([]byte("?"))
		check(t, err)
		for range cap(said) {
			_, err := io.ReadFull(c, make([]byte, 1))
			check(t, err)
			took := time.Since(<-said)
			t.Logf("a push after %v", took)
			if took > 760*time.Millisecond {
				t.Errorf("the push took %v", took)
			}
		}
	})
}

// TestNoConnectionNoExchange: what nobody uses costs no quota.
func TestNoConnectionNoExchange(t *testing.T) {
	virtual(t, StackConfig{Scripts: 2}, func(t *testing.T, s *Stack) {
		c := s.Client(true)
		fetch(t, c, "http://"+s.origin(t, Origin())+"/object/1/1000")
		c.CloseIdleConnections()
		s.wantQuiet(t)
		count := s.exchanges()
		time.Sleep(10 * time.Minute)
		if n := count(); n != 0 {
			t.Errorf("%d exchanges", n)
		}
	})
}

// TestIdleConnections counts what fifty connections cost that are open and
// silent, as those to mail and chat servers are.
func TestIdleConnections(t *testing.T) {
	virtual(t, StackConfig{Scripts: 2}, func(t *testing.T, s *Stack) {
		addr := s.serve(t, Echo)
		var conns []net.Conn
		for range 50 {
			c := open(t, s.Connect, addr)
			ask(t, c, "hello")
			conns = append(conns, c)
		}
		count := s.exchanges()
		time.Sleep(10 * time.Minute)
		n := count()
		t.Logf("%d exchanges in 10 minutes", n)
		if n > 1200 {
			t.Errorf("%d exchanges", n)
		}
		var wg sync.WaitGroup
		for _, c := range conns {
			wg.Go(func() { ask(t, c, "still there") })
		}
		wg.Wait()
		synctest.Wait()
	})
}
