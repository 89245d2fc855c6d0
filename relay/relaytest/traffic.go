package relaytest

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// A Traffic is a kind of what people do. It goes on until end, and returns when all that
// it began is over.
type Traffic struct {
	Name string
	Run  func(h *Host, ctx context.Context, app App, rnd *rand.Rand, end time.Time)
}

// Traffics are all kinds.
func Traffics() []Traffic {
	return []Traffic{
		{"bulk down", (*Host).bulkDown},
		{"bulk up", (*Host).bulkUp},
		{"page", (*Host).page},
		{"push", (*Host).push},
		{"udp", (*Host).talk},
	}
}

// beside runs functions at once, each with a chance of its own.
func beside(rnd *rand.Rand, all ...func(rnd *rand.Rand)) {
	var group sync.WaitGroup
	for _, each := range all {
		own := rand.New(rand.NewPCG(rnd.Uint64(), 0))
		group.Go(func() { each(own) })
	}
	group.Wait()
}

// again does f again and again, with random pauses, up to the end.
func again(ctx context.Context, rnd *rand.Rand, end time.Time, most time.Duration, f func()) {
	for time.Now().Before(end) && ctx.Err() == nil {
		f()
		time.Sleep(time.Duration(rnd.Int64N(int64(most))))
	}
}

const (
	streamPiece = 16 << 10               // of what goes on and on, as a film does
	streamPause = 250 * time.Millisecond //
	burstMost   = 1 << 20                // bytes of a file
)

func (h *Host) bulkDown(ctx context.Context, app App, rnd *rand.Rand, end time.Time) {
	h.bulk(ctx, app, rnd, end, func(n int64, e errand) errand { e.Down = n; return e })
}

func (h *Host) bulkUp(ctx context.Context, app App, rnd *rand.Rand, end time.Time) {
	h.bulk(ctx, app, rnd, end, func(n int64, e errand) errand { e.Up, e.After, e.Down = n, true, 1; return e })
}

// bulk is a stream that goes on up to the end, and beside it files, one after another,
// and some that are given up.
func (h *Host) bulk(ctx context.Context, app App, rnd *rand.Rand, end time.Time, way func(n int64, e errand) errand) {
	beside(rnd, func(rnd *rand.Rand) {
		again(ctx, rnd, end, time.Second, func() {
			pieces := max(1, int64(time.Until(end)/streamPause))
			h.Visit(ctx, app, way(pieces*streamPiece, errand{Pieces: pieces, Pause: streamPause}))
		})
	}, func(rnd *rand.Rand) {
		again(ctx, rnd, end, 4*time.Second, func() { h.Visit(ctx, app, way(1+rnd.Int64N(burstMost), errand{})) })
	}, func(rnd *rand.Rand) {
		again(ctx, rnd, end, 20*time.Second, func() { h.giveUp(ctx, app, rnd, way(1+rnd.Int64N(burstMost), errand{Pieces: 8, Pause: time.Second})) })
	})
}

// giveUp does an errand for a while, and resets its connection.
func (h *Host) giveUp(ctx context.Context, app App, rnd *rand.Rand, e errand) {
	c, err := app.Dial(ctx, h.tcp)
	if err != nil {
		return
	}
	timer := time.AfterFunc(time.Duration(rnd.Int64N(int64(10*time.Second))), func() { reset(c) })
	defer timer.Stop()
	defer reset(c)
	_, _ = h.do(c, &e) // it may have been quicker
}

// page is what a browser does: small answers over connections that stay, all at once,
// then a pause.
func (h *Host) page(ctx context.Context, app App, rnd *rand.Rand, end time.Time) {
	const conns, objects, most = 6, 4, 30_000
	again(ctx, rnd, end, 8*time.Second, func() {
		var all [conns]func(*rand.Rand)
		for i := range all {
			all[i] = func(rnd *rand.Rand) {
				var list []errand
				for range objects {
					list = append(list, errand{Up: 200 + rnd.Int64N(800), Down: 1 + rnd.Int64N(most), After: true})
				}
				h.Visit(ctx, app, list...)
			}
		}
		beside(rnd, all[:]...)
	})
}

// push is what a target says by itself, now and then, on a connection that is idle
// otherwise; and what an application says on another, now and then.
func (h *Host) push(ctx context.Context, app App, rnd *rand.Rand, end time.Time) {
	words := func(rnd *rand.Rand) (int64, errand) {
		pause := 2*time.Second + time.Duration(rnd.Int64N(int64(10*time.Second)))
		n := max(1, int64(time.Until(end)/pause))
		return n, errand{Pieces: n, Pause: pause}
	}
	beside(rnd, func(rnd *rand.Rand) {
		again(ctx, rnd, end, time.Second, func() {
			n, e := words(rnd)
			e.Down = 100 * n
			h.Visit(ctx, app, e)
		})
	}, func(rnd *rand.Rand) {
		again(ctx, rnd, end, time.Second, func() {
			n, e := words(rnd)
			e.Up, e.Down = 100*n, 100*n
			h.Visit(ctx, app, e)
		})
	})
}

// talk is what a game does: small datagrams that are echoed, at a steady pace. They may
// be lost.
func (h *Host) talk(ctx context.Context, app App, rnd *rand.Rand, end time.Time) {
	const pace = 100 * time.Millisecond
	again(ctx, rnd, end, time.Second, func() {
		a, err := app.Associate(ctx)
		if err != nil {
			h.Refused.Add(1)
			return
		}
		size := 8 + rnd.IntN(1200)
		var said atomic.Int64
		var silence watch
		silence.put(1 << 40) // never all of it
		heard := make(chan bool)
		go func() {
			defer close(heard)
			h.hear(a, size, &silence)
		}()
		for time.Now().Before(end) && ctx.Err() == nil {
			i := said.Add(1) - 1
			_, _ = a.WriteTo(nth(int(i), size), packetAddr(h.udp)) // UDP promises nothing
			time.Sleep(pace)
		}
		h.stalled(&silence, "datagrams")
		h.Said.Add(said.Load())
		time.Sleep(echoLost)
		_ = a.SetReadDeadline(time.Now())
		<-heard
		a.Close()
	})
}

// hear counts echoes, whole ones, until the deadline of c.
func (h *Host) hear(c net.PacketConn, size int, silence *watch) {
	seen := make(map[int]bool)
	p := make([]byte, size+300) // and a header
	for {
		n, _, err := c.ReadFrom(p)
		if err != nil {
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				h.Fault("an association: %v", err)
			}
			return
		}
		i := numberOf(p[:n])
		switch {
		case i < 0 || n != size:
			h.Fault("a datagram of %d bytes came that was not sent", n)
		case seen[i] && h.Once:
			h.Fault("datagram %d came twice", i)
		case !seen[i]:
			seen[i] = true
			silence.came(int64(len(seen)))
			h.Heard.Add(1)
		}
		h.Bytes.Add(int64(n))
	}
}
