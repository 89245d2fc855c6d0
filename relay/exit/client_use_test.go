package exit

import (
	"fmt"
	"maps"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"relaymux/mux/link"
)

// uses are what each client has, those who have the key under "".
func (r *rig) uses() map[string]*clientUse {
	t := &r.node.links
	t.mu.Lock()
	defer t.mu.Unlock()
	all := maps.Clone(t.uses)
	all[""] = r.node.keyUse
	return all
}

// refused wants a's stream to be reset for that limit.
func refused(t *testing.T, c *linkClient, a *linkApp, why error) {
	t.Helper()
	c.until("the limit", func() bool { return a.reset || a.opened })
	if !a.reset || a.code != link.Limited || a.detail != why.Error() {
		t.Errorf("%q, want %q", a.detail, why)
	}
}

// TestClientStreams: one client may have so many of the streams and no more, whatever
// links he has, and the others have the rest.
func TestClientStreams(t *testing.T) {
	for name, c := range map[string]struct {
		Config
		most int
	}{
		"by default three quarters": {Config{Streams: 8}, 6},
		"as the config says":        {Config{Streams: 8, ClientStreams: 3}, 3},
		"never more than there are": {Config{Streams: 8, ClientStreams: 30}, 8},
	} {
		t.Run(name, func(t *testing.T) {
			linked(t, c.Config, func(t *testing.T, r *rig) {
				links := []*linkClient{r.link("ann"), r.link("ann")}
				var first *linkApp
				for i := range c.most {
					a := links[i%2].connect("silent.test")
					links[i%2].until("a stream", func() bool { return a.opened })
					if i == 0 {
						first = a
					}
				}
				if c.most == 8 {
					refused(t, links[0], links[0].connect("silent.test"), errStreams)
					return
				}
				refused(t, links[0], links[0].connect("silent.test"), errClientStreams)
				refused(t, links[1], links[1].flow("silent.test", "x"), errClientStreams)
				bob := r.link("bob")
				b := bob.connect("silent.test")
				bob.until("a stream of another's", func() bool { return b.opened })
				r.open("silent.test") // by the key
				links[0].with(func() { first.s.Reset(link.Aborted, "") })
				links[0].must()
				again := links[0].connect("silent.test")
				links[0].until("a place", func() bool { return again.opened })
			})
		})
	}
}

// TestClientStreamsOfOne: who has the node to himself may have all of it.
func TestClientStreamsOfOne(t *testing.T) {
	bubble(t, Config{Streams: 4}, func(t *testing.T, r *rig) {
		for range 4 {
			r.open("silent.test")
		}
		if e := string(r.batch(connectOp("silent.test"))[0].Err); e != connectFailed+errStreams.Error() {
			t.Errorf("one too many: %q", e)
		}
	})
}

// TestClientKeyStreams: those who have the key count as one client.
func TestClientKeyStreams(t *testing.T) {
	linked(t, Config{Streams: 4}, func(t *testing.T, r *rig) {
		for range 3 {
			r.open("silent.test")
		}
		if e := string(r.batch(connectOp("silent.test"))[0].Err); e != connectFailed+errClientStreams.Error() {
			t.Errorf("one too many: %q", e)
		}
		c := r.link("ann")
		a := c.connect("silent.test")
		c.until("a stream of another's", func() bool { return a.opened })
	})
}

// TestClientDials: so many new connections a second, and another client has his own. Both
// limits change while the node is at work.
func TestClientDials(t *testing.T) {
	linked(t, Config{ClientDialsPerSecond: 2}, func(t *testing.T, r *rig) {
		c, bob := r.link("ann"), r.link("bob")
		for range 2 {
			a := c.connect("silent.test")
			c.until("a stream", func() bool { return a.opened })
		}
		refused(t, c, c.connect("silent.test"), errClientDials)
		refused(t, c, c.flow("silent.test", "x"), errClientDials)
		b := bob.connect("silent.test")
		bob.until("a stream of another's", func() bool { return b.opened })
		time.Sleep(time.Second)
		a := c.flow("echo.test", "x")
		c.until("a datagram", func() bool { return len(a.pkts) == 1 })

		r.node.SetLimits(Limits{Streams: 100, ClientStreams: 4})
		fourth := c.connect("silent.test")
		c.until("a fourth", func() bool { return fourth.opened })
		refused(t, c, c.connect("silent.test"), errClientStreams)
		r.node.SetClients(clients("ann", "bob", "eve"))
		r.node.SetLimits(Limits{Streams: 100, ClientDialsPerSecond: 1})
		eve := r.link("eve")
		time.Sleep(time.Second)
		e := eve.connect("silent.test")
		eve.until("one", func() bool { return e.opened })
		refused(t, eve, eve.connect("silent.test"), errClientDials)
	})
}

