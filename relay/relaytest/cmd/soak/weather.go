package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"
	"time"

	"relaymux/relay/relaytest"
)

// well is a relay without faults, as near as relays are not.
func well(k *relaytest.Knobs) {
	*k = relaytest.Knobs{RTT: 150 * time.Millisecond, Jitter: 100 * time.Millisecond, Slots: 30}
}

// between is a random time.
func between(rnd *rand.Rand, least, most time.Duration) time.Duration {
	return least + time.Duration(rnd.Int64N(int64(most-least)))
}

// pause waits, and reports whether ctx has not ended.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// weather has a client's way fail now and then, until ctx ends; then it is well.
func (c *client) weather(ctx context.Context, rnd *rand.Rand) {
	for pause(ctx, between(rnd, 2*time.Second, 15*time.Second)) {
		name, over := c.strike(rnd)
		c.faults[name]++
		pause(ctx, between(rnd, time.Second, 15*time.Second))
		over()
	}
}

// strike begins a fault, of one of a relay's deployments or of both; but for the page of a
// used-up quota, which takes an account away for an hour.
func (c *client) strike(rnd *rand.Rand) (name string, over func()) {
	if c.relay == nil {
		return c.gate.strike(rnd)
	}
	all := slices.DeleteFunc(relaytest.Faults(), func(f relaytest.Fault) bool { return f.Outcome == "quota" })
	f := all[rnd.IntN(len(all))]
	of := ids[rnd.IntN(len(ids)):][:1]
	if rnd.IntN(2) == 0 {
		of = ids[:]
	}
	c.relay.Set(f.Set, of...)
	return f.Name, func() { c.relay.Set(well) }
}

// strike begins a fault of the line.
func (g *gate) strike(rnd *rand.Rand) (name string, over func()) {
	over = func() { g.silent.Store(false); g.lose.Store(0) }
	switch rnd.IntN(4) {
	case 0:
		g.silent.Store(true)
		return "silent", over
	case 1:
		g.cut()
		return "cut", over
	case 2:
		g.lose.Store(1)
		return "UDP blocked", over
	}
	g.lose.Store(20)
	return "UDP loses 1 in 20", over
}

// restarts are the times in which the node was away, and for how long after them a
// connection may still hear of it.
type restarts struct {
	mu  sync.Mutex
	all []time.Time // when the last of it was heard
}

const heardWithin = 45 * time.Second

// begin notes that the node goes away; the last of that is heard some time after back.
func (r *restarts) begin() (back func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, time.Now().Add(time.Hour))
	i := len(r.all) - 1
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.all[i] = time.Now().Add(heardWithin)
	}
}

// since is relaytest.Host's Excuse.
func (r *restarts) since(began time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, until := range r.all {
		if until.After(began) {
			return true
		}
	}
	return false
}

// restart ends the node, at once or as asked, and starts it again.
func (w *world) restart(ctx context.Context, rnd *rand.Rand) error {
	p := w.node.current()
	defer w.restarts.begin()()
	if rnd.IntN(2) == 0 {
		_ = p.Signal(syscall.SIGTERM)
		select {
		case <-p.Ended():
		case <-time.After(20 * time.Second):
			return fmt.Errorf("the node did not end 20 s after SIGTERM")
		}
	} else {
		p.Kill()
	}
	if !pause(ctx, between(rnd, 0, 5*time.Second)) {
		return nil
	}
	return w.startNode(ctx, w.at)
}

// reload has a client, or the node, read another config. Nothing may be lost by that.
func (w *world) reload(rnd *rand.Rand) error {
	n := rnd.IntN(len(w.clients) + 1)
	if n == len(w.clients) {
		if _, err := w.nodeConfig(w.at, rnd.IntN(3)); err != nil {
			return err
		}
		return w.node.current().Signal(syscall.SIGHUP)
	}
	c := w.clients[n]
	if _, err := w.clientConfig(c, 20+rnd.IntN(30), 1+rnd.IntN(len(ids))); err != nil {
		return err
	}
	return c.current().Signal(syscall.SIGHUP)
}
