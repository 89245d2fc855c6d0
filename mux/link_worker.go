package mux

import (
	"errors"
	"time"

	"relaymux/mux/buf"
	"relaymux/mux/link"
	"relaymux/mux/wire"
	"relaymux/relay"
)

// A linkExchange is one exchange of the link: the loop plans it, a worker seals,
// carries and opens it, the loop takes in what came.
type linkExchange struct {
	relay.Exchange

	d      *deployment
	id     uint64
	began  time.Time
	hold   time.Duration // that the node was allowed
	binary bool          // the body is the message itself, not text around it
	probe  bool
	poll   bool // carries nothing but what every request has
	up     int  // bytes of payload in the request
	ops    int
	queued time.Duration // what the oldest of its payload had waited by began
	keys   *link.Keys

	hello    bool          // it is a handshake, with
	first    []byte        // this message
	repeated bool          // and was refused, as the one before
	m        *link.Message // else it is this

	heard   bool // what it carried has arrived, by another's answer or its own
	hedged  bool // was looked at for being slow
	hurried bool // went without the rest, for what it carries is little and that is not
	suspect bool // given up, though it may still come back
	stale   bool // of a link that is no more

	took        time.Duration
	held        time.Duration // by the node, as far as it has told
	reached     int           // targets of which it brought the first word,
	dialed      time.Time     // the oldest of which was opened then
	bodyLen     int
	answerLen   int
	message     []byte   // the answer, of a handshake: a part of answer
	answer      *buf.Buf // owned until the loop is done with it
	opened      []link.Record
	forged      int
	unknown     bool // the node does not know the link
	unsupported bool // the node knows no link at all
	failure     *relay.Failure
}

// textFrame is what the JSON wire puts around a message in one op, but for the key.
const textFrame = 96

// binary reports whether messages of the link go by d as they are.
func (d *deployment) binary() bool { return !d.Script && !d.text }

// carryLink is the worker of an exchange of the link.
func (m *Mux) carryLink(x *linkExchange, done chan<- *linkExchange) {
	body := m.sealed(x)
	x.answer = buf.Body()
	x.Exchange.Body, x.Exchange.Answer, x.Exchange.Binary = body.B, x.answer.B, x.binary
	memory := claim{m: m}
	defer memory.release()
	x.Exchange.Claim = memory.take
	x.bodyLen = len(body.B)
	began := time.Now()
	err := x.d.Transport.Exchange(m.ctx, &x.Exchange)
	x.took = time.Since(began)
	x.answer.B = x.Exchange.Answer
	x.answerLen = len(x.answer.B)
	x.Exchange.Body, x.Exchange.Answer, x.Exchange.Claim = nil, nil, nil
	x.d.Account.sem.Release(1)
	x.d.Stats.Up.Add(uint64(x.bodyLen))
	x.d.Stats.Down.Add(uint64(len(x.answer.B)))
	body.Release()
	if x.failure = asFailure(err); x.failure == nil {
		x.failure = m.open(x)
	}
	done <- x
}

// sealed makes the body, which the caller owns.
func (m *Mux) sealed(x *linkExchange) *buf.Buf {
	size := len(x.first)
	if x.m != nil {
		size = x.m.SealedLen()
	}
	defer m.heavy(size)()
	body := buf.Body()
	if x.hello {
		body.B = append(body.B, x.first...)
	} else {
		body.B = link.AppendRequestHead(body.B, x.keys.ID(), x.id)
		var err error
		if body.B, err = x.m.AppendSealed(body.B, x.keys.Sealer(link.Up)); err != nil {
			body.B = body.B[:0] // a link that has sealed all it may: the node answers that it does not know it
		}
	}
	if x.binary {
		return body
	}
	text := buf.Body()
	op := [1]wire.Op{{Kind: wire.Link, Data: [][]byte{body.B}}}
	text.B = wire.AppendBatch(text.B, x.d.Key.Reveal(), x.d.Script, op[:])
	body.Release()
	return text
}

// open takes the answer apart.
func (m *Mux) open(x *linkExchange) *relay.Failure {
	defer m.heavy(len(x.answer.B))()
	message := x.answer.B
	if !x.binary {
		var f *relay.Failure
		if message, x.unsupported, f = inText(message); f != nil {
			return f
		}
	}
	kind := link.KindOf(message)
	switch {
	case kind == link.KindUnknown:
		x.unknown = true
		return &relay.Failure{Kind: relay.Rejected, Detail: "the node does not know this link"}
	case x.hello && kind == link.KindHelloAnswer:
		x.message = message
		return nil
	}
	records, err := link.ParseAnswerHead(message)
	if x.hello || err != nil {
		return &relay.Failure{Kind: relay.Malformed, Detail: "the answer is not the node's", Err: err}
	}
	o := x.keys.Opener(link.Down)
	for i := uint32(0); len(records) > 0; i++ {
		var record []byte
		if record, records, err = link.NextRecord(records); err != nil {
			return cutShort(err)
		}
		b := buf.Get(min(len(record), buf.Max))
		number, plain, err := o.Open(b.B, record, x.id, i)
		if err != nil {
			b.Release()
			x.forged++
			break // and the rest is not trusted to be in its place
		}
		b.B = plain
		x.opened = append(x.opened, link.Record{Number: number, B: b})
	}
	if len(x.opened) == 0 {
		return &relay.Failure{Kind: relay.Malformed, Detail: "the answer is not the node's, or was changed on its way"}
	}
	return nil
}

func cutShort(err error) *relay.Failure {
	return &relay.Failure{Kind: relay.Malformed, Detail: "the answer was cut", Err: err}
}

var errNoMessage = errors.New("an answer without a message of the link")

// inText is the message that an answer of the JSON wire carries.
func inText(text []byte) (_ []byte, unsupported bool, _ *relay.Failure) {
	var a wire.Answer
	if err := wire.ParseAnswer(text, &a, 1); err != nil {
		return nil, false, &relay.Failure{Kind: relay.Malformed, Detail: "the answer is not the wire's JSON, or was cut", Err: err}
	}
	failed := a.Err
	if len(a.Results) > 0 && !a.HasErr {
		r := &a.Results[0]
		if string(r.Code) == wire.CodeUnsupported {
			return nil, true, &relay.Failure{Kind: relay.Rejected, Detail: "the node does not know the link",
				Hint: `it needs relaymux at the node and a [[node.client]] there; wire = "json" does without, but then the relay reads everything`}
		}
		if failed = r.Err; len(failed) == 0 && len(r.Data) == 1 {
			return r.Data[0], false, nil
		}
	}
	if len(failed) > 0 {
		return nil, false, &relay.Failure{Kind: relay.Rejected, Detail: printable(failed),
			Hint: "the script or the node said this; a wrong key or an unreachable node are the usual reasons"}
	}
	return nil, false, &relay.Failure{Kind: relay.Malformed, Detail: errNoMessage.Error(), Err: errNoMessage}
}
