package mux

import (
	"log/slog"
	"slices"
	"strings"
	"time"

	"relaymux/mux/wire"
)

// finish draws the consequences of an exchange that has ended.
func (l *loop) finish(x *exchange) {
	l.inFlight--
	x.d.inFlight--
	x.d.ended()
	x.d.Account.inFlight.Add(-1)
	if x.probe {
		x.d.probes--
	}
	if x.poll {
		l.heldNow = slices.DeleteFunc(l.heldNow, func(h *exchange) bool { return h == x })
	}
	l.m.promised.Add(-int64(x.reserve))
	l.m.budget.Return(x.reserve)
	for i := range x.out {
		x.brought += x.out[i].n
	}
	l.judge(x)
	l.trace.add(x.snapshot())
	for i, f := range x.flows {
		l.settle(f, i, x)
	}
	x.free()
}

// snapshot is what has become of x.
func (x *exchange) snapshot() ExchangeSnapshot {
	s := ExchangeSnapshot{
		Deployment: x.d.Name, Kind: kindOf(x.failure), Poll: x.poll, Ops: len(x.ops), Up: x.bodyLen, Down: x.answerLen,
		Queued: x.queued, Began: x.began, Wrote: x.wrote, First: x.first, Took: x.took,
	}
	for i := range x.out {
		if x.out[i].reached {
			s.Reached++
		}
	}
	return s
}

// judge notes how x's deployment did, and tells when that changes.
func (l *loop) judge(x *exchange) {
	d := x.d
	if x.failure != nil {
		d.failedBy(l.m.log, x.failure, x.took, x.bodyLen, l.ds, false)
		return
	}
	d.body.passed(x.bodyLen)
	d.worked(l.m.log, x.began, x.took, x.poll)
	if l.m.log.Enabled(l.m.ctx, slog.LevelDebug) {
		l.m.log.Debug("exchange", "deployment", d.Name, "ops", len(x.ops), "poll", x.poll,
			"request_bytes", x.bodyLen, "payload_bytes", x.brought, "took", x.took.Round(time.Millisecond).String())
	}
}

// expire tells applications that have waited for too long to be sent at all,
// drops stale datagrams, and forgets closes that found no company.
func (l *loop) expire(now time.Time) {
	l.expireLine(&l.fresh, waitMost(l.ds, now), now)
	l.expireLine(&l.ready, grace, now)
	for {
		f := l.front(&l.packets)
		if f == nil || l.m.stale == 0 || now.Sub(f.since) <= l.m.stale {
			break
		}
		l.leave(f)
		l.consider(f) // which drops what is stale
	}
	for {
		f := l.front(&l.linger)
		if f == nil || now.Sub(f.since) < lingerWait && l.linger.len() <= lingerMost {
			break
		}
		l.letGo(f)
	}
}

func (l *loop) expireLine(q *fifo[place], limit time.Duration, now time.Time) {
	for {
		f := l.front(q)
		if f == nil || now.Sub(f.since) < limit {
			return
		}
		l.leave(f) // whatever comes of it, not here again
		l.fail(f, l.down())
	}
}

func (l *loop) down() error { return downError(l.ds) }

// downMost is of how many deployments an error tells what is wrong.
const downMost = 3

// downError is the error of a flow that no relay carried, with the latest failures of
// the deployments that have not worked since, the newest first.
func downError(ds []*deployment) error {
	e := &wire.DialError{Reason: wire.RelayDown}
	ds = slices.DeleteFunc(slices.Clone(ds), func(d *deployment) bool { return d.lastWords == "" || d.good.After(d.failed) })
	slices.SortStableFunc(ds, func(a, b *deployment) int { return b.failed.Compare(a.failed) })
	var whys []string
	for _, d := range ds[:min(len(ds), downMost)] {
		e.Detail += "; " + d.lastWords
		if !slices.Contains(whys, d.lastWhy) {
			whys = append(whys, d.lastWhy)
		}
	}
	if e.Detail != "" {
		e.Detail = e.Reason.String() + e.Detail
	}
	e.Why = strings.Join(whys, "; ")
	return e
}

// fail ends a flow on the loop's side.
func (l *loop) fail(f *flow, err error) {
	f.side.fail(err)
	l.consider(f)
}
