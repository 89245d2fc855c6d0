package mux

import (
	"fmt"
	"sync"
	"time"

	"relaymux/mux/buf"
	"relaymux/mux/wire"
	"relaymux/relay"
)

// An exchange is a batch on its way. The loop fills it, a worker carries it
// and notes what came back, the loop draws the consequences and reuses it.
type exchange struct {
	d         *deployment
	poll      bool // nothing but polls (and closes): the node holds it
	adopted   bool // a newer poll has taken over all of its flows
	tells     int  // so many ops, the first, tell something; the others only ask for data, or close
	ops       []wire.Op
	flows     []*flow    // of each op
	carried   []datagram // of each UDP op that uploads: owned until it is settled
	reserve   int        // bytes of the budget kept for what the polls bring
	answer    wire.Answer
	probe     bool // its deployment rested: does it work again?
	bodyLen   int  // bytes of its body
	answerLen int
	out       []outcome     // of each op
	brought   int           // bytes of payload, of all ops
	queued    time.Duration // what the oldest op had waited by
	began     time.Time
	took      time.Duration
	wrote     time.Duration // see ExchangeSnapshot
	first     time.Duration
	failure   *relay.Failure
}

var exchanges = sync.Pool{New: func() any { return new(exchange) }}

// add appends an op of f, which carries d, if anything.
func (x *exchange) add(f *flow, d datagram) *wire.Op {
	if len(x.ops) < cap(x.ops) {
		x.ops = x.ops[:len(x.ops)+1]
	} else {
		x.ops = append(x.ops, wire.Op{})
	}
	x.flows = append(x.flows, f)
	x.carried = append(x.carried, d)
	op := &x.ops[len(x.ops)-1]
	op.Reset()
	return op
}

// compose appends the op that f stands in ready for, if it fits into room bytes.
func (x *exchange) compose(f *flow, room int) (op *wire.Op, fits bool) {
	op = x.add(f, datagram{})
	last := len(x.ops) - 1
	if x.carried[last], fits = f.side.compose(op, x.d, room, last == 0); !fits {
		x.ops, x.flows, x.carried = x.ops[:last], x.flows[:last], x.carried[:last]
	}
	return op, fits
}

// free puts x back. What it pointed to must not live on because of it.
func (x *exchange) free() {
	for i := range x.ops {
		op := &x.ops[i]
		clear(op.Data)
		op.Reset()
	}
	for i := range x.answer.Results {
		r := &x.answer.Results[i]
		clear(r.Data)
		clear(r.Pkts)
		r.Reset()
	}
	clear(x.flows)
	clear(x.carried)
	clear(x.out)
	*x = exchange{
		ops: x.ops[:0], flows: x.flows[:0], carried: x.carried[:0], out: x.out[:0],
		answer: wire.Answer{Results: x.answer.Results[:0]},
	}
	exchanges.Put(x)
}

// carry is the worker: it holds a slot of the deployment's account, encodes,
// waits, decodes, delivers. All that takes long happens here, and neither the
// loop nor another flow waits for it.
func (m *Mux) carry(x *exchange) { m.travel(x, m.encode(x)) }

// encode makes the body, which the caller owns.
func (m *Mux) encode(x *exchange) *buf.Buf {
	defer m.heavy(x.size())()
	body := buf.Body()
	body.B = wire.AppendBatch(body.B, x.d.Key.Reveal(), x.d.Script, x.ops)
	return body
}

// travel takes the body over, and brings the answer to the flows.
func (m *Mux) travel(x *exchange, body *buf.Buf) {
	answer := buf.Body()
	began := time.Now()
	memory := claim{m: m}
	defer memory.release()
	e := relay.Exchange{Body: body.B, Answer: answer.B, Claim: memory.take}
	err := x.d.Transport.Exchange(m.ctx, &e)
	answer.B = e.Answer
	x.took = time.Since(began)
	x.wrote, x.first = timesOf(&e.Progress)
	x.answerLen = len(answer.B)
	x.d.Account.sem.Release(1)
	x.bodyLen = len(body.B)
	x.d.Stats.Up.Add(uint64(x.bodyLen))
	x.d.Stats.Down.Add(uint64(len(answer.B)))
	body.Release()

	x.out = append(x.out[:0], make([]outcome, len(x.ops))...)
	x.failure = asFailure(err)
	if x.failure == nil {
		x.failure = m.decode(x, answer)
	}
	answer.Release()
	m.done <- x
}

