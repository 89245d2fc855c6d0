package doctor

import (
	"context"
	"time"
)

// udpLimit is longer than a handshake takes on any way that is worth it.
const udpLimit = 3 * time.Second

// byUDP is whether the same gets through by HTTP/3.
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
	if !f.unreached { // the other legs tell what is wrong
		return l
	}
	l.Detail = plain("HTTP/3: " + f.detail)
	l.Status, l.Remedy = Warning, "nothing has to be done: all goes by TCP. If it should work: let UDP to this port through the server's firewall"
	if e.d.HTTP == "3" {
		l.Status, l.Remedy = Broken, `UDP may be blocked here, or the server's firewall lets only TCP through: http = "auto" goes by TCP then`
	}
	return l
}
