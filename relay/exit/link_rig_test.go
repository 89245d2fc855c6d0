package exit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"relaymux/mux/buf"
	"relaymux/mux/link"
	"relaymux/mux/wire"
)

// secretOf is the secret of a client of the tests.
func secretOf(name string) link.Secret {
	return link.NewSecret(name + " has a secret of 32 characters")
}

// clients are those of a node of the tests.
func clients(names ...string) (list []link.Client) {
	for _, name := range names {
		list = append(list, link.Client{Name: name, Secret: secretOf(name)})
	}
	return list
}

// linked runs f with a node that knows ann and bob.
func linked(t *testing.T, c Config, f func(t *testing.T, r *rig)) {
	t.Helper()
	if c.Clients == nil {
		c.Clients = clients("ann", "bob")
	}
	bubble(t, c, f)
}

// A linkClient is a client's end of a link, straight to the node.
type linkClient struct {
	t    testing.TB
	r    *rig
	text bool // by the JSON wire
	says link.AnswerParams
	keys link.Keys

	early, unacked *buf.Budget

	mu       sync.Mutex
	conn     *link.Conn
	replay   link.Replay
	exchange uint64
	awaited  []uint64
	flows    []*linkApp
	usage    map[uint64]uint64
	answer   link.Answer // the last
}

// A linkApp is what the client knows of one stream.
type linkApp struct {
	s      *link.Stream
	got    []byte
	pkts   []string
	send   []string // datagrams
	opened bool
	ended  bool
	rst    bool // with ended
	reset  bool
	code   link.Code
	detail string
	over   bool
	lazy   bool // does not read
}

const clientWindow = 1 << 20

// try opens a link of a client.
func (r *rig) tryLink(name string, text bool) (*linkClient, *http.Response) {
	r.t.Helper()
	return r.tryLinkAfter(name, text, link.LinkID{})
}

func (r *rig) tryLinkAfter(name string, text bool, prev link.LinkID) (*linkClient, *http.Response) {
	r.t.Helper()
	p := link.HelloParams{Prev: prev, Credit: 1 << 30}
	h, body, err := link.Hello(secretOf(name), p.Append(nil))
	if err != nil {
		r.t.Fatal(err)
	}
	c := &linkClient{t: r.t, r: r, text: text, early: buf.NewBudget(1 << 30), unacked: buf.NewBudget(1 << 40), usage: map[uint64]uint64{}}
	answer, resp := c.post(r.t.Context(), body)
	if answer == nil {
		return nil, resp
	}
	c.finish(h, answer)
	return c, resp
}

// finish ends a handshake.
func (c *linkClient) finish(h *link.Handshake, answer []byte) {
	c.t.Helper()
	keys, payload, err := h.Finish(answer)
	if err != nil {
		c.t.Fatal(err)
	}
	c.keys = keys
	if c.says, err = link.ParseAnswerParams(payload); err != nil {
		c.t.Fatal(err)
	}
	c.conn = link.NewConn(link.Config{
		Client: true, Window: int(c.says.Window), Credit: 1 << 30, Peer: c.says.Credit, Early: c.early, Unacked: c.unacked,
	}, (*linkClientHandler)(c))
}

// link opens a link of a client, on the binary carriage.
func (r *rig) link(name string) *linkClient {
	r.t.Helper()
	c, resp := r.tryLink(name, false)
	if c == nil {
		r.t.Fatalf("link of %s: status %d", name, resp.StatusCode)
	}
	return c
}

// post carries a message there and back. nil is no message.
func (c *linkClient) post(ctx context.Context, body []byte) ([]byte, *http.Response) {
	c.t.Helper()
	if c.text {
		w := c.r.post(ctx, pathBatch, wire.AppendBatch(nil, testKey, false, []wire.Op{{Kind: wire.Link, Data: [][]byte{body}}}))
		resp := w.Result()
		var a wire.Answer
		if err := wire.ParseAnswer(bytes.Clone(w.Body.Bytes()), &a, 1); err != nil || len(a.Results) != 1 || len(a.Results[0].Data) != 1 {
			return nil, resp
		}
		return a.Results[0].Data[0], resp
	}
	w := c.r.post(ctx, pathLink, body)
	if w.Code != http.StatusOK {
		return nil, w.Result()
	}
	return w.Body.Bytes(), w.Result()
}

// ask is what a client says mostly.
func ask(hold time.Duration) link.Ask {
	return link.Ask{Hold: uint64(hold / time.Millisecond), Keep: 8, Room: 16 << 20, Path: 1500}
}

// request makes the body of the next exchange.
func (c *linkClient) request(a link.Ask) (exchange uint64, body []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.exchange++
	exchange = c.exchange
	a.Awaited, a.Next = slices.Clone(c.awaited), exchange
	c.awaited = append(c.awaited, exchange)
	m := c.conn.Plan(time.Now(), exchange, &a, link.Limits{Bytes: 4 << 20})
	body, err := m.AppendSealed(link.AppendRequestHead(nil, c.keys.ID(), exchange), c.keys.Sealer(link.Up))
	if err != nil {
		c.t.Error(err)
	}
	return exchange, body
}

// do carries out an exchange.
func (c *linkClient) do(a link.Ask) error {
	c.t.Helper()
	return c.doContext(c.t.Context(), a)
}

func (c *linkClient) doContext(ctx context.Context, a link.Ask) error {
	exchange, body := c.request(a)
	answer, resp := c.post(ctx, body)
	return c.take(exchange, answer, resp)
}

var errTestUnknown = errors.New("the node knows no such link")