// TestClientFlows: a client who knocks at a thousand doors by UDP makes room with what is
// his own, and never with the silent flows of others.
func TestClientFlows(t *testing.T) {
	const streams = 32
	linked(t, Config{Streams: streams, ClientStreams: 16}, func(t *testing.T, r *rig) {
		bob, ann := r.link("bob"), r.link("ann")
		quiet := bob.flow("echo.test", "x")
		bob.until("the echo", func() bool { return len(quiet.pkts) == 1 })
		time.Sleep(2 * evictAfter)
		var first *linkApp
		for i := range 8 {
			a := ann.flow("silent.test", "x")
			ann.until("a flow", func() bool { return a.opened })
			if i == 0 {
				first = a
			}
		}
		refused(t, ann, ann.flow("silent.test", "x"), errClientFlows)
		time.Sleep(2 * evictAfter)
		for range 20 {
			a := ann.flow("silent.test", "x")
			ann.until("a flow in the place of another", func() bool { return a.opened })
			time.Sleep(2 * evictAfter)
		}
		if !first.reset && len(r.uses()["ann"].sockets) != 8 {
			t.Error("no flow of the client's own made room")
		}
		bob.must()
		bob.datagrams(quiet, "y")
		bob.until("the echo", func() bool { return len(quiet.pkts) == 2 })
		if quiet.reset {
			t.Error("a flow of another's made room")
		}
	})
}

// TestClientGateways: what goes by udpgw is the client's too.
func TestClientGateways(t *testing.T) {
	linked(t, Config{Streams: 32, ClientStreams: 8}, func(t *testing.T, r *rig) {
		g := newGateway(r.node, r.uses()["ann"])
		defer g.Close()
		for i := range 6 {
			frame := appendFrame(nil, flagData, []byte{0, byte(i), 1, 192, 0, 2, byte(i), 0, 80}, []byte("x"))
			if _, err := g.Write(frame); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if n := len(r.uses()["ann"].sockets); n != 4 {
			t.Errorf("%d sockets, want 4", n)
		}
	})
}

// TestClientHellos: handshakes beyond the rate are put off, on either carriage, and those
// of others are not.
func TestClientHellos(t *testing.T) {
	linked(t, Config{}, func(t *testing.T, r *rig) {
		for range hellosAtOnce {
			r.link("ann")
		}
		if c, resp := r.tryLink("ann", false); c != nil || resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
			t.Errorf("one too many: %v", resp.Status)
		}
		if c, resp := r.tryLink("ann", true); c != nil || resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
			t.Errorf("one too many by a script: %v", resp.Status) // in a text with 200 it would be the secret's fault
		}
		r.link("bob").must()
		time.Sleep(time.Second / hellosPerSecond)
		r.link("ann").must()
	})
}

// TestClientMemory: a client whose hundred downloads nobody collects has three quarters of
// the memory for them, and a bit for each, and another's goes on.
func TestClientMemory(t *testing.T) {
	const n = 200
	for name, c := range map[string]struct {
		clients []link.Client
		shared  bool
	}{"several": {clients("ann", "bob"), true}, "one": {clients("ann"), false}} {
		t.Run(name, func(t *testing.T) {
			bubble(t, Config{Memory: 16 << 20, Clients: c.clients, Dialer: gusher(1 << 20)}, func(t *testing.T, r *rig) {
				r.node.keyed = false
				r.node.SetClients(c.clients)
				var all []*linkClient
				for range 20 {
					all = append(all, r.link("ann"))
				}
				for i := range n {
					l := all[i%len(all)]
					l.openStream("gush.test", 80, false, 1<<20).lazy = true
					l.must()
				}
				for range 10 {
					for _, l := range all {
						l.must()
					}
				}
				synctest.Wait()
				u := r.uses()["ann"]
				got, limit := u.downloads.bytes.Load(), r.node.downloads.Limit()
				if share := limit / shareAll * shareOf; c.shared && got > share+n*lean || got < share/2 {
					t.Errorf("%d bytes held of %d", got, limit)
				}
			})
		})
	}
}

// TestClientHolding: whatever becomes of streams, what a client holds comes back to nothing.
func TestClientHolding(t *testing.T) {
	linked(t, Config{}, func(t *testing.T, r *rig) {
		c := r.link("ann")
		for i, host := range []string{"echo.test", "bye.test", "reset.test", "parrot.test", "sink.test", "silent.test", "hello.test", "nowhere.test"} {
			for k := range 3 {
				a := c.connect(host)
				c.write(a, strings.Repeat("x", 100_000))
				c.must()
				switch k {
				case 0:
					c.with(func() { a.s.Reset(link.Aborted, "") })
				case 1:
					c.with(a.s.CloseWrite)
				}
				c.must()
				if i%2 == 0 {
					r.batch(connectData(host, strings.Repeat("y", 100_000)))
				}
			}
		}
		u := c.flow("echo.test", "a", "b")
		c.until("the echoes", func() bool { return len(u.pkts) == 2 })
		r.node.SetClients(nil)
		for _, s := range r.node.table.all() {
			s.abort()
		}
		time.Sleep(time.Minute)
		r.empty()
	})
}

// TestClientUsesAreForgotten: of a name that is no client's any more nothing is kept, once
// nothing is open by it.
func TestClientUsesAreForgotten(t *testing.T) {
	linked(t, Config{}, func(t *testing.T, r *rig) {
		c := r.link("ann")
		a := c.connect("silent.test")
		c.until("a stream", func() bool { return a.opened })
		for i := range 100 {
			r.node.SetClients(clients("ann", fmt.Sprint("client ", i)))
		}
		if all := r.uses(); len(all) != 3 || all["ann"].streams.Load() != 1 { // and who have the key
			t.Errorf("%d after many other clients", len(all))
		}
		r.node.SetClients(clients("bob"))
		if r.uses()["ann"] == nil {
			t.Error("forgotten with a stream")
		}
		synctest.Wait()
		r.node.SetClients(clients("bob"))
		if r.uses()["ann"] != nil {
			t.Error("kept without one")
		}
	})
}
