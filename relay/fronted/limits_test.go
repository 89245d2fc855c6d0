package fronted_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"relaymux/relay"
	"relaymux/relay/fronted"
	"relaymux/relay/relaytest"
)

// inTime runs f in virtual time and holds that it takes exactly want.
func inTime(t *testing.T, want time.Duration, f func(*rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		began := time.Now()
		f(r)
		if took := time.Since(began); took != want {
			t.Errorf("took %v, want %v", took, want)
		}
	})
}

// expect is one exchange that must fail like this.
func (r *rig) expect(t *fronted.Transport, kind relay.Kind, untouched bool, detail string) {
	r.Helper()
	_, f := r.exchange(t)
	if f == nil || f.Kind != kind || f.Untouched != untouched || !strings.Contains(f.Detail, detail) {
		r.Errorf("%v, %+v; want %v, %q", f, f, kind, detail)
	}
}

// TestHostile74_ConnectHangs: a third of the exchange limit, 10 s at most.
func TestHostile74_ConnectHangs(t *testing.T) {
	for exchange, want := range map[time.Duration]time.Duration{
		0: 10 * time.Second, 12 * time.Second: 4 * time.Second, 3 * time.Minute: 10 * time.Second,
	} {
		inTime(t, want, func(r *rig) {
			r.expect(r.transport(node, func(c *fronted.Config) {
				c.ExchangeLimit = exchange
				c.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
					<-ctx.Done()
					return nil, ctx.Err()
				}
			}), relay.Unreachable, true, "no answer within "+want.String())
		})
	}
}

func TestHostile74_TLSHangs(t *testing.T) {
	inTime(t, 10*time.Second, func(r *rig) {
		r.accept("relay.test:443", func(c net.Conn) { r.Cleanup(func() { c.Close() }) })
		r.expect(r.transport("https://relay.test", nil), relay.Unreachable, true, `TLS with "relay.test": no answer within 10s`)
	})
}

// TestHostile74_ConnectFails tells the causes apart.
func TestHostile74_ConnectFails(t *testing.T) {
	for _, tt := range []struct {
		err    error
		detail string
	}{
		{&net.DNSError{Err: "no such host", Name: "x", IsNotFound: true}, "the name does not exist"},
		{&net.DNSError{Err: "server misbehaving", Name: "x", IsTemporary: true}, "could not be looked up"},
		{&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, "connection refused"},
		{&net.OpError{Op: "dial", Err: syscall.ENETUNREACH}, "no route"},
		{&net.OpError{Op: "dial", Err: syscall.ECONNRESET}, "connection reset"},
		{errors.New("odd\x1b\n"), "odd"},
	} {
		r := newRig(t)
		r.expect(r.transport(node, func(c *fronted.Config) { c.Dial = dialFails(tt.err) }), relay.Unreachable, true, tt.detail)
	}
	r := newRig(t)
	r.expect(r.transport(node, nil), relay.Unreachable, true, "connection refused") // nobody listens
}

// TestHostile74_Certificates tells those apart that a user mends differently.
func TestHostile74_Certificates(t *testing.T) {
	expired, expiredLeaf := certificate(t, "relay.test", time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC))
	other, otherLeaf := certificate(t, "other.test", forever())
	unknown, _ := certificate(t, "relay.test", forever())
	for _, tt := range []struct {
		name, detail string
		run          func(*rig) *fronted.Transport
	}{
		{"expired", "expired", func(r *rig) *fronted.Transport {
			r.serve("relay.test:443", expired.Clone(), answer(200, "{}"))
			return r.transport("https://relay.test", func(c *fronted.Config) { c.RootCAs = poolOf(expiredLeaf) })
		}},
		{"other name", "another name", func(r *rig) *fronted.Transport {
			r.serve("relay.test:443", other.Clone(), answer(200, "{}"))
			return r.transport("https://relay.test", func(c *fronted.Config) { c.RootCAs = poolOf(otherLeaf) })
		}},
		{"unknown CA", "unknown CA", func(r *rig) *fronted.Transport {
			r.serve("relay.test:443", unknown.Clone(), answer(200, "{}"))
			return r.transport("https://relay.test", func(c *fronted.Config) { c.RootCAs = poolOf(otherLeaf) })
		}},
		{"no TLS", "does not speak TLS", func(r *rig) *fronted.Transport {
			r.serve("relay.test:443", nil, answer(200, "{}"))
			return r.transport("https://relay.test", nil)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t)
			r.expect(tt.run(r), relay.Unreachable, true, tt.detail)
		})
	}
	r := newRig(t)
	r.serve("relay.test:443", unknown.Clone(), answer(200, "{}"))
	if _, f := r.exchange(r.transport("https://relay.test", func(c *fronted.Config) { c.InsecureSkipVerify = true })); f != nil {
		t.Errorf("insecure_skip_verify: %v", f)
	}
}

