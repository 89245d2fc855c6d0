package mux

import (
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"relaymux/mux/wire"
	"relaymux/relay/account"
)

const ms = time.Millisecond

// Times are in ms after the oldest op's arrival.
func TestFireAt(t *testing.T) {
	p := pacing{step: 10 * ms, max: time.Second, maxOps: 50}
	start := time.Unix(1000, 0)
	at := func(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }
	quiet := gathering{ops: 1, bytes: 100, maxBytes: 1000, first: at(0), last: at(0), before: at(-1000), slots: 30}
	for _, c := range []struct {
		name string
		set  func(g *gathering)
		want int
	}{
		{"alone on a quiet line", func(g *gathering) {}, 0},
		{"alone, and the one before just left", func(g *gathering) { g.before = at(-10) }, 10},
		{"alone, and that was a step and more ago", func(g *gathering) { g.before = at(-11) }, 0},
		{"company: a step after the newest", func(g *gathering) { g.ops, g.last = 2, at(4) }, 14},
		{"49 ops wait", func(g *gathering) { g.ops, g.last = 49, at(4) }, 14},
		{"50 are full", func(g *gathering) { g.ops, g.last = 50, at(4) }, 0},
		{"a byte less than full waits", func(g *gathering) { g.ops, g.bytes = 2, 999 }, 10},
		{"full of bytes", func(g *gathering) { g.ops, g.bytes = 2, 1000 }, 0},
		{"an eighth of a short round trip", func(g *gathering) { g.ops, g.rtt = 2, 8*ms }, 1},
		{"a long round trip does not lengthen a step", func(g *gathering) { g.ops, g.rtt = 2, 1600*ms }, 10},
		{"a stream of arrivals ends after an eighth", func(g *gathering) { g.ops, g.rtt, g.last = 9, 1600*ms, at(195) }, 200},
		{"a quarter of the slots busy", func(g *gathering) { g.ops, g.rtt, g.last, g.slots, g.busy = 9, 1600*ms, at(195), 40, 10 }, 200},
		{"all slots busy: up to coalesce_max", func(g *gathering) { g.ops, g.rtt, g.last, g.slots, g.busy = 9, 1600*ms, at(995), 40, 40 }, 1000},
		{"half of them busy: a third of the way", func(g *gathering) { g.ops, g.rtt, g.last, g.slots, g.busy = 9, 1600*ms, at(995), 40, 20 }, 466},
		{"one op with slots busy waits a step", func(g *gathering) { g.slots, g.busy = 40, 10 }, 10},
		{"one op with fewer does not", func(g *gathering) { g.slots, g.busy = 40, 9 }, 0},
	} {
		g := quiet
		c.set(&g)
		if got := p.fireAt(g).Sub(start).Truncate(ms); got != time.Duration(c.want)*ms {
			t.Errorf("%s: after %v, want %d ms", c.name, got, c.want)
		}
	}
	p.step, p.max = 0, 0
	busy := quiet
	busy.ops, busy.busy = 5, 30
	if got := p.fireAt(busy); got.After(start) {
		t.Error("coalescing that is turned off waits")
	}
}

// TestGatheringWithOthers: of 30 slots other devices leave 5. Two exchanges are more than
// a quarter of those: who is alone waits a step for company, by either wire.
func TestGatheringWithOthers(t *testing.T) {
	const step = 10 * ms
	how := pacing{step: step, max: time.Second, maxOps: 50}
	for _, c := range []struct {
		left int
		want time.Duration
	}{{30, 0}, {9, 0}, {8, step}, {5, step}} {
		synctest.Test(t, func(t *testing.T) {
			d := leaving(t, c.left)
			l := &loop{ds: []*deployment{d}, pacing: how, maxBytes: 1000, inFlight: 2}
			lk := &linkLoop{ds: l.ds, pacing: how, maxBytes: 1000, inFlight: []*linkExchange{{up: 1}, {up: 1}}}
			time.Sleep(time.Second)
			now := time.Now()
			l.line(&flow{kind: wire.Data, ops: 1, urgent: true}, inReady)
			if got := l.readyAt().Sub(now); got != c.want {
				t.Errorf("%d left: an op waits %v, want %v", c.left, got, c.want)
			}
			lk.upSince, lk.upLast, lk.upFlows = now, now, 1
			if got := lk.upAt().Sub(now); got != c.want {
				t.Errorf("%d left: an upload waits %v, want %v", c.left, got, c.want)
			}
		})
	}
}

// leaving is a deployment of 30 slots, of which other devices leave so many.
func leaving(t *testing.T, left int) *deployment {
	ledger := account.Open("", slog.New(slog.DiscardHandler))
	t.Cleanup(ledger.Close)
	d := testDeployment("d", 30)
	d.Account.Quota = ledger.Account("d", 30, 20_000)
	if left < 30 {
		d.Account.Quota.Busy(time.Now(), time.Now(), left+1)
	}
	return d
}

func TestPollWait(t *testing.T) {
	for _, c := range []struct {
		n    int
		rtt  time.Duration
		ours bool
		want time.Duration
	}{
		{0, 1600 * ms, true, 0},
		{1, 1600 * ms, true, 100 * ms},
		{64<<10 - 1, 160 * ms, true, 10 * ms},
		{64 << 10, 1600 * ms, true, 0},
		{1, 160 * ms, false, 20 * ms},
		{1, 0, true, 0},
	} {
		if got := pollWait(c.n, c.rtt, c.ours); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

func TestMaxHolds(t *testing.T) {
	for slots, want := range map[int]int{1: 1, 2: 1, 3: 1, 4: 2, 30: 15, 60: 30} {
		if got := maxHolds(slots); got != want {
			t.Errorf("%d slots: %d", slots, got)
		}
	}
}
