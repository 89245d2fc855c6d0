package tune

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"relaymux/mux"
	"relaymux/mux/stats"
	"relaymux/mux/wire"
	"relaymux/relay/account"
)

// A part of a load.
type part string

const (
	page  part = "page"  // what a browser does
	bulk  part = "bulk"  // an upload and a download at once
	crowd part = "crowd" // many connections that speak at once
)

// A page is so many connections that open by and by, each with so many small requests
// and their answers in turn; a crowd is more of them, at once, with a smaller one.
const (
	pageConns    = 16
	pageRequests = 2
	pageGap      = 20 * time.Millisecond // between one and the next, in the mean
	crowdConns   = 90
	requestBytes = 600
	answerBytes  = 20_000
	crowdBytes   = 2_000 // of an answer
)

// The bytes of a bulk: what the line carries up in bulkTime, within these.
const (
	bulkTime  = 6 * time.Second
	bulkLeast = 2 << 20
	bulkMost  = 8 << 20
)

// partLimit is how long a part may take. One that is not over by then counts as taking
// that long.
const partLimit = time.Minute

// A sample is what one trial of a part took.
type sample struct {
	took      []time.Duration // of a bulk: up, down
	exchanges int
}

// trial has a mux with these settings work. It takes partLimit, and what it takes to
// begin and to end, at most.
func (t *tuner) trial(ctx context.Context, s Settings, work func(ctx context.Context, m *mux.Mux) error) error {
	const farewell = 2 // exchanges, by which the node lets go of what it holds
	t.tally.keep(farewell)
	ctx, stop := t.tally.trial(ctx)
	defer stop(nil)
	m := mux.New(t.muxOf(s))
	err := work(ctx, m)
	t.tally.keep(0)
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), partLimit/2)
	defer cancel()
	_ = m.Close(closing) // what is left then is cut
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// muxOf is what a mux is made of with these settings. Its accounts begin as they do
// when the proxy starts: what one trial has learned is not the next one's. What leaves
// the meters count.
func (t *tuner) muxOf(s Settings) mux.Config {
	c := t.Mux
	c.MaxOps, c.MaxBytes, c.CoalesceStep, c.CoalesceMax = s.MaxOps, s.MaxBytes, s.CoalesceStep, s.CoalesceMax
	c.Stats, c.UDP, c.Deployments = nil, nil, nil
	ledger := account.Open("", slog.New(slog.DiscardHandler))
	accounts := make(map[string]*mux.Account)
	for _, w := range t.ways {
		a := accounts[w.Account]
		if a == nil {
			a = mux.NewAccount(s.Slots[w.Account], w.account.Label)
			a.Quota = ledger.Account(w.Account, s.Slots[w.Account], w.account.Daily)
			accounts[w.Account] = a
		}
		d := w.Deployment.Deployment
		d.Transport, d.Account, d.Stats = w.carrier, a, new(stats.Deployment)
		c.Deployments = append(c.Deployments, d)
	}
	return c
}

// once is one trial of a part. The seed decides when connections open.
func (t *tuner) once(ctx context.Context, p part, s Settings, seed uint64) (got sample, err error) {
	err = t.trial(ctx, s, func(ctx context.Context, m *mux.Mux) error {
		warm, err := open(ctx, m)
		if err != nil {
			return err
		}
		defer warm.Close()
		if err := ask(warm, 1, 1); err != nil {
			return err
		}
		before := t.tally.count()
		limited, cancel := context.WithTimeout(ctx, partLimit)
		defer cancel()
		switch p {
		case page:
			got.took = []time.Duration{group(limited, m, pageConns, pageRequests, answerBytes, pageGap, seed)}
		case crowd:
			got.took = []time.Duration{group(limited, m, crowdConns, 1, crowdBytes, 0, seed)}
		case bulk:
			got.took = t.moveBulk(limited, m)
		}
		got.exchanges = t.tally.count() - before
		return nil
	})
	t.cost[p] = max(t.cost[p], got.exchanges+4)
	return got, err
}

// bulkSize is how many bytes a bulk has each way.
func (t *tuner) bulkSize() int {
	if t.up == 0 {
		return bulkMost
	}
	return int(min(max(t.up*bulkTime.Seconds(), bulkLeast), bulkMost))
}

func (t *tuner) moveBulk(ctx context.Context, m *mux.Mux) []time.Duration {
	took := make([]time.Duration, 2)
	n := t.bulkSize()
	var both sync.WaitGroup
	both.Go(func() { took[0] = timed(func() error { return move(ctx, m, n, 1) }) })
	both.Go(func() { took[1] = timed(func() error { return move(ctx, m, 1, n) }) })
	both.Wait()
	return took
}

// timed is what do takes, partLimit at least if it fails.
func timed(do func() error) time.Duration {
	began := time.Now()
	err := do()
	took := time.Since(began)
	if err != nil {
		return max(took, partLimit)
	}
	return took
}

// group is how long conns connections take that open gap apart in the mean.
func group(ctx context.Context, m *mux.Mux, conns, requests, answer int, gap time.Duration, seed uint64) time.Duration {
	rnd := rand.New(rand.NewPCG(seed, uint64(conns)))
	return timed(func() error {
		errs := make([]error, conns)
		var all sync.WaitGroup
		at := time.Duration(0)
		for i := range conns {
			at += time.Duration(rnd.ExpFloat64() * float64(gap))
			begin := at
			all.Go(func() { errs[i] = visit(ctx, m, begin, requests, answer) })
		}
		all.Wait()
		return errors.Join(errs...)
	})
}

// visit is one connection of a group.
func visit(ctx context.Context, m *mux.Mux, wait time.Duration, requests, answer int) error {
	if !pause(ctx, wait) {
		return context.Cause(ctx)
	}
	c, err := open(ctx, m)
	if err != nil {
		return err
	}
	defer c.Close()
	for range requests {
		if err := ask(c, requestBytes, answer); err != nil {
			return err
		}
	}
	return nil
}

// move carries so many bytes on a connection of their own.
func move(ctx context.Context, m *mux.Mux, up, down int) error {
	c, err := open(ctx, m)
	if err != nil {
		return err
	}
	defer c.Close()
	return ask(c, up, down)
}

// open connects to the node's yardstick. The connection breaks off when ctx ends.
func open(ctx context.Context, m *mux.Mux) (net.Conn, error) {
	c, err := m.Dial(ctx, wire.YardstickHost, wire.YardstickPort)
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	return c, nil
}

// ask sends up bytes and reads an answer of down.
func ask(c net.Conn, up, down int) error {
	request := wire.AppendYardstick(make([]byte, 0, wire.YardstickHead+up), uint64(up), uint64(down))
	if _, err := c.Write(request[:wire.YardstickHead+up]); err != nil {
		return err
	}
	_, err := io.CopyN(io.Discard, c, int64(down))
	return err
}

// pause waits, and reports whether ctx goes on.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
