package doctor

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"relaymux/mux/link"
	"relaymux/mux/wire"
	"relaymux/relay"
)

// slow is when an answer takes longer than those of relays that do well, in a cold
// start too.
const slow = 5 * time.Second

// carry sends what tells the relay, the node and the secret apart: a handshake of the
// link, or on the JSON wire a batch without ops.
func (e *exam) carry(ctx context.Context) bool {
	t, err := e.transport()
	if err != nil {
		e.blame(fault{leg: LegRelay, detail: err.Error()}, 0)
		return false
	}
	defer t.Close()
	began := time.Now()
	what, f := e.ask(ctx, t)
	took := since(began)
	if f != nil {
		e.blame(*f, took)
		return false
	}
	l := Leg{Name: LegRelay, Status: OK, Millis: took, Detail: "answered"}
	if e.d.direct() {
		l.Detail = "none: straight to the node"
	}
	if took > float64(slow/time.Millisecond) {
		l.Status = Warning
		l.Detail += fmt.Sprintf(", slowly: %.1f s", took/1000)
		l.Remedy = "0.3 to 4 s are usual: another deployment, another connect_to, or a region nearer to the node"
	}
	e.add(l)
	for _, l := range what {
		e.add(l)
	}
	return true
}

// ask makes the exchange, and returns the legs beyond the relay that it proves.
func (e *exam) ask(ctx context.Context, t relay.Transport) ([]Leg, *fault) {
	if e.d.Link {
		return e.handshake(ctx, t)
	}
	var a wire.Answer
	answer, f := e.exchange(ctx, t, wire.AppendBatch(nil, e.d.Key.Reveal(), e.d.Script(), nil), false)
	if f != nil {
		return nil, f
	}
	if err := wire.ParseAnswer(answer, &a, 1); err != nil {
		return nil, &fault{leg: LegRelay, detail: "the answer is not the wire's JSON", remedy: "check the url"}
	}
	if a.HasErr {
		f := saidBy(string(a.Err))
		return nil, &f
	}
	return []Leg{
		{Name: LegNode, Status: OK, Detail: "answered"},
		{Name: LegSecret, Status: OK, Detail: "the key is the node's; the relay can read what programs do not encrypt (JSON wire)"},
	}, nil
}

// handshake is one of the link: its answer, sealed, nobody but the node can make.
func (e *exam) handshake(ctx context.Context, t relay.Transport) ([]Leg, *fault) {
	params := link.HelloParams{Credit: 1 << 20}
	h, hello, err := link.Hello(e.Secret, params.Append(nil))
	if err != nil {
		return nil, &fault{leg: LegSecret, detail: err.Error()}
	}
	body := hello
	if e.d.Script() {
		op := [1]wire.Op{{Kind: wire.Link, Data: [][]byte{hello}}}
		body = wire.AppendBatch(nil, e.d.Key.Reveal(), true, op[:])
	}
	answer, f := e.exchange(ctx, t, body, !e.d.Script())
	if f != nil {
		return nil, f
	}
	if e.d.Script() {
		if answer, f = fromText(answer); f != nil {
			return nil, f
		}
	}
	_, payload, err := h.Finish(answer)
	if err != nil {
		return nil, &fault{leg: LegSecret, detail: "the answer is not sealed with the secret",
			remedy: "secret under [link] must be that of one [[node.client]]; else the relay changes what it carries"}
	}
	p, err := link.ParseAnswerParams(payload)
	if err != nil {
		return nil, &fault{leg: LegNode, detail: "the node speaks another version", remedy: "install the same version at both ends"}
	}
	up := (time.Duration(p.Age) * time.Millisecond).Round(time.Second)
	return []Leg{
		{Name: LegNode, Status: OK, Detail: fmt.Sprintf("node %s, running for %v", hex.EncodeToString(p.Node[:4]), up)},
		{Name: LegSecret, Status: OK, Detail: "the node knows the secret, and proved that it has it"},
	}, nil
}

// exchange carries body, and returns the answer or whose fault it is that there is none.
func (e *exam) exchange(ctx context.Context, t relay.Transport, body []byte, binary bool) ([]byte, *fault) {
	x := relay.Exchange{Body: body, Binary: binary}
	if err := t.Exchange(ctx, &x); err != nil {
		failure, ok := errors.AsType[*relay.Failure](err)
		if !ok {
			failure = &relay.Failure{Kind: relay.Broken, Detail: err.Error()}
		}
		f := e.meaning(failure)
		return nil, &f
	}
	return x.Answer, nil
}

// fromText is the message of the link in an answer of the JSON wire.
func fromText(text []byte) ([]byte, *fault) {
	var a wire.Answer
	if err := wire.ParseAnswer(text, &a, 1); err != nil {
		return nil, &fault{leg: LegRelay, detail: "the answer is not the wire's JSON, or was cut", remedy: "check the url, and deploy the script again"}
	}
	said := string(a.Err)
	if !a.HasErr && len(a.Results) > 0 {
		r := &a.Results[0]
		if string(r.Code) == wire.CodeUnsupported {
			return nil, &fault{leg: LegSecret, detail: "the node knows no link",
				remedy: `it needs relaymux at the node and a [[node.client]] there; wire = "json" does without, but then the relay reads everything`}
		}
		if len(r.Err) == 0 && len(r.Data) == 1 {
			return r.Data[0], nil
		}
		said = string(r.Err)
	}
	f := saidBy(said)
	return nil, &f
}
