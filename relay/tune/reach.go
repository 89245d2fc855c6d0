package tune

import (
	"context"
	"slices"
	"time"

	"relaymux/mux"
	"relaymux/mux/link"
	"relaymux/relay"
)

// samples is how many exchanges tell the round trip, beside the first one, for which
// connections are made and scripts start.
const samples = 5

// reach finds out which deployments work, and how far they are.
func (t *tuner) reach(ctx context.Context) error {
	for i := range t.Deployments {
		d := t.Deployments[i]
		w := &way{Deployment: d, account: t.account(d.Account), found: &Way{Name: d.Name, Account: d.Account, Wire: wireJSON}}
		w.carrier, w.meter = metered(&d.Deployment, t.tally, w.account.Quota)
		t.report.Ways = append(t.report.Ways, w.found)
		failure, err := t.meet(ctx, w)
		if err != nil {
			return err
		}
		if failure != nil {
			w.found.Error = words(failure)
			continue
		}
		if err := w.measure(ctx); err != nil {
			return err
		}
		if w.found.RTT > 0 {
			t.ways = append(t.ways, w)
		}
	}
	if len(t.ways) == 0 {
		return errNoWay
	}
	return nil
}

// meet makes the first exchange by w: of the link, a handshake, unless there is a link
// already.
func (t *tuner) meet(ctx context.Context, w *way) (*relay.Failure, error) {
	if !w.Link || t.Mux.Link == nil {
		w.probe = &jsonProbe{key: w.Key, script: w.Script}
		r, err := w.once(ctx, request{})
		return r.failure, err
	}
	failure, err := t.meetByLink(ctx, w, w.Script)
	if failure != nil && failure.Kind == relay.Refused && !w.Script { // perhaps it lets only the JSON wire's path through
		return t.meetByLink(ctx, w, true)
	}
	return failure, err
}

// meetByLink has messages go as text or as they are.
func (t *tuner) meetByLink(ctx context.Context, w *way, text bool) (*relay.Failure, error) {
	w.found.Wire = wireLink
	if text {
		w.found.Wire = wireText
	}
	via := &viaLink{linkProbe: t.link, key: w.Key, script: w.Script, text: text, tag: mux.Tag(w.account.Label), path: func() time.Duration { return w.found.RTT }}
	w.probe = via
	if t.link != nil {
		r, err := w.once(ctx, request{})
		return r.failure, err
	}
	p, failure, err := t.shakeHands(ctx, w, text)
	if p != nil {
		t.link = &linkProbe{prober: p}
		via.linkProbe = t.link
	}
	return failure, err
}

func (t *tuner) shakeHands(ctx context.Context, w *way, text bool) (*link.Prober, *relay.Failure, error) {
	params := link.HelloParams{Credit: 1 << 20}
	h, hello, err := link.Hello(t.Mux.Link.Secret, params.Append(nil))
	if err != nil {
		return nil, nil, err
	}
	var keys link.Keys
	b := body{bytes: hello, binary: !text, check: func(answer []byte) (err error) {
		if text {
			if answer, err = unwrap(answer); err != nil {
				return err
			}
		}
		keys, _, err = h.Finish(answer)
		return err
	}}
	if text {
		b.bytes = wrapped(w.Key, w.Script, hello)
	}
	ctx, stop := t.tally.trial(ctx)
	defer stop(nil)
	r := w.exchange(ctx, b)
	if err := context.Cause(ctx); err != nil || r.failure != nil {
		return nil, r.failure, err
	}
	return link.NewProber(keys), nil, nil
}

// measure takes the round trips.
func (w *way) measure(ctx context.Context) error {
	var took []time.Duration
	for range samples {
		r, err := w.once(ctx, request{})
		if err != nil {
			return err
		}
		if r.failure != nil {
			w.found.Lost++
			w.found.Error = words(r.failure)
			continue
		}
		took = append(took, r.took)
	}
	if len(took) <= samples/2 {
		return nil
	}
	w.found.Error = ""
	slices.Sort(took)
	w.found.RTT, w.found.Least, w.found.Most = took[len(took)/2], took[0], took[len(took)-1]
	return nil
}

// piped reports whether everything goes by a pipe.
func (t *tuner) piped(ctx context.Context) (bool, error) {
	if !slices.ContainsFunc(t.ways, func(w *way) bool { _, ok := w.carrier.(relay.Piper); return ok && w.found.Wire == wireLink }) {
		return false, nil
	}
	by := ""
	err := t.trial(ctx, t.inUse, func(ctx context.Context, m *mux.Mux) error {
		c, err := open(ctx, m)
		if err != nil {
			return err
		}
		defer c.Close()
		for range 2 {
			if err := ask(c, 1, 1); err != nil {
				return err
			}
			if !pause(ctx, 2*t.slowest()+time.Second) {
				break
			}
			if by = m.Snapshot(0).Link.PipeBy; by != "" {
				break
			}
		}
		return nil
	})
	if err != nil && ctx.Err() == nil && !isEnd(err) {
		return false, nil // it says nothing of pipes
	}
	if by != "" {
		t.report.Pipe = by
	}
	return by != "", err
}

// slowest is the longest of the round trips.
func (t *tuner) slowest() (rtt time.Duration) {
	for _, w := range t.ways {
		rtt = max(rtt, w.found.RTT)
	}
	return rtt
}

// fastest is the shortest.
func (t *tuner) fastest() time.Duration {
	rtt := t.ways[0].found.RTT
	for _, w := range t.ways {
		rtt = min(rtt, w.found.RTT)
	}
	return rtt
}
