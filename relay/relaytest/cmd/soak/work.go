package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"time"

	"relaymux/relay/relaytest"
)

// chance is another source of it.
func (w *world) chance() *rand.Rand { return rand.New(rand.NewPCG(w.rnd.Uint64(), 1)) }

// idleTime is how long nothing happens before the first look at processes at rest.
const idleTime = 20 * time.Second

// work has all clients carry everything for so long, under weather, and then nothing.
func (w *world) work(ctx context.Context, long, quiet time.Duration, load int, out io.Writer) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var watching sync.WaitGroup
	defer watching.Wait()
	over, stop := context.WithCancel(ctx)
	defer stop()
	watching.Go(func() { w.watch(over, out) })

	w.carry(ctx, time.Now().Add(time.Second), 1) // so that links are made
	pause(ctx, idleTime)
	for _, m := range w.members() {
		m.rest = append(m.rest, m.latest())
	}
	w.busy = time.Now()
	storm, calm := context.WithDeadline(ctx, w.busy.Add(long))
	defer calm()
	var weather sync.WaitGroup
	for _, c := range w.clients {
		rnd := w.chance()
		weather.Go(func() { c.weather(storm, rnd) })
	}
	weather.Go(func() { w.trouble(storm, w.chance(), long) })
	w.carry(ctx, w.busy.Add(long), load)
	weather.Wait()
	w.done = time.Now()
	pause(ctx, quiet)
	for _, m := range w.members() {
		m.rest = append(m.rest, m.latest())
	}
}

// carry has each client carry all kinds of traffic, so many of each, up to end.
func (w *world) carry(ctx context.Context, end time.Time, load int) {
	var all sync.WaitGroup
	for _, c := range w.clients {
		for _, kind := range relaytest.Traffics() {
			for range load {
				rnd := w.chance()
				all.Go(func() { kind.Run(c.host, ctx, c.app, rnd, end) })
			}
		}
	}
	all.Wait()
}

// trouble restarts the node some four times, and has configs read again.
func (w *world) trouble(ctx context.Context, rnd *rand.Rand, long time.Duration) {
	next := time.Now().Add(long / 5)
	for pause(ctx, between(rnd, 10*time.Second, 60*time.Second)) {
		err := w.reload(rnd)
		if time.Now().After(next) && err == nil {
			next = next.Add(long / 5)
			err = w.restart(context.WithoutCancel(ctx), rnd)
		}
		if err != nil {
			w.clients[0].host.Fault("%v", err)
			return
		}
	}
}

func (w *world) members() []*member {
	all := []*member{w.node}
	for _, c := range w.clients {
		all = append(all, c.member)
	}
	return all
}

// watch takes samples, and prints a line a minute.
func (w *world) watch(ctx context.Context, out io.Writer) {
	for n := 1; pause(ctx, sampleEvery); n++ {
		for _, m := range w.members() {
			m.look()
		}
		if n%int(time.Minute/sampleEvery) == 0 {
			w.tell(out)
		}
	}
}

// tell prints the line of a minute.
func (w *world) tell(out io.Writer) {
	var bytes, flows, ended int64
	lost := make(map[bool]int64)
	faults := 0
	for _, c := range w.clients {
		flows += c.host.Flows.Load()
		bytes += c.host.Bytes.Load()
		ended += c.host.Ended.Load()
		lost[c.link] += c.host.Lost.Load()
		faults += len(c.host.Faults())
	}
	fmt.Fprintf(out, "%4.0f min  %7d flows  %7.2f GB  lost: link %d json %d restarts %d  wrong %d ",
		time.Since(w.started).Minutes(), flows, float64(bytes)/1e9, lost[true], lost[false], ended, faults)
	for _, m := range w.members() {
		s := m.latest()
		fmt.Fprintf(out, " | %s %.0f MB %.0f fd %.0f go", m.name, s.values[memory]/1024, s.values[descriptors], s.values[goroutines])
	}
	fmt.Fprintln(out)
	for _, c := range w.clients {
		all := c.host.Faults()
		for _, f := range all[c.told:] {
			fmt.Fprintf(out, "     WRONG %s: %s\n", c.way.name, f)
		}
		c.told = len(all)
		if c.link && c.host.Lost.Load() > 0 && c.told == 0 {
			fmt.Fprintf(out, "     LOST %s: %s\n", c.way.name, c.host.Losses()[0])
		}
	}
}

// A count is what a client says of its exchanges.
type count struct {
	Totals struct {
		Exchanges, Hedged, Suspected int64
	}
	Accounts []struct{ Used int64 }
}

func (c *client) count() (n count, err error) {
	resp, err := c.admin.Get("http://admin/api/status?flows=0&recent=0")
	if err != nil {
		return n, err
	}
	defer resp.Body.Close()
	return n, json.NewDecoder(resp.Body).Decode(&n)
}
