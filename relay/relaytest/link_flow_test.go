package relaytest

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"relaymux/mux"
	"relaymux/relay/exit"
)

// TestHostile17_LinkHalfClose: each end may end its direction first, and the other
// goes on for as long as it takes.
func TestHostile17_LinkHalfClose(t *testing.T) {
	for name, test := range map[string]func(*testing.T, *Stack, Dialer){
		"app ends first": appEndsFirst, "target ends first": targetEndsFirst, "both at once": bothAtOnce,
	} {
		t.Run(name, func(t *testing.T) {
			everyCarriage(t, func(t *testing.T, c StackConfig) {
				virtual(t, c, func(t *testing.T, s *Stack) {
					test(t, s, s.Connect)
					test(t, s, s.ConnectHTTP)
					s.wantNoStreams(t)
				})
			})
		})
	}
}

// TestHostile16_LinkResets: by the application or by the target, in the middle of
// an upload, of a download, and in silence: it is a reset for the other end too,
// and what came before it is right. A FIN never looks like one.
func TestHostile16_LinkResets(t *testing.T) {
	const size = 300_000
	sends := func(seed uint64) part {
		return func(c net.Conn) error { _, err := io.Copy(c, noise(seed, size)); return err }
	}
	takes := func(c net.Conn) error { _, err := io.CopyN(io.Discard, c, size); return err }
	says := func(c net.Conn) error { _, err := c.Write([]byte("x")); return err }
	for name, test := range map[string]struct {
		resets, other part
		byApp         bool
	}{
		"the app, uploading":          {sends(6), reads, true},
		"the app, downloading":        {takes, writes, true},
		"the app, after a word":       {says, reads, true},
		"the target, at once":         {func(net.Conn) error { return nil }, reads, false},
		"the target, after bytes":     {sends(7), reads, false},
		"the target, after a word":    {says, reads, false},
		"the target, after an upload": {takes, func(c net.Conn) error { _ = sends(8)(c); return reads(c) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			everyCarriage(t, func(t *testing.T, c StackConfig) {
				virtual(t, c, func(t *testing.T, s *Stack) {
					ended := make(chan error, 1)
					addr := s.serve(t, func(c net.Conn) {
						if test.byApp {
							ended <- test.other(c)
							return
						}
						if err := test.resets(c); err != nil {
							t.Error(err)
						}
						reset(c)
					})
					app := open(t, s.Connect, addr)
					within(t, app, time.Minute)
					if test.byApp {
						check(t, test.resets(app))
						time.Sleep(2 * rtt) // the reset need not wait for what was said
						reset(app)
					} else {
						go func() { ended <- test.other(app) }()
					}
					if err := <-ended; !isReset(err) {
						t.Errorf("the other end saw %v, want a reset", err)
					}
					s.wantNoStreams(t)
				})
			})
		})
	}
}

// TestHostile16_LinkBytesBeforeAReset: all that a target sent before it reset the
// connection still arrives, if it had left the target's system.
func TestHostile16_LinkBytesBeforeAReset(t *testing.T) {
	everyCarriage(t, func(t *testing.T, c StackConfig) {
		virtual(t, c, func(t *testing.T, s *Stack) {
			const size = 3 << 20
			app := open(t, s.Connect, s.serve(t, func(c net.Conn) {
				_, _ = io.Copy(c, noise(7, size))
				time.Sleep(time.Minute) // a reset overtakes what the node has not read
				reset(c)
			}))
			within(t, app, 5*time.Minute)
			a := arrive(app)
			if !isReset(a.err) || a.Received != sum(noise(7, size)) {
				t.Errorf("the app got %d bytes of %d, and %v", a.Bytes, size, a.err)
			}
		})
	})
}

// TestLinkConfirmed: what the node finds out about a target is what the application
// hears, in the words of its protocol, also of a link.
func TestLinkConfirmed(t *testing.T) {
	everyCarriage(t, func(t *testing.T, c StackConfig) {
		c.Confirmed = true
		nowhere(t, c, func(t *testing.T, s *Stack) {
			for _, u := range unreachable {
				_, err := s.Connect(t.Context(), u.host+":443")
				if !errors.Is(err, u.socks) {
					t.Errorf("%s by SOCKS: %v, want %v", u.host, err, u.socks)
				}
				_, err = s.ConnectHTTP(t.Context(), u.host+":444")
				if !errors.Is(err, u.status) {
					t.Errorf("%s by CONNECT: %v, want %v", u.host, err, u.status)
				}
			}
			s.wantNoStreams(t)
		})
	})
}

// TestLinkConfirmedIsSoon: the application of a server that waits for it must not
// wait longer than the way takes.
func TestLinkConfirmedIsSoon(t *testing.T) {
	everyCarriage(t, func(t *testing.T, c StackConfig) {
		c.Confirmed = true
		virtual(t, c, func(t *testing.T, s *Stack) {
			s.warmUp(t)
			addr := s.serve(t, Echo)
			took := elapsed(func() { open(t, s.Connect, addr) })
			t.Logf("connected after %v", took)
			if took > rtt+50*time.Millisecond {
				t.Errorf("connected after %v", took)
			}
		})
	})
}

