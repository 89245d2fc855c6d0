package doctor

import (
	"context"
	"net/http/httptrace"
	"sync/atomic"
	"time"
)

const (
	// udpLimit is longer than a handshake takes on any way that is worth it.
	udpLimit = 3 * time.Second

	// udpLeast is what UDP has to connect in any case: a first packet that got lost goes
	// again after some 0.3 s, and then after twice as long.
	udpLeast = time.Second

	// udpFold is how many times as long as the legs by TCP it has if those broke: a
	// refusal takes one round trip, and its own handshake may take two.
	udpFold = 3
)

// A udpLeg is the leg by UDP, which is gone while the others are.
type udpLeg struct {
	leg       chan Leg // gets one
	began     time.Time
	connected atomic.Bool
	giveUp    context.CancelFunc
}

// besides begins it.
func (e *exam) besides(ctx context.Context) *udpLeg {
	ctx, giveUp := context.WithCancel(ctx)
	u := &udpLeg{leg: make(chan Leg, 1), began: time.Now(), giveUp: giveUp}
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { u.connected.Store(true) }})
	other := &exam{Client: e.Client, d: new(*e.d)} // e changes its own
	go func() {
		defer giveUp()
		u.leg <- other.byUDP(ctx)
	}()
	return u
}

// wait returns the leg when the others were gone. It gives up a connection that is not
// there after fold times what they took: where there is no HTTP/3 nobody says so.
func (u *udpLeg) wait(fold int) Leg {
	took := time.Since(u.began)
	t := time.AfterFunc(max(udpLeast, time.Duration(fold)*took)-took, func() {
		if !u.connected.Load() {
			u.giveUp()
		}
	})
	defer t.Stop()
	return <-u.leg
}

// byUDP is whether the same gets through by HTTP/3, before ctx ends.
func (e *exam) byUDP(ctx context.Context) Leg {
	l := Leg{Name: LegUDP, Status: Skipped}
	switch {
	case e.d.Script():
		l.Detail = "scripts are reached by TCP"
		return l
	case !e.d.udp():
		l.Detail = `http = "` + e.d.HTTP + `" or no TLS: not used`
		return l
	}
	began := time.Now()
	t, err := e.overUDP(min(e.d.ExchangeLimit, 3*udpLimit)) // of which a handshake has a third
	if err != nil {
		l.Status, l.Detail = Broken, plain(err.Error())
		return l
	}
	defer t.Close()
	_, f := e.ask(ctx, t)
	l.Status, l.Millis, l.Detail = OK, since(began), "HTTP/3 gets through"
	if f == nil {
		return l
	}
	if !f.unreached && ctx.Err() == nil { // the other legs tell what is wrong
		return l
	}
	if e.d.HTTP == "3" {
		l.Status, l.Detail = Broken, plain("HTTP/3: "+f.detail)
		l.Remedy = `UDP may be blocked here, or the server's firewall lets only TCP through: http = "auto" goes by TCP then`
		return l
	}
	l.Status, l.Millis, l.Detail = Warning, 0, "no HTTP/3 there; all goes by TCP"
	l.Remedy = "nothing has to be done. If there should be HTTP/3: let UDP to this port through the server's firewall"
	return l
}
