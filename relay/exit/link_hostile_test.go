package exit

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"relaymux/mux/link"
	"relaymux/mux/secret"
	"relaymux/mux/wire"
)

// probes are what a stranger may send, and what somebody who has seen the traffic
// of a link may.
func probes(t *testing.T, c *linkClient) map[string][]byte {
	_, stranger, err := link.Hello(secretOf("nobody"), nil)
	if err != nil {
		t.Fatal(err)
	}
	random := make([]byte, 1000)
	_, _ = rand.Read(random)
	random[0] = link.KindRecords
	_, good := c.request(ask(0))
	forged := bytes.Clone(good)
	forged[len(forged)-1] ^= 1
	return map[string][]byte{
		"nothing": nil, "text": []byte("hello"), "a stranger's hello": stranger, "a cut hello": stranger[:50],
		"a long hello": append(bytes.Clone(stranger), make([]byte, 64)...), "another kind": {0x81},
		"an unknown link": random, "a short head": random[:link.RequestHead-1], "a head alone": good[:link.RequestHead],
		"a forged record": forged, "a cut record": good[:len(good)-1], "1 MiB": bytes.Repeat([]byte{link.KindHello}, 1<<20),
		"gzip": zip(stranger),
	}
}

// TestHostile58_LinkProbes: whoever does not have a secret, or a record that is
// right, gets the one 404 of all paths, or on the text carriage what all get.
func TestHostile58_LinkProbes(t *testing.T) {
	linked(t, Config{}, func(t *testing.T, r *rig) {
		c := r.link("ann")
		want := whole(t, r.post(t.Context(), "/", nil).Result())
		for name, body := range probes(t, c) {
			for _, path := range []string{pathLink, pathLink + "/", "/tunnel/links"} {
				if got := whole(t, r.post(t.Context(), path, body).Result()); got != want {
					t.Errorf("%s to %s: got %q, want %q", name, path, got, want)
				}
			}
			op := wire.Op{Kind: wire.Link, Data: [][]byte{body}}
			var a wire.Answer
			w := r.post(t.Context(), pathBatch, wire.AppendBatch(nil, testKey, false, []wire.Op{op}))
			if err := wire.ParseAnswer(w.Body.Bytes(), &a, 1); err != nil || len(a.Results) != 1 {
				t.Fatalf("%s: %v", name, err)
			}
			re, says := a.Results[0], errLinkBody.Error()
			switch {
			case link.KindOf(body) == link.KindHello:
				says = errStranger.Error()
			case link.KindOf(body) == link.KindRecords:
				says = ""
			}
			if string(re.Err) != says || says == "" && text(re) != "\x83" {
				t.Errorf("%s as text: %q, %q", name, re.Err, text(re))
			}
		}
		if s := r.node.Stats(); s.Exchanges != 1 || s.Links != 1 || s.LinkForged == 0 || s.Memory != 0 {
			t.Errorf("%+v", s)
		}
		a := c.connect("echo.test")
		c.write(a, "still there")
		c.until("the echo", func() bool { return string(a.got) == "still there" })
	})
}

// TestLinkWithoutClients: there is no link then, on either carriage.
func TestLinkWithoutClients(t *testing.T) {
	r := newRig(t, Config{})
	_, hello, _ := link.Hello(secretOf("ann"), nil)
	want := whole(t, r.post(t.Context(), "/", nil).Result())
	if got := whole(t, r.post(t.Context(), pathLink, hello).Result()); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	re := r.batch(wire.Op{Kind: wire.Link, Data: [][]byte{hello}})[0]
	if string(re.Err) != "unknown op: link" || string(re.Code) != wire.CodeUnsupported {
		t.Errorf("%q, %q", re.Err, re.Code)
	}
}

// TestLinkAlone: an op of a link is alone in its batch.
func TestLinkAlone(t *testing.T) {
	r := newRig(t, Config{Clients: clients("ann")})
	_, hello, _ := link.Hello(secretOf("ann"), nil)
	o := wire.Op{Kind: wire.Link, Data: [][]byte{hello}}
	for _, re := range r.batch(o, o) {
		if string(re.Err) != errLinkAlone.Error() {
			t.Errorf("%+v", re)
		}
	}
	bad := []byte(`{"k":"` + testKey + `","ops":[{"op":"link","d":"***"}]}`)
	if w := r.post(t.Context(), pathBatch, bad); !strings.Contains(w.Body.String(), badBase64) {
		t.Errorf("%s", w.Body)
	}
}

// TestLinkWithoutKey: a node for links alone has no JSON wire, not even one with an
// empty key.
func TestLinkWithoutKey(t *testing.T) {
	n, err := New(Config{Clients: clients("ann")})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	r := &rig{t: t, node: n}
	want := whole(t, r.post(t.Context(), "/", nil).Result())
	for _, path := range []string{pathBatch, pathSingle} {
		got := whole(t, r.post(t.Context(), path, []byte(`{"k":"","ops":[],"op":"close"}`)).Result())
		if got != want {
			t.Errorf("%s: got %q", path, got)
		}
	}
	r.link("ann")
}

