package mux

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"relaymux/mux/secret"
	"relaymux/mux/wire"
	"relaymux/relay"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A fakeNode is a relay and a node in one, for tests of the client's side
// alone. Its targets echo. The real ones are tested with in relay/relaytest.
type fakeNode struct {
	t     *testing.T
	stock bool          // no "off", and one op of a session at a time or the test fails
	rtt   time.Duration // half before, half after
	hold  time.Duration // of polls; 15 s if zero
	greet string        // what a target says first
	mute  bool          // targets do not echo

	mu       sync.Mutex
	fault    func(n int, ops []wire.Op) (before, after *relay.Failure) // called under mu
	changed  chan struct{}
	sessions map[string]*fakeSession
	batches  []batchSeen
}

type batchSeen struct {
	at       time.Time
	ops, len int
	poll     bool
	kinds    []wire.Kind
}

type fakeSession struct {
	sid      string
	out      bytes.Buffer
	off      uint64
	got      []byte
	wseq     uint64
	fin, rst bool
	closed   bool
	inOp     bool
	poller   int // the newest batch that polls it
}

func newFakeNode(t *testing.T) *fakeNode {
	return &fakeNode{t: t, changed: make(chan struct{}), sessions: map[string]*fakeSession{}}
}

func (n *fakeNode) Close() {}

func (n *fakeNode) Exchange(ctx context.Context, x *relay.Exchange) error {
	body := bytes.Clone(x.Body)
	e, err := wire.ParseEnvelope(body)
	if err != nil || string(e.Key) != "key" {
		n.t.Errorf("bad request: %v", err)
	}
	ops, err := wire.ParseOps(e.Ops, nil, 1000)
	if err != nil {
		n.t.Error(err)
	}
	seen := batchSeen{at: time.Now(), ops: len(ops), len: len(body), poll: true}
	for i := range ops {
		seen.kinds = append(seen.kinds, ops[i].Kind)
		if ops[i].Kind != wire.Close && (ops[i].Kind != wire.Data || ops[i].Len() > 0 || ops[i].Fin) {
			seen.poll = false
		}
	}
	n.mu.Lock()
	n.batches = append(n.batches, seen)
	var before, after *relay.Failure
	if n.fault != nil {
		before, after = n.fault(len(n.batches), ops)
	}
	n.mu.Unlock()
	if err := wait(ctx, n.rtt/2); err != nil {
		return err
	}
	if before != nil {
		return before
	}
	results := n.serve(ctx, ops, seen.poll, len(n.seen()))
	if err := wait(ctx, n.rtt/2); err != nil {
		return err
	}
	if after != nil {
		return after
	}
	x.Answer = wire.AppendAnswer(x.Answer, results)
	return nil
}

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return &relay.Failure{Kind: relay.Cancelled, Err: ctx.Err()}
	}
}

func (n *fakeNode) serve(ctx context.Context, ops []wire.Op, poll bool, id int) []wire.Result {
	n.mu.Lock()
	defer n.mu.Unlock()
	ss := make([]*fakeSession, len(ops))
	for i := range ops {
		ss[i] = n.execute(&ops[i])
		if s := ss[i]; s != nil && poll && !n.stock {
			s.poller = id
		}
	}
	limit := 350 * time.Millisecond
	if poll {
		limit = n.hold
		if limit == 0 {
			limit = 15 * time.Second
		}
	}
	deadline := time.After(limit)
	answerable := func(s *fakeSession) bool {
		return s == nil || s.out.Len() > 0 && (!poll || s.poller <= id) || s.fin || s.rst || s.closed
	}
	superseded := func(s *fakeSession) bool { return s != nil && poll && s.poller > id }
wait:
	for !slices.ContainsFunc(ss, answerable) && !all(ss, superseded) {
		ch := n.changed
		n.mu.Unlock()
		select {
		case <-ch:
		case <-ctx.Done():
		case <-deadline:
			n.mu.Lock()
			break wait
		}
		n.mu.Lock()
	}
	results := make([]wire.Result, len(ops))
	for i, s := range ss {
		results[i] = n.result(&ops[i], s)
	}
	return results
}