// slow answers at once with a head, then with pieces, each after a pause.
func slow(first, pause time.Duration, pieces ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, req *http.Request) {
		_, _ = io.Copy(io.Discard, req.Body)
		wait(req, first)
		_ = http.NewResponseController(w).Flush()
		for _, p := range pieces {
			wait(req, pause)
			_, _ = io.WriteString(w, p)
			_ = http.NewResponseController(w).Flush()
		}
	}
}

func wait(req *http.Request, d time.Duration) {
	select {
	case <-time.After(d):
	case <-req.Context().Done():
	}
}

// TestHostile74_FirstByte has an answer just inside and just outside the limit.
func TestHostile74_FirstByte(t *testing.T) {
	for _, version := range []string{"1.1", "2"} {
		for _, tt := range []struct {
			first, ends time.Duration
			kind        relay.Kind
		}{
			{29999 * time.Millisecond, 29999 * time.Millisecond, 0},
			{30001 * time.Millisecond, 30 * time.Second, relay.Timeout},
			{time.Hour, 30 * time.Second, relay.Timeout},
		} {
			inTime(t, tt.ends, func(r *rig) {
				r.serve(server, nil, slow(tt.first, 0, "{}"))
				tr := r.transport(node, func(c *fronted.Config) { c.HTTP = version })
				if tt.kind != 0 {
					r.expect(tr, tt.kind, false, "no answer for 30s")
				} else if _, f := r.exchange(tr); f != nil {
					r.Error(f)
				}
			})
		}
	}
}

// TestHostile74_SlowBodyInMotion takes five exchange limits, and is well.
func TestHostile74_SlowBodyInMotion(t *testing.T) {
	pieces := strings.Split("{"+strings.Repeat(" ", 15)+"}", "")
	inTime(t, 17*9*time.Second, func(r *rig) {
		r.serve(server, nil, slow(0, 9*time.Second, pieces...))
		if got, f := r.exchange(r.transport(node, nil)); f != nil || len(got) != 17 {
			r.Errorf("%q, %v", got, f)
		}
	})
}

func TestHostile74_StallMidBody(t *testing.T) {
	for _, version := range []string{"1.1", "2"} {
		inTime(t, 9*time.Second+10*time.Second, func(r *rig) {
			r.serve(server, nil, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
				slow(0, 9*time.Second, "{")(w, req)
				wait(req, time.Hour)
			}))
			tr := r.transport(node, func(c *fronted.Config) { c.HTTP = version })
			r.expect(tr, relay.Timeout, false, "the answer stalled for 10s")
		})
	}
}

// TestHostile74_UploadStalls has a server that reads a piece now and then, and
// then none.
func TestHostile74_UploadStalls(t *testing.T) {
	inTime(t, 3*9*time.Second+10*time.Second, func(r *rig) {
		r.accept(server, func(c net.Conn) {
			r.Cleanup(func() { c.Close() })
			for range 3 {
				time.Sleep(9 * time.Second)
				_, _ = io.ReadFull(c, make([]byte, 256<<10))
			}
		})
		tr := r.transport(node, nil)
		_, err := carry(r.Context(), tr, make([]byte, 4<<20), nil)
		f := r.failure(err)
		if f == nil || f.Kind != relay.Timeout || f.Untouched || !strings.Contains(f.Detail, "sending the request stalled") {
			r.Errorf("%v", f)
		}
	})
}

// TestHostile74_RedirectsShareTheLimit: not one limit for each hop.
func TestHostile74_RedirectsShareTheLimit(t *testing.T) {
	inTime(t, 30*time.Second, func(r *rig) {
		r.serve(server, nil, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			_, _ = io.Copy(io.Discard, req.Body)
			wait(req, 20*time.Second)
			w.Header().Set("Location", "/again")
			w.WriteHeader(302)
		}))
		r.expect(r.transport(node, nil), relay.Timeout, false, "no answer")
	})
}

func TestHostile74_ResetMidBody(t *testing.T) {
	inTime(t, time.Second, func(r *rig) {
		r.accept(server, func(c net.Conn) {
			takeRequest(c)
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
			time.Sleep(time.Second) // virtual
			c.(*relaytest.Conn).Abort()
		})
		r.expect(r.transport(node, nil), relay.Broken, false, "reset")
	})
}

// TestHostile74_NoHeadOfLineBlocking: one exchange hangs, others pass.
func TestHostile74_NoHeadOfLineBlocking(t *testing.T) {
	inTime(t, 30*time.Second, func(r *rig) {
		requests := make(chan int, 2)
		requests <- 0
		r.serve(server, nil, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			_, _ = io.Copy(io.Discard, req.Body)
			select {
			case <-requests:
				wait(req, time.Hour)
			default:
				_, _ = io.WriteString(w, "{}")
			}
		}))
		tr := r.transport(node, nil)
		hung := make(chan struct{})
		go func() {
			defer close(hung)
			r.expect(tr, relay.Timeout, false, "no answer")
		}()
		synctest.Wait()
		for range 10 {
			if _, f := r.exchange(tr); f != nil {
				r.Error(f)
			}
		}
		<-hung
	})
}