// TestHostile59_LinkReplays brings what was sent before once more: the same hello,
// the same request, a record in another place.
func TestHostile59_LinkReplays(t *testing.T) {
	linked(t, Config{}, func(t *testing.T, r *rig) {
		_, hello, err := link.Hello(secretOf("ann"), new(link.HelloParams).Append(nil))
		if err != nil {
			t.Fatal(err)
		}
		first := r.post(t.Context(), pathLink, hello).Body.Bytes()
		if again := r.post(t.Context(), pathLink, hello).Body.Bytes(); !bytes.Equal(first, again) {
			t.Error("another answer to the same hello")
		}
		if n := r.node.Stats().Links; n != 1 {
			t.Errorf("%d links", n)
		}
		c := r.link("ann")
		a := c.connect("silent.test")
		c.write(a, "once")
		exchange, body := c.request(ask(time.Minute))
		held := make(chan []byte)
		go func() {
			answer, _ := c.post(t.Context(), body)
			held <- answer
		}()
		synctest.Wait()
		for range 3 {
			expect(t, "a repeated request", 0, 0, func() {
				answer, _ := c.post(t.Context(), body)
				if err := c.open(exchange, answer); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		far := r.world.far("silent.test")
		far.in.mu.Lock()
		if got := string(far.in.data); got != "once" || r.world.dials != 1 {
			t.Errorf("the target got %q, %d dials", got, r.world.dials)
		}
		far.in.mu.Unlock()
		_, _ = far.Write([]byte("answer"))
		if err := c.take(exchange, <-held, &http.Response{}); err != nil || string(a.got) != "answer" {
			t.Errorf("%q, %v", a.got, err)
		}
		if s := r.node.Stats(); s.LinkRepeated != 3 || s.LinkReplayed != 3 || s.LinkForged != 0 {
			t.Errorf("%+v", s)
		}
	})
}

// TestHostile65_LinkLostAnswer: what an answer had that nobody got comes again.
func TestHostile65_LinkLostAnswer(t *testing.T) {
	linked(t, Config{}, func(t *testing.T, r *rig) {
		c := r.link("ann")
		a := c.connect("hello.test")
		for range 3 {
			exchange, body := c.request(ask(time.Second))
			_, _ = c.post(t.Context(), body)
			_ = c.take(exchange, nil, &http.Response{})
		}
		c.until("the greeting", func() bool { return string(a.got) == "hello" })
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := c.doContext(ctx, ask(time.Minute)); err == nil {
			t.Error("an answer to nobody")
		}
		_, _ = r.world.far("hello.test").Write([]byte(" again"))
		c.until("the rest", func() bool { return string(a.got) == "hello again" })
	})
}

// TestHostile60_LinkForgeries changes, swaps and moves records; none of them does
// anything, and what was right before them does.
func TestHostile60_LinkForgeries(t *testing.T) {
	linked(t, Config{}, func(t *testing.T, r *rig) {
		c, other := r.link("ann"), r.link("ann")
		a := c.connect("silent.test")
		c.write(a, strings.Repeat("x", 100_000)) // two records
		exchange, good := c.request(ask(0))
		head, records := good[:link.RequestHead], good[link.RequestHead:]
		_, two, err := link.NextRecord(records)
		if err != nil || len(two) == 0 {
			t.Fatal("not two records")
		}
		first := records[:len(records)-len(two)]
		otherExchange := link.AppendRequestHead(nil, c.keys.ID(), exchange+1)
		otherLink := link.AppendRequestHead(nil, other.keys.ID(), exchange)
		number := bytes.Clone(good)
		binary.BigEndian.PutUint64(number[link.RequestHead+2:], 77)
		for name, body := range map[string][]byte{
			"swapped": join(head, two, first), "moved to another exchange": join(otherExchange, records),
			"moved to another link": join(otherLink, records), "the second alone": join(head, two),
			"another number": number, "turned round": join(head, first[:10], first),
		} {
			if got, resp := c.post(t.Context(), body); got != nil || resp.StatusCode != http.StatusNotFound {
				t.Errorf("%s: an answer", name)
			}
		}
		if r.world.dials != 0 {
			t.Error("a forged record was carried out")
		}
		bits := bytes.Clone(good)
		bits[len(bits)-1] ^= 1 // of the second record
		answer, resp := c.post(t.Context(), bits)
		if err := c.take(exchange, answer, resp); err != nil {
			t.Errorf("the first record, before a forged one: %v", err)
		}
		c.with(a.s.CloseWrite)
		c.must()
		synctest.Wait()
		far := r.world.far("silent.test")
		if n := drained(far); n != 100_000 {
			t.Errorf("the target got %d bytes", n)
		}
	})
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// drained is how many bytes a target gets until the end.
func drained(c *memConn) (n int) {
	p := make([]byte, 64<<10)
	for {
		k, err := c.Read(p)
		if n += k; err != nil {
			return n
		}
	}
}

// TestHostile77_LinkRestart: the node tells which it is, which run of it, and
// whether it knows the client's last link.
func TestHostile77_LinkRestart(t *testing.T) {
	linked(t, Config{}, func(t *testing.T, r *rig) {
		a := r.link("ann")
		known, _ := r.tryLinkAfter("ann", false, a.keys.ID())
		others, _ := r.tryLinkAfter("bob", false, a.keys.ID())
		if a.says.Known || !known.says.Known || others.says.Known {
			t.Errorf("known: %v, %v, %v", a.says.Known, known.says.Known, others.says.Known)
		}
		again := newRig(t, Config{Clients: clients("ann")}).link("ann")
		if again.says.Node != a.says.Node || again.says.Epoch == a.says.Epoch {
			t.Error("a restart is not told by its epoch")
		}
		other := newRig(t, Config{Clients: clients("ann"), Identity: secret.New("another")}).link("ann")
		if other.says.Node == a.says.Node {
			t.Error("another node has the same name")
		}
	})
}

// TestLinkRevoked: a client that is taken out has nothing left, at once; the others
// stay, those with another name for the same secret too.
func TestLinkRevoked(t *testing.T) {
	linked(t, Config{}, func(t *testing.T, r *rig) {
		ann, bob := r.link("ann"), r.link("bob")
		a, b := ann.connect("silent.test"), bob.connect("echo.test")
		ann.until("ann's dial", func() bool { return a.opened })
		bob.until("bob's dial", func() bool { return b.opened })
		held := ann.answeredWith(t.Context(), time.Minute)
		r.node.SetClients(clients("bob"))
		if err := <-held; !errors.Is(err, errTestUnknown) {
			t.Errorf("what was held: %v", err)
		}
		if err := r.world.far("silent.test").ended(); err == nil {
			t.Error("the target heard nothing")
		}
		if err := ann.do(ask(0)); !errors.Is(err, errTestUnknown) {
			t.Errorf("an exchange: %v", err)
		}
		if c, resp := r.tryLink("ann", false); c != nil || resp.StatusCode != http.StatusNotFound {
			t.Error("a new link")
		}
		bob.write(b, "hi")
		bob.until("bob's echo", func() bool { return string(b.got) == "hi" })
		changed := clients("bob")
		changed[0].Secret = secretOf("somebody else")
		r.node.SetClients(changed)
		if err := bob.do(ask(0)); !errors.Is(err, errTestUnknown) {
			t.Errorf("after another secret: %v", err)
		}
		r.empty()
		if n := r.node.Stats().Links; n != 0 {
			t.Errorf("%d links", n)
		}
	})
}

// answeredWith is the outcome of an exchange, later.
func (c *linkClient) answeredWith(ctx context.Context, hold time.Duration) <-chan error {
	done := make(chan error, 1)
	go func() { done <- c.doContext(ctx, ask(hold)) }()
	synctest.Wait()
	return done
}

// TestLinkOfOneSecret: a phone and a laptop have one secret and a link each.
func TestLinkOfOneSecret(t *testing.T) {
	linked(t, Config{}, func(t *testing.T, r *rig) {
		phone, laptop := r.link("ann"), r.link("ann")
		a, b := phone.connect("echo.test"), laptop.connect("echo.test")
		phone.write(a, "phone")
		laptop.write(b, "laptop")
		phone.until("the echo", func() bool { return string(a.got) == "phone" })
		laptop.until("the echo", func() bool { return string(b.got) == "laptop" })
		u := r.node.Clients()
		if len(u) != 2 || u[0].Name != "ann" || u[0].Links != 2 || u[0].Streams != 2 || u[0].Opened != 2 ||
			u[0].BytesUp != 11 || u[0].BytesDown != 11 || u[0].Exchanges < 2 || u[1] != (ClientUsage{Name: "bob"}) {
			t.Errorf("%+v", u)
		}
	})
}

// TestLinkReap: a client that is silent loses its streams, and hears so when it
// comes back; its link stays for a day.
func TestLinkReap(t *testing.T) {
	linked(t, Config{Reap: 3 * time.Minute}, func(t *testing.T, r *rig) {
		c := r.link("ann")
		a := c.connect("hello.test")
		u := c.flow("echo.test", "x")
		b := c.connect("hang.test")
		c.until("the dial", func() bool { return a.opened })
		c.until("the end of the others", func() bool { return b.reset && u.reset })
		expect(t, "a hold longer than that", 8*time.Minute, 8*time.Minute, func() { _ = c.do(ask(8 * time.Minute)) })
		time.Sleep(3*time.Minute - time.Second)
		if s := r.node.Stats(); s.LinkStreams != 1 {
			t.Errorf("%+v", s)
		}
		time.Sleep(40 * time.Second)
		r.empty()
		if err := r.world.far("hello.test").ended(); err == nil {
			t.Error("the target heard nothing")
		}
		time.Sleep(20 * time.Hour)
		c.must()
		if !a.reset || a.code != link.Gone {
			t.Errorf("%+v", a)
		}
		time.Sleep(linkIdle + time.Minute)
		if err := c.do(ask(0)); !errors.Is(err, errTestUnknown) || r.node.Stats().Links != 0 {
			t.Errorf("after a day: %v", err)
		}
	})
}

// TestLinksBound: how many links without a stream are kept, and which go first.
func TestLinksBound(t *testing.T) {
	linked(t, Config{Clients: clients("ann", "bob", "eve")}, func(t *testing.T, r *rig) {
		busy := r.link("ann")
		a := busy.connect("silent.test")
		busy.until("the dial", func() bool { return a.opened })
		var used []*linkClient
		for range linksOfClient {
			c := r.link("ann")
			c.must()
			used = append(used, c)
			time.Sleep(time.Second)
		}
		early := r.link("eve") // its first record comes late
		for range linksUnproven + 1 {
			r.link("bob")
			time.Sleep(time.Second / hellosPerSecond)
		}
		if n := r.node.Stats().Links; n != 1+linksOfClient+1+unprovenOfClient {
			t.Errorf("%d links", n)
		}
		early.must()
		used[0].must()
		one := r.link("ann")
		one.must()
		r.link("ann")
		if err := used[1].do(ask(0)); !errors.Is(err, errTestUnknown) {
			t.Errorf("the oldest of too many: %v", err)
		}
		used[0].must()
		used[2].must()
		busy.must()
	})
}

// TestLinkClose: a node that stops tells its clients, and keeps nobody waiting.
func TestLinkClose(t *testing.T) {
	linked(t, Config{}, func(t *testing.T, r *rig) {
		c := r.link("ann")
		a, u := c.connect("silent.test"), c.flow("silent.test", "x")
		c.until("the dials", func() bool { return a.opened && u.opened })
		one, two := c.answeredWith(t.Context(), time.Minute), c.answeredWith(t.Context(), time.Minute)
		r.node.Close()
		if err := errors.Join(<-one, <-two); err != nil {
			t.Error(err)
		}
		if !a.reset || a.code != link.Stopping || !u.reset {
			t.Errorf("%+v, %+v", a, u)
		}
		b := c.connect("echo.test")
		expect(t, "an exchange after that", 0, 0, func() { _ = c.do(ask(time.Minute)) })
		c.must()
		if !b.reset || b.code != link.Stopping {
			t.Errorf("%+v", b)
		}
		if again, _ := r.tryLink("ann", false); again != nil {
			t.Error("a link with a node that has stopped")
		}
		r.empty()
	})
}

// FuzzLink: what is no message of a client's gets the one page, or in text an error; and
// what is answered has the form of an answer.
func FuzzLink(f *testing.F) {
	r := newRig(f, Config{Dialer: dialFunc(dialNowhere), Clients: clients("ann")})
	c := r.link("ann")
	c.connect("refused.test")
	_, good := c.request(ask(0))
	_, hello, _ := link.Hello(secretOf("ann"), new(link.HelloParams).Append(nil))
	_, stranger, _ := link.Hello(secretOf("nobody"), nil)
	for _, seed := range [][]byte{nil, {2}, hello, stranger, good, good[:link.RequestHead], good[:len(good)-1]} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		w := r.post(t.Context(), pathLink, bytes.Clone(body))
		kind := link.KindOf(w.Body.Bytes())
		switch {
		case w.Code == http.StatusNotFound && w.Body.String() == "404 page not found\n":
		case w.Code != http.StatusOK || link.KindOf(body) == link.KindHello && kind != link.KindHelloAnswer || link.KindOf(body) == link.KindRecords && kind != link.KindAnswer:
			t.Errorf("status %d, %q", w.Code, w.Body)
		}
		op := wire.Op{Kind: wire.Link, Data: [][]byte{bytes.Clone(body)}}
		w = r.post(t.Context(), pathBatch, wire.AppendBatch(nil, testKey, false, []wire.Op{op}))
		var a wire.Answer
		if err := wire.ParseAnswer(w.Body.Bytes(), &a, 1); w.Code != http.StatusOK || err != nil || !a.HasErr && len(a.Results) != 1 {
			t.Errorf("status %d, %q: %v", w.Code, w.Body, err)
		}
	})
}