func all(ss []*fakeSession, is func(*fakeSession) bool) bool {
	return !slices.ContainsFunc(ss, func(s *fakeSession) bool { return !is(s) })
}

func (n *fakeNode) execute(op *wire.Op) *fakeSession {
	var s *fakeSession
	switch op.Kind {
	case wire.Connect, wire.ConnectData:
		s = &fakeSession{sid: fmt.Sprintf("s%d", len(n.sessions))}
		n.sessions[s.sid] = s
		s.out.WriteString(n.greet)
	default:
		s = n.sessions[string(op.SID)]
		if s == nil {
			return nil
		}
	}
	if n.stock && s.inOp && op.Kind != wire.Close {
		n.t.Errorf("two ops of session %s at once", s.sid)
	}
	s.inOp = true
	n.notify()
	if op.HasWSeq && op.WSeq < s.wseq {
		return s // a duplicate
	}
	if op.HasWSeq {
		if op.WSeq != s.wseq {
			n.t.Errorf("wseq %d, want %d", op.WSeq, s.wseq)
		}
		s.wseq++
	}
	for _, d := range op.Data {
		s.got = append(s.got, d...)
		if !n.mute {
			s.out.Write(d)
		}
	}
	if op.Kind == wire.Close {
		s.closed, s.rst = true, op.Rst
	}
	if op.Fin && !n.stock {
		s.fin = true
	}
	n.notify()
	return s
}

func (n *fakeNode) notify() {
	close(n.changed)
	n.changed = make(chan struct{})
}

func (n *fakeNode) result(op *wire.Op, s *fakeSession) wire.Result {
	if s == nil {
		return wire.Result{SID: op.SID, EOF: true, Rst: !n.stock, HasOff: !n.stock}
	}
	s.inOp = false
	r := wire.Result{SID: []byte(s.sid), HasOff: !n.stock, Off: s.off, EOF: s.closed}
	most := s.out.Len()
	if op.Max > 0 && !n.stock {
		most = min(most, int(op.Max))
	}
	if d := bytes.Clone(s.out.Next(most)); len(d) > 0 {
		r.Data = [][]byte{d}
		s.off += uint64(len(d))
	}
	r.EOF = r.EOF || s.fin && s.out.Len() == 0
	return r
}

// say makes the target of a session send text.
func (n *fakeNode) say(sid, text string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.sessions[sid].out.WriteString(text)
	n.notify()
}

func (n *fakeNode) seen() []batchSeen {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.batches)
}

// newMux returns a Mux over the nodes, one deployment each, and closes it at
// the end of the test.
func newMux(t *testing.T, c Config, slots int, nodes ...relay.Transport) *Mux {
	for i, n := range nodes {
		c.Deployments = append(c.Deployments, Deployment{
			Name: fmt.Sprintf("d%d", i), Key: secret.New("key"), Transport: n, Account: NewAccount(slots, "")})
	}
	c.MaxOps = cmpOr(c.MaxOps, 50)
	c.MaxBytes = cmpOr(c.MaxBytes, 4<<20)
	c.CoalesceStep = cmpOr(c.CoalesceStep, 10*time.Millisecond)
	c.CoalesceMax = cmpOr(c.CoalesceMax, time.Second)
	c.Memory = cmpOr(c.Memory, 256<<20)
	m := New(c)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		m.Close(ctx)
	})
	return m
}

func cmpOr[T comparable](v, or T) T {
	var zero T
	if v == zero {
		return or
	}
	return v
}

// ask writes text and reads as much back.
func ask(t *testing.T, s io.ReadWriter, text string) {
	t.Helper()
	if _, err := io.WriteString(s, text); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(text))
	if _, err := io.ReadFull(s, got); err != nil || string(got) != text {
		t.Fatalf("asked %.40q, got %.40q, %v", text, got, err)
	}
}