// take takes in the answer of an exchange.
func (c *linkClient) take(exchange uint64, answer []byte, resp *http.Response) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	defer c.conn.ExchangeEnded(exchange)
	defer func() { c.awaited = slices.DeleteFunc(c.awaited, func(x uint64) bool { return x == exchange }) }()
	if answer == nil || link.KindOf(answer) == link.KindUnknown {
		if resp.StatusCode == http.StatusNotFound || answer != nil {
			return errTestUnknown
		}
		return fmt.Errorf("no answer: status %d", resp.StatusCode)
	}
	return c.open(exchange, answer)
}

func (c *linkClient) open(exchange uint64, answer []byte) error {
	sealed, err := link.ParseAnswerHead(answer)
	if err != nil {
		return err
	}
	opener := c.keys.Opener(link.Down)
	for i := uint32(0); len(sealed) > 0; i++ {
		record, rest, err := link.NextRecord(sealed)
		if err != nil {
			return err
		}
		sealed = rest
		b := buf.Get(len(record) - 8)
		number, plain, err := opener.Open(b.B, record, exchange, i)
		if err != nil {
			return err
		}
		b.B = plain
		if !c.replay.Fresh(number) {
			b.Release()
			continue
		}
		got, err := c.conn.Receive(time.Now(), number, b)
		b.Release()
		if err != nil {
			return err
		}
		if got.Answer != nil {
			c.answer = *got.Answer
		}
	}
	return nil
}

// must is do, without a hold or an error.
func (c *linkClient) must() {
	c.t.Helper()
	if err := c.do(ask(0)); err != nil {
		c.t.Fatal(err)
	}
}

// until carries out exchanges until ok, ten minutes at most.
func (c *linkClient) until(what string, ok func() bool) {
	c.t.Helper()
	start := time.Now()
	for !ok() {
		if err := c.do(ask(10 * time.Second)); err != nil {
			c.t.Fatalf("%s: %v", what, err)
		}
		if time.Since(start) > 10*time.Minute {
			c.t.Fatalf("%s has not happened", what)
		}
	}
}

// connect opens a stream whose open frame goes with the next exchange.
func (c *linkClient) connect(host string) *linkApp {
	return c.openStream(host, 80, false, clientWindow)
}

// flow is the same for UDP.
func (c *linkClient) flow(host string, pkts ...string) *linkApp {
	a := c.openStream(host, 53, true, 0)
	c.datagrams(a, pkts...)
	return a
}

func (c *linkClient) openStream(host string, port uint16, udp bool, window int) *linkApp {
	c.mu.Lock()
	defer c.mu.Unlock()
	a := &linkApp{s: c.conn.Open(host, port, udp, true, window)}
	a.s.User = a
	c.flows = append(c.flows, a)
	return a
}

func (c *linkClient) datagrams(a *linkApp, pkts ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	a.send = append(a.send, pkts...)
	a.s.Offer()
}

func (c *linkClient) write(a *linkApp, text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for part := range slices.Chunk([]byte(text), buf.Max) {
		b := buf.Copy(part)
		c.unacked.Force(cap(b.B))
		a.s.Write(b, b.B)
	}
}

func (c *linkClient) with(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
}

// linkClientHandler is a linkClient as its Conn sees it.
type linkClientHandler linkClient

func (h *linkClientHandler) Open(*link.Stream)     { panic("the node opens a stream") }
func (h *linkClientHandler) Opened(s *link.Stream) { s.User.(*linkApp).opened = true }
func (h *linkClientHandler) Data(s *link.Stream, b *buf.Buf, p []byte) {
	a := s.User.(*linkApp)
	a.got = append(a.got, p...)
	if !a.lazy {
		s.Consumed(len(p))
	}
	b.Release()
}
func (h *linkClientHandler) End(s *link.Stream, rst bool) {
	a := s.User.(*linkApp)
	a.ended, a.rst = true, rst
}
func (h *linkClientHandler) Reset(s *link.Stream, code link.Code, detail string) {
	a := s.User.(*linkApp)
	a.reset, a.code, a.detail = true, code, detail
}
func (h *linkClientHandler) Over(s *link.Stream)     { s.User.(*linkApp).over = true }
func (h *linkClientHandler) Acked(*link.Stream, int) {}
func (h *linkClientHandler) Usage(tag, count uint64) { h.usage[tag] = count }
func (h *linkClientHandler) Datagrams(s *link.Stream, _ *buf.Buf, pkts [][]byte) {
	for _, p := range pkts {
		a := s.User.(*linkApp)
		a.pkts = append(a.pkts, string(p))
	}
}
func (h *linkClientHandler) Pull(s *link.Stream, room int) (*buf.Buf, []byte, bool) {
	a := s.User.(*linkApp)
	if len(a.send) == 0 {
		return nil, nil, true
	}
	if len(a.send[0]) > room {
		return nil, nil, false
	}
	b := buf.Copy([]byte(a.send[0]))
	a.send = a.send[1:]
	return b, b.B, true
}

// settled waits until nothing moves, and checks that the node holds nothing.
func (r *rig) empty() {
	r.t.Helper()
	synctest.Wait()
	if s := r.node.Stats(); s.LinkStreams != 0 || s.Memory != 0 || s.UDPSockets != 0 || len(r.node.table.live) != 0 {
		r.t.Errorf("not empty: %+v, %d places taken", s, len(r.node.table.live))
	}
	for name, u := range r.uses() {
		if u.places != 0 || len(u.sockets) != 0 || u.downloads.bytes.Load() != 0 || u.uploads.bytes.Load() != 0 {
			r.t.Errorf("%s has still %d places, %d sockets, %d bytes down and %d up", name, u.places, len(u.sockets),
				u.downloads.bytes.Load(), u.uploads.bytes.Load())
		}
	}
}