func (m *Mux) decode(x *exchange, answer *buf.Buf) *relay.Failure {
	defer m.heavy(len(answer.B))()
	return x.deliver(answer)
}

// A claim is what one answer takes of the memory.
type claim struct {
	m *Mux
	n int
}

// take is a relay.Exchange's Claim. Answers that are coming in share with what waits in
// inboxes three quarters of the memory, of which a quarter is theirs in any case. Those
// that nobody has tampered with fit: they bring what budget has room for, and take a third
// more for their form. But relays may send anything.
func (c *claim) take(n int) bool {
	m := c.m
	if !m.answers.Try(n) {
		return false
	}
	inboxes := m.budget.Used() - m.promised.Load()
	if used := m.answers.Used(); used > m.memory/4 && used > m.answers.Limit()-inboxes {
		m.answers.Return(n)
		return false
	}
	c.n += n
	return true
}

func (c *claim) release() { c.m.answers.Return(c.n) }

// heavySize is from where on encoding and decoding count as work: about 30 us.
const heavySize = 256 << 10

// heavy waits until it may keep a core busy with so many bytes, and returns
// what to call afterwards. One core is always left to the loop and to what is
// small: a keystroke must not queue behind megabytes.
func (m *Mux) heavy(size int) (done func()) {
	if size < heavySize || m.heavies.Acquire(m.ctx, 1) != nil {
		return func() {}
	}
	return func() { m.heavies.Release(1) }
}

// size is about how many bytes of payload x has.
func (x *exchange) size() (n int) {
	for i := range x.ops {
		n += x.ops[i].Len()
	}
	return n
}

// deliver parses the answer and hands each RESULT to its flow. What it
// returns has failed the whole batch; then nothing was delivered.
func (x *exchange) deliver(answer *buf.Buf) *relay.Failure {
	if err := wire.ParseAnswer(answer.B, &x.answer, len(x.ops)); err != nil {
		return &relay.Failure{Kind: relay.Malformed, Detail: "the answer is not the wire's JSON, or was cut", Err: err,
			Hint: "if this goes on, look whether the script is the right one and deployed anew"}
	}
	if f := x.refused(); f != nil {
		return f
	}
	for i := range x.answer.Results {
		r := &x.answer.Results[i]
		if len(r.SID) > maxSID {
			return &relay.Failure{Kind: relay.Malformed, Detail: fmt.Sprintf("a session id of %d bytes", len(r.SID))}
		}
		k := x.opOf(i, r)
		if k < 0 || x.out[k].got {
			continue
		}
		o := x.flows[k].side.deliver(r, answer)
		if x.ops[k].SID == nil && len(r.SID) > 0 {
			o.sid = append([]byte(nil), r.SID...)
		}
		x.out[k] = o
	}
	return nil
}

// maxSID bounds a session id, which goes into every op of its flow. Ours has 26
// bytes, a stock node's 36.
const maxSID = 256

// refused is the failure that an answer reports of the whole batch: a
// top-level "e", or one RESULT with an error in place of many.
func (x *exchange) refused() *relay.Failure {
	a := &x.answer
	text, whole := a.Err, a.HasErr
	if !whole && len(a.Results) == 1 && len(x.ops) > 1 && len(a.Results[0].Err) > 0 {
		text, whole = a.Results[0].Err, true
	}
	if !whole {
		return nil
	}
	return &relay.Failure{Kind: relay.Rejected, Detail: printable(text),
		Hint: "the script or the node said this; a wrong key or an unreachable node are the usual reasons"}
}

// opOf tells which op the i-th RESULT is for. Its place says so, but a sid, if
// there is one, must agree: a stock node may leave RESULTs out. -1: for none.
func (x *exchange) opOf(i int, r *wire.Result) int {
	complete := len(x.answer.Results) == len(x.ops)
	if sid := x.ops[i].SID; complete && (len(sid) == 0 || len(r.SID) == 0 || string(sid) == string(r.SID)) {
		return i
	}
	if len(r.SID) == 0 {
		return -1
	}
	for k := range x.ops {
		if !x.out[k].got && string(x.ops[k].SID) == string(r.SID) {
			return k
		}
	}
	return -1
}