// TestHostile74_DeadH2Connection: a connection that swallows everything is found
// out by pings, before the exchange's own limit, and not used again.
func TestHostile74_DeadH2Connection(t *testing.T) {
	inTime(t, 10*time.Second+10*time.Second/3, func(r *rig) {
		r.serve(server, nil, answer(200, "{}"))
		var conns []*hole
		tr := r.transport(node, func(c *fronted.Config) {
			c.HTTP = "2"
			c.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
				conn, err := r.net.Dial(ctx, network, addr)
				conns = append(conns, &hole{Conn: conn})
				return conns[len(conns)-1], err
			}
		})
		for _, dead := range []bool{false, true, false} {
			synctest.Wait() // for net/http to have noticed what became of the last one
			if dead {
				conns[0].dead.Store(true)
				r.expect(tr, relay.Broken, false, "")
			} else if _, f := r.exchange(tr); f != nil {
				r.Error(f)
			}
		}
		if len(conns) != 2 {
			r.Errorf("%d connections", len(conns))
		}
	})
}

// TestIdleH2Pings: who is silent is asked every 10 s whether he is there, and for no
// longer than the connection may be idle: while an exchange is held, and after it.
func TestIdleH2Pings(t *testing.T) {
	inTime(t, 25*time.Second+time.Hour, func(r *rig) {
		r.serve(server, nil, slow(25*time.Second, 0, "{}"))
		var sent atomic.Int64
		tr := r.transport(node, func(c *fronted.Config) {
			c.HTTP = "2"
			c.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
				conn, err := r.net.Dial(ctx, network, addr)
				return &counted{Conn: conn, writes: &sent}, err
			}
		})
		done := make(chan struct{})
		go func() {
			defer close(done)
			if _, f := r.exchange(tr); f != nil {
				r.Error(f)
			}
		}()
		time.Sleep(time.Second)
		was := sent.Load()
		<-done
		held := sent.Load() - was
		was = sent.Load()
		time.Sleep(time.Hour)
		if idle := sent.Load() - was; held != 2 || idle > 10 {
			r.Errorf("%d pings in 25 s of silence and %d afterwards", held, idle)
		}
	})
}

// counted counts writes.
type counted struct {
	net.Conn
	writes *atomic.Int64
}

func (c *counted) Write(p []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(p)
}

// hole is a connection whose writes go nowhere once it is dead.
type hole struct {
	net.Conn
	dead atomic.Bool
}

func (h *hole) Write(p []byte) (int, error) {
	if h.dead.Load() {
		return len(p), nil
	}
	return h.Conn.Write(p)
}

// TestCallerGivesUp holds the outcomes of a context that ends.
func TestCallerGivesUp(t *testing.T) {
	inTime(t, 4*time.Second, func(r *rig) {
		r.serve(server, nil, slow(time.Hour, 0))
		tr := r.transport(node, nil)
		ctx, cancel := context.WithCancel(r.Context())
		time.AfterFunc(time.Second, cancel)
		_, err := carry(ctx, tr, request, nil)
		if f := r.failure(err); f == nil || f.Kind != relay.Cancelled || f.Untouched || !errors.Is(err, context.Canceled) {
			r.Errorf("cancelled: %v", f)
		}
		ctx, cancel = context.WithTimeout(r.Context(), 3*time.Second)
		defer cancel()
		_, err = carry(ctx, tr, request, nil)
		if f := r.failure(err); f == nil || f.Kind != relay.Timeout || f.Untouched {
			r.Errorf("deadline: %v", f)
		}
		ctx, cancel = context.WithCancel(r.Context())
		cancel()
		_, err = carry(ctx, tr, request, nil)
		if f := r.failure(err); f == nil || f.Kind != relay.Cancelled || !f.Untouched {
			r.Errorf("cancelled before: %v", f)
		}
	})
}

// TestMaxConnsWaitsForAConnection: the second exchange has sent nothing when it
// gives up.
func TestMaxConnsWaitsForAConnection(t *testing.T) {
	inTime(t, 15*time.Second+30*time.Second, func(r *rig) {
		r.serve(server, nil, slow(0, 9*time.Second, "{", " ", " ", " ", " ", " ", "}"))
		tr := r.transport(node, func(c *fronted.Config) { c.MaxConns = 1 })
		first := make(chan struct{})
		go func() { defer close(first); _, _ = r.exchange(tr) }()
		time.Sleep(15 * time.Second) // virtual
		r.expect(tr, relay.Unreachable, true, "no connection for 30s")
		tr.Close()
		r.Cleanup(func() { <-first })
	})
}