// TestLinkDeadHosts: a dial that failed is remembered for half a minute. Who tries
// again hears the same at once, and no exchange is spent; after that it is tried
// anew. Optimistic connections end by RST as soon.
func TestLinkDeadHosts(t *testing.T) {
	everyCarriage(t, func(t *testing.T, c StackConfig) {
		for _, confirmed := range []bool{true, false} {
			c.Confirmed = confirmed
			nowhere(t, c, func(t *testing.T, s *Stack) {
				for _, u := range unreachable {
					if u.socks == 1 || u.socks == 2 {
						continue // nobody knows what it was, a limit of the node's, perhaps; or its policy
					}
					try := func() time.Duration {
						return elapsed(func() {
							conn, err := s.Connect(t.Context(), u.host+":443")
							if confirmed {
								if !errors.Is(err, u.socks) {
									t.Errorf("%s: %v, want %v", u.host, err, u.socks)
								}
								return
							}
							check(t, err)
							defer conn.Close()
							within(t, conn, time.Minute)
							_, _ = io.WriteString(conn, "hello")
							if a := arrive(conn); !isReset(a.err) {
								t.Errorf("%s: %v, want a reset", u.host, a.err)
							}
						})
					}
					try()
					time.Sleep(3 * rtt)
					count := s.exchanges()
					took := try()
					t.Logf("%s, confirmed %v: the second took %v and %d exchanges", u.host, confirmed, took, count())
					if n := count(); n > 0 || took > 100*time.Millisecond {
						t.Errorf("%s, confirmed %v: the second took %v and %d exchanges", u.host, confirmed, took, n)
					}
					time.Sleep(31 * time.Second)
					if try(); count() == 0 {
						t.Errorf("%s, confirmed %v: it is not tried anew after half a minute", u.host, confirmed)
					}
				}
			})
		}
	})
}

// TestLinkDeadHostComesBack: other ports of a host, and a host that listens again
// after the half minute, are reached.
func TestLinkDeadHostComesBack(t *testing.T) {
	everyCarriage(t, func(t *testing.T, c StackConfig) {
		var down atomic.Bool
		down.Store(true)
		var near exit.Dialer
		c.Node = func(c *exit.Config) {
			near = c.Dialer
			c.Dialer = dialFunc(func(ctx context.Context, network, addr string) (net.Conn, error) {
				if _, port, _ := net.SplitHostPort(addr); port == "81" && down.Load() {
					return dialNowhere(ctx, network, "refused.test:81")
				}
				return near.DialContext(ctx, network, addr)
			})
		}
		virtual(t, c, func(t *testing.T, s *Stack) {
			for _, addr := range []string{"back.test:81", "back.test:82"} {
				ln, err := s.config.Memory.Listen(addr)
				check(t, err)
				defer ln.Close()
				go ServeTCP(ln, Echo)
			}
			dead := open(t, s.Connect, "back.test:81")
			writeAll(t, dead, "x")
			if a := arrive(dead); !isReset(a.err) {
				t.Errorf("a dead port: %v", a.err)
			}
			ask(t, open(t, s.Connect, "back.test:82"), "another port")
			down.Store(false)
			time.Sleep(31 * time.Second)
			ask(t, open(t, s.Connect, "back.test:81"), "hello")
		})
	})
}

// TestMixedConfig: a deployment that carries the link beside one of the JSON wire.
// New flows go by the link as long as it works, by the other while it does not;
// what the link carries waits for it.
func TestMixedConfig(t *testing.T) {
	var s spy
	c := StackConfig{Link: true, Scripts: 2, Relay: s.watch}
	c.Mux = func(c *mux.Config) { c.Deployments[1].Link = false }
	virtual(t, c, func(t *testing.T, stack *Stack) {
		browser := stack.browser(6)
		defer browser.CloseIdleConnections()
		page := func() {
			if n := loadPage(t, browser, stack.origin(t, Origin()), 6, 20_000); n > 0 {
				t.Errorf("%d objects failed", n)
			}
		}
		by := func(id string) int { return stack.Relay.Stats(id).Total() }
		page()
		if n := by("d1"); n > 0 {
			t.Errorf("%d exchanges of the JSON wire while the link works", n)
		}
		held := open(t, stack.Connect, stack.serve(t, Echo))
		within(t, held, 5*time.Minute)
		ask(t, held, "hello")
		browser.CloseIdleConnections()
		stack.Relay.Set(func(k *Knobs) { k.LoseBefore = 1 }, "d0")
		time.Sleep(40 * time.Second)
		lost := open(t, stack.Connect, stack.serve(t, Echo)) // it may still be tried by the link
		writeAll(t, lost, "x")
		time.Sleep(10 * time.Second)
		var all sync.WaitGroup
		all.Go(func() { ask(t, held, "said while the link is down") })
		page()
		if n := by("d1"); n == 0 {
			t.Error("no exchange of the JSON wire while the link does not work")
		}
		stack.Relay.Set(func(k *Knobs) { k.LoseBefore = 0 }, "d0")
		all.Wait()
		browser.CloseIdleConnections()
		time.Sleep(time.Minute)
		before := by("d1")
		page()
		if n := by("d1") - before; n > 0 {
			t.Errorf("%d exchanges of the JSON wire after the link was back", n)
		}
		for _, x := range s.since(0) {
			if x.id == "d0" {
				wantSealed(t, []sighting{x}, "GET /")
			}
		}
	})
}
