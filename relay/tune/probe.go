package tune

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"relaymux/mux/link"
	"relaymux/mux/secret"
	"relaymux/mux/wire"
	"relaymux/relay"
)

// A way is a deployment that is measured.
type way struct {
	Deployment
	account *Account
	probe   probe
	meter   *meter
	carrier relay.Transport // the meter, as the mux is to have it
	found   *Way
}

// A request is a single exchange.
type request struct {
	size int           // bytes of its body; 0: as small as can be
	hold time.Duration // for which the node is to keep it, where the wire can say so
	keep int           // how many it is to keep at once
}

// A body is a request as it goes.
type body struct {
	bytes  []byte
	binary bool
	check  func(answer []byte) error // is this the node's answer to it?
}

// A probe makes requests of one wire that ask for nothing.
type probe interface {
	begin(batch []request) ([]body, error) // which are sent at once
}

// A result is what became of an exchange.
type result struct {
	took    time.Duration
	failure *relay.Failure
}

// once makes one exchange.
func (w *way) once(ctx context.Context, r request) (result, error) {
	list, err := w.together(ctx, 1, r)
	if err != nil {
		return result{}, err
	}
	return list[0], nil
}

// together makes n exchanges at once. An error says that there can be no more.
func (w *way) together(ctx context.Context, n int, r request) ([]result, error) {
	batch := make([]request, n)
	for i := range batch {
		batch[i] = r
	}
	bodies, err := w.probe.begin(batch)
	if err != nil {
		return nil, err
	}
	ctx, stop := w.meter.tally.trial(ctx)
	defer stop(nil)
	out := make([]result, n)
	var all sync.WaitGroup
	for i, b := range bodies {
		all.Go(func() { out[i] = w.exchange(ctx, b) })
	}
	all.Wait()
	return out, context.Cause(ctx)
}

func (w *way) exchange(ctx context.Context, b body) result {
	x := relay.Exchange{Body: b.bytes, Binary: b.binary}
	began := time.Now()
	err := w.carrier.Exchange(ctx, &x)
	r := result{took: max(time.Since(began), time.Microsecond)}
	if err == nil {
		err = b.check(x.Answer)
	}
	if err != nil {
		var ok bool
		if r.failure, ok = errors.AsType[*relay.Failure](err); !ok {
			r.failure = &relay.Failure{Kind: relay.Malformed, Detail: err.Error()}
		}
		return r
	}
	if w.account.Quota != nil {
		w.account.Quota.Served(time.Now(), began)
	}
	return r
}

// jsonProbe is of the JSON wire: a batch without ops, or, to be large, with one for a
// session that is not there.
type jsonProbe struct {
	key    secret.Text
	script bool
}

func (p *jsonProbe) begin(batch []request) ([]body, error) {
	out := make([]body, len(batch))
	for i, r := range batch {
		var ops []wire.Op
		if r.size > 0 {
			op := wire.Op{Kind: wire.Data, SID: []byte("none")}
			room := r.size - wire.BatchLen(p.key.Reveal()) - wire.OpLen(&op) - 32
			noise := make([]byte, max(room/4*3, 1))
			_, _ = rand.Read(noise) // never fails
			op.Data = [][]byte{noise}
			ops = append(ops, op)
		}
		out[i] = body{bytes: wire.AppendBatch(nil, p.key.Reveal(), p.script, ops), check: checkBatch}
	}
	return out, nil
}

func checkBatch(answer []byte) error {
	var a wire.Answer
	if err := wire.ParseAnswer(answer, &a, 1); err != nil {
		return err
	}
	if a.HasErr {
		return rejected(a.Err)
	}
	return nil
}

func rejected(text []byte) error {
	return &relay.Failure{Kind: relay.Rejected, Detail: fmt.Sprintf("%.200q", text)}
}

// linkProbe is of the link. One link is for all deployments.
type linkProbe struct {
	mu     sync.Mutex
	prober *link.Prober
}

// viaLink is it by one deployment.
type viaLink struct {
	*linkProbe
	key          secret.Text
	script, text bool
	tag          uint64
	path         func() time.Duration
}

// textFrame is what the JSON wire puts around a message, but for the key.
const textFrame = 96

func (p *viaLink) begin(batch []request) ([]body, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make([]body, len(batch))
	var awaited []uint64
	for i, r := range batch {
		size := r.size
		if p.text {
			size = (size - textFrame - len(p.key.Reveal())) / 4 * 3
		}
		ask := link.Ask{
			Hold: uint64(r.hold.Milliseconds()), Keep: uint64(max(r.keep, 1)), Room: 64 << 10, Tag: p.tag,
			Path: uint64(p.path().Milliseconds()), Reorder: 10_000, Awaited: awaited,
		}
		message, exchange, err := p.prober.Append(nil, ask, size)
		if err != nil {
			return nil, err
		}
		awaited = append(awaited, exchange)
		out[i] = p.wrap(message, exchange)
	}
	return out, nil
}

func (p *viaLink) wrap(message []byte, exchange uint64) body {
	b := body{bytes: message, binary: !p.text}
	b.check = func(answer []byte) error {
		var err error
		if p.text {
			if answer, err = unwrap(answer); err != nil {
				return err
			}
		}
		if link.KindOf(answer) == link.KindUnknown {
			return &relay.Failure{Kind: relay.Rejected, Detail: "it leads to another node than the other deployments"}
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.prober.Answered(answer, exchange)
	}
	if p.text {
		b.bytes = wrapped(p.key, p.script, message)
	}
	return b
}

func wrapped(key secret.Text, script bool, message []byte) []byte {
	op := [1]wire.Op{{Kind: wire.Link, Data: [][]byte{message}}}
	return wire.AppendBatch(nil, key.Reveal(), script, op[:])
}

// unwrap is the message in an answer of the JSON wire.
func unwrap(text []byte) ([]byte, error) {
	var a wire.Answer
	if err := wire.ParseAnswer(text, &a, 1); err != nil {
		return nil, err
	}
	switch {
	case a.HasErr:
		return nil, rejected(a.Err)
	case len(a.Results) != 1 || len(a.Results[0].Err) > 0 || len(a.Results[0].Data) != 1:
		return nil, rejected([]byte("no message of the link"))
	}
	return a.Results[0].Data[0], nil
}
