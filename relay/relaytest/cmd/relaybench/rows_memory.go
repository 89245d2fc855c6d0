package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"

	"relaymux/relay/relaytest"
	"relaymux/relay/relaytest/proc"
)

// quiet is how long nothing happens before memory is read that is idle.
const quiet = time.Second

func memoryFigures(what string) []figure {
	return []figure{
		{name: what + ", client", unit: "MB", absolute: true},
		{name: what + ", node", unit: "MB", absolute: true},
	}
}

func (t *turn) idleMemory() error {
	if t.apps == nil {
		return nil
	}
	pause(t.ctx, quiet)
	for name, bytes := range t.resident() {
		t.note("idle memory, "+name, bytes/1e6)
	}
	return nil
}

func (t *turn) peakMemory() error {
	for _, name := range []string{"client", "node"} {
		if p := t.processes()[name]; p != nil {
			if _, peak, ok := proc.Memory(p.PID()); ok {
				t.note("peak memory, "+name, peak/1e6)
			}
		}
	}
	return nil
}

// resident is what both ends take now, in bytes.
func (t *turn) resident() map[string]float64 {
	all := make(map[string]float64)
	for _, name := range []string{"client", "node"} {
		if now, _, ok := proc.Memory(t.processes()[name].PID()); ok {
			all[name] = now
		}
	}
	return all
}

// maxIdle is how many connections may be idle: about as many as one address has
// ports for.
const maxIdle = 20_000

// idleRow is what n connections take that were used once. Each process lets itself
// have as many descriptors as the system allows: Go sees to that.
func idleRow(n int) row {
	what := fmt.Sprintf("one of %d idle connections", n)
	figures := memoryFigures(what)
	for i := range figures {
		figures[i].unit = "KB"
	}
	return row{name: what, alone: true, figures: figures, run: func(t *turn) error {
		if t.apps == nil {
			return nil
		}
		before := t.resident()
		after, err := t.openIdle(n)
		for name := range after {
			t.note(what+", "+name, (after[name]-before[name])/float64(n)/1e3)
		}
		return err
	}}
}

// openIdle is what both ends take while n connections are open.
func (t *turn) openIdle(n int) (map[string]float64, error) {
	cmd := t.programs.command(t.ctx, t.programs.bench, originCommand)
	origin, address, err := proc.Start("origin", cmd, proc.After("origin on "), nil)
	if err != nil {
		return nil, err
	}
	defer origin.Kill()
	conns := make([]net.Conn, n)
	defer func() {
		for _, c := range conns {
			if c != nil {
				c.Close()
			}
		}
	}()
	var next atomic.Int64
	_, err = relaytest.Together(atOnce, relaytest.Times(int64(n)), func() error {
		c, err := t.dial(t.ctx, address)
		if err != nil {
			return err
		}
		conns[next.Add(1)-1] = c
		return relaytest.Ask(c)
	})
	if err != nil {
		return nil, err
	}
	pause(t.ctx, quiet)
	return t.resident(), nil
}

// originCommand makes this program an origin, and nothing else: with the other ends
// of idle connections in one process too, it would run out of descriptors.
const originCommand = "origin"

func serveOrigin(out io.Writer) error {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "origin on %s\n", ln.Addr())
	relaytest.ServeTCP(ln, relaytest.Answer)
	return nil
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
