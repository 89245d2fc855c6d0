package mux

import (
	"bytes"
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"relaymux/mux/buf"
	"relaymux/mux/secret"
	"relaymux/mux/wire"
	"relaymux/relay"
)

// idleMux returns a Mux whose loop does not run, for what the loop does alone.
func idleMux(launch func(*exchange)) *loop {
	m := New(Config{Deployments: []Deployment{{Name: "d", Key: secret.New("key"), Account: NewAccount(30, "")}},
		MaxOps: 50, MaxBytes: 4 << 20, Memory: 256 << 20})
	m.Close(context.Background())
	l := &m.loop
	l.launch, l.closing, l.timer = launch, false, time.NewTimer(time.Hour)
	l.ds[0].ours = true
	return l
}

// gatherer is 50 open flows, and what it takes to bring an op of each through
// the loop: noted, lined up, put into a batch, settled.
func gatherer() (round func()) {
	var sent []*exchange
	l := idleMux(func(x *exchange) { sent = append(sent, x) })
	var flows []*Stream
	for range 50 {
		s := newStream(l.m, "h", 80)
		s.started, s.opened = true, true
		s.fl.state, s.fl.sid, s.fl.ours = open, []byte("0123456789ABCDEFGHIJKLMNOP"), true
		s.fl.polls = 1 // held elsewhere
		flows = append(flows, s)
	}
	payload := make([]byte, 200)
	return func() {
		for _, s := range flows {
			s.mu.Lock()
			s.out.add(buf.Copy(payload))
			s.mu.Unlock()
			l.note(&s.fl.flow)
		}
		for l.front(&l.ready) != nil {
			l.ds[0].Account.sem.TryAcquire(1)
			l.sendOps(l.ds[0], time.Now())
		}
		for _, x := range sent {
			x.d.Account.sem.Release(1)
			x.out = append(x.out[:0], make([]outcome, len(x.ops))...)
			for i := range x.out {
				x.out[i] = outcome{got: true, ours: true}
			}
			l.finish(x)
		}
		sent = sent[:0]
	}
}

func BenchmarkOpThroughLoop(b *testing.B) {
	round := gatherer()
	b.ReportAllocs()
	for n := 0; n < b.N; n += 50 {
		round()
	}
}

// nullTransport answers every op of a node of ours with nothing.
type nullTransport struct{ seen func(body []byte) }

func (nullTransport) Close() {}

func (n nullTransport) Exchange(_ context.Context, x *relay.Exchange) error {
	n.seen(x.Body)
	x.Answer = append(x.Answer, `{"r":[`...)
	for i := range bytes.Count(x.Body, []byte(`{"op":`)) {
		if i > 0 {
			x.Answer = append(x.Answer, ',')
		}
		x.Answer = append(x.Answer, `{"sid":"s","eof":false,"off":0}`...)
	}
	x.Answer = append(x.Answer, "]}"...)
	return nil
}

// BenchmarkEncode proves the point of workers: while 16 batches of 3 MB are
// being encoded, how long does a small op of another flow take from the
// application to the transport? Once as it is, and once with the mistake
// built in: encoding on the loop.
func BenchmarkEncode(b *testing.B) {
	for _, onLoop := range []bool{false, true} {
		name := "workers"
		if onLoop {
			name = "loop"
		}
		b.Run(name, func(b *testing.B) { benchEncode(b, onLoop) })
	}
}

func benchEncode(b *testing.B, onLoop bool) {
	m := New(Config{Deployments: []Deployment{{Name: "d", Key: secret.New("key"), Account: NewAccount(64, ""),
		Transport: nullTransport{func([]byte) {}}}}, MaxOps: 50, MaxBytes: 4 << 20, Memory: 1 << 30})
	defer m.Close(context.Background())
	bulkOps := make([]wire.Op, 3)
	for i := range bulkOps {
		bulkOps[i] = wire.Op{Kind: wire.Data, SID: []byte("s"), Data: [][]byte{make([]byte, 1<<20)}}
	}
	arrived := make(chan time.Time, 1)
	probe := Deployment{Name: "p", Key: secret.New("key"), Account: NewAccount(1, ""),
		Transport: nullTransport{func([]byte) { arrived <- time.Now() }}}
	var took []time.Duration
	for range b.N {
		took = append(took, encodeRound(m, bulkOps, &deployment{Deployment: probe}, arrived, onLoop))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-us")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-us")
}

// encodeRound stands for the loop's goroutine at a moment when 16 bulk batches
// are due, and behind them an op of another flow.
func encodeRound(m *Mux, bulk []wire.Op, probe *deployment, arrived chan time.Time, onLoop bool) time.Duration {
	var wg sync.WaitGroup
	began := time.Now()
	start := func(x *exchange, after func(*buf.Buf)) {
		if onLoop {
			body := m.encode(x)
			wg.Go(func() { after(body) })
			return
		}
		wg.Go(func() { after(m.encode(x)) })
	}
	for range 16 {
		start(&exchange{d: probe, ops: bulk}, (*buf.Buf).Release)
	}
	small := &exchange{d: probe, ops: []wire.Op{{Kind: wire.Data, SID: []byte("s"), Data: [][]byte{[]byte("k")}}}}
	start(small, func(body *buf.Buf) {
		probe.Transport.Exchange(m.ctx, &relay.Exchange{Body: body.B})
		body.Release()
	})
	at := <-arrived
	wg.Wait()
	return at.Sub(began)
}
